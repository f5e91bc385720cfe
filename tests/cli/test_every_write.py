"""Every command that writes, killed at each of its writes, on a full disk, and where nothing may be written: what is
there afterwards is whole, the failure is a sentence, nothing is left about, and the same command then succeeds.
"""

import builtins
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from faults import Disk
from PIL import Image
from safetensors import safe_open

import convatlas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's fork and limits")

SERVER = Path(__file__).with_name("faults.py")
STRAY = re.compile(r"\..+\.([0-9a-f]{8}|unfinished|tmp)")
GROWING = ("events.out.tfevents", "metrics.csv", "journal.jsonl", "vectors-", "rows-")      # files that are appended to
LIMITS = (0, 1, 100, 1000, 4000, 20_000, 100_000)          # bytes


# what the commands import
MODULES = ("convatlas.integrations.hub", "convatlas.data.shards.writer", "convatlas.api", "convatlas.deploy",
           "convatlas.segment.run", "convatlas.inspect.report", "convatlas.inspect.check", "torch.utils.tensorboard",
           "matplotlib.backends.backend_agg", "matplotlib.font_manager")


class Case(NamedTuple):
    """A command: its words; those that make an older output first; and those that come after a failure, if others."""

    name: str
    words: str
    before: str = ""
    again: str = ""


TRAIN = ("train lenet5_modern photos --epochs 1 --batch-size 8 --out new --set data.cache=disk "
         "--set data.cache_dir=pixels")
CASES = (
    Case("publish", "publish net.safetensors hub"),
    Case("publish-again", "publish net.safetensors hub --force", "publish other.safetensors hub"),
    Case("convert", "weights convert net.safetensors new.safetensors --to convatlas"),
    Case("shard", "data shard photos shards --shard-mb 0.01"),
    Case("train", TRAIN, again=f"{TRAIN} --force"),
    Case("train-again", f"{TRAIN} --force", TRAIN),
    Case("resume", "train --resume new --epochs 2", TRAIN),
    Case("eval", "eval net.safetensors photos --out judged", "eval other.safetensors photos --out judged"),
    Case("eval-pixels", "eval pixels.safetensors pairs --out judged"),
    Case("segment", "segment pixels.safetensors pairs/images --out said --tile 24 --probabilities --overlay "
         "--instances components"),
    Case("segment-array", "segment pixels.safetensors array.npy --out said"),
    Case("deploy", "deploy net.safetensors --out fast --backend eager"),
    Case("deploy-again", "deploy net.safetensors --out fast --backend onnxruntime --force",
         "deploy other.safetensors --out fast --backend eager"),
    Case("deploy-openvino", "deploy net.safetensors --out fast --backend openvino"),
    Case("onnx", "export net.safetensors new.onnx", "export other.safetensors new.onnx"),
    Case("pt2", "export net.safetensors new.pt2"),
    Case("xml", "export net.safetensors new.xml", "export other.safetensors new.xml"),
    Case("pth", "weights convert mobile.safetensors new.pth --to torchvision"),
    Case("show", "data show photos --out show.png", "data show photos --out show.png --seed 1"),
    Case("show-pairs", "data show pairs --out show.svg"),
    Case("check", "data check photos --out page.html"),
    Case("diagram", "inspect diagram lenet5 --out net.svg", "inspect diagram lenet5 --out net.svg"),
    Case("filters", "inspect filters net.safetensors --out net.pdf"),
    Case("neighbours", "inspect neighbours net.safetensors photos/across/00.png --index index --among photos "
         "--out near.png"),
    Case("runs", "runs list .", TRAIN),
    Case("plot", "runs plot new --out curves/plot.png", TRAIN),
)


class Server:
    """The server of `faults.py`, and a folder of what the commands read."""

    def __init__(self, place: Path) -> None:
        self.place, self.number = place, 0
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *MODULES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200",
                 "HOME": str(place), "XDG_CACHE_HOME": str(place / "cache"), "MPLCONFIGDIR": str(place / "cache")})
        self.inputs = place / "inputs"
        prepare(self.inputs)

    def run(self, cwd: Path, words: str, **fault: Any) -> dict[str, Any]:
        """What becomes of a command."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"cwd": str(cwd), "words": words.split(), "fault": fault}) + "\n")
        self.process.stdin.flush()
        done: dict[str, Any] = json.loads(self.process.stdout.readline())
        return done

    def folder(self, like: Path) -> Path:
        """A new copy."""
        self.number += 1
        copy = self.place / str(self.number)
        shutil.copytree(like, copy, copy_function=self._copy)
        return copy

    def _copy(self, source: str, target: str) -> None:
        """A link to what no command changes."""
        (os.link if (self.inputs / Path(target).relative_to(self.place / str(self.number))).exists() else
         shutil.copy)(source, target)

    def right(self, cwd: Path, words: str) -> dict[str, Any]:
        """A command that succeeds."""
        done = self.run(cwd, words)
        assert done["code"] == 0, (words, done["text"])
        return done


def prepare(place: Path, *, few: bool = False) -> None:
    """Networks, photographs by class, and pairs of images and masks; or a `few` of these."""
    dice = np.random.default_rng(0)
    for kind, name in ((kind, name) for kind in ("across", "upright") for name in range(6)):
        (place / "photos" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(dice.integers(0, 255, (20, 24), np.uint8)).save(place / "photos" / kind / f"{name:02}.png")
    for name in range(4):
        for kind, values in (("images", 255), ("masks", 2)):
            (place / "pairs" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(dice.integers(0, values, (30, 40), np.uint8)).save(place / "pairs" / kind / f"{name}.png")
    np.save(place / "array.npy", dice.integers(0, 255, (40, 40, 3), np.uint8))
    for seed, file in ((0, "net"), (1, "other")):
        torch.manual_seed(seed)
        model = convatlas.create_model("lenet5_modern", num_classes=2)
        model.card = replace(model.card, classes=("across", "upright"))
        convatlas.save(model, place / f"{file}.safetensors")
        if few:
            return
    convatlas.save(convatlas.create_model("unet_same", widths=(4, 6, 8)), place / "pixels.safetensors")
    convatlas.save(convatlas.create_model("mobilenet_v3_small"), place / "mobile.safetensors")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, for all tests of the file."""
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    assert found.process.stdin is not None
    found.process.stdin.close()
    found.process.wait()


def whole(path: Path) -> None:
    """An error for a file that is half of one."""
    content, suffix = path.read_bytes(), path.suffix
    assert content, f"{path} is empty"
    if suffix in (".png", ".tif"):
        with Image.open(path) as image:
            image.load()
    elif suffix in (".svg", ".html", ".xml"):
        assert content.rstrip().endswith((b"</svg>", b"</html>", b"</net>")), path
        assert suffix != ".xml" or path.with_suffix(".bin").stat().st_size > 100
    elif suffix == ".pdf":
        assert content.rstrip().endswith(b"%%EOF")
    elif suffix == ".json":
        json.loads(content)
    elif suffix == ".yaml":
        assert "train" in yaml.safe_load(content)
    elif suffix in (".csv", ".md", ".txt"):
        assert content.endswith(b"\n"), path
    elif suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            assert [file.get_tensor(name) for name in file.keys()]     # noqa: SIM118
    elif suffix in (".pth", ".pt2", ".npz"):
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
    elif suffix == ".onnx":
        import onnx

        onnx.checker.check_model(onnx.load(path), full_check=True)
    elif suffix == ".tar":
        with tarfile.open(path) as file:
            assert file.getmembers() and content.endswith(bytes(1024))
    elif suffix == ".gz":
        gzip.decompress(content)
    elif suffix == ".npy":
        np.load(path)
    else:
        assert suffix in (".bin", ".pixels"), f"{path}: nobody knows what it is"


def files(place: Path) -> set[str]:
    """What is in a folder, without what is hidden, and without the time in the names of events and the digest in those
    of caches.
    """
    return {re.sub(r"(?<=tfevents).*|[0-9a-f]{32}", "", str(path.relative_to(place))) for path in place.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(place).parts)}


def judge(place: Path, old: set[str]) -> None:
    """What a failure has left: whole files, and of single files that were there the old or the new one."""
    for path in place.rglob("*"):
        inside = path.relative_to(place)
        if (path.is_file() and not any(part.startswith(".") for part in inside.parts)
                and not path.name.startswith(GROWING)
                and not ((path.parent / "journal.jsonl").exists() and path.suffix in (".npy", ".tif", ".zarr"))):
            whole(path)
    for name in old - files(place):
        assert "/" in name, f"{name} is gone"


def strays(place: Path) -> list[str]:
    """What nobody will ever remove; but for what says that its folder holds half of something."""
    return [str(path.relative_to(place)) for path in place.rglob(".*") if STRAY.fullmatch(path.name)
            and (path.suffix != ".unfinished" or (path.parent / path.stem[1:]).exists())]


def _spread(values: list[int], points: int | None) -> list[int]:
    """All of them, or so many from the first to the last."""
    if points is None or len(values) <= points:
        return values
    return [values[round(i * (len(values) - 1) / (points - 1))] for i in range(points)]


def matrix(server: Server, case: Case, points: int | None = None) -> int:
    """Try a command at each of its writes, or at so many of them; returns how often it was run with a fault."""
    start = server.folder(server.inputs)
    if case.before:
        server.right(start, case.before)
    old = files(start)
    done = server.folder(start)
    count, wanted = len(server.right(done, case.words)["writes"]), files(done)
    assert count or case.name == "runs", "it writes nothing"      # whose SQLite is seen by limits alone
    judge(done, old)
    assert not strays(done)
    every = _spread(list(range(count)), points)
    limits = sorted({*LIMITS, *(size - 1 for name in wanted if (done / name).is_file()
                                and (size := (done / name).stat().st_size) < 10**6)})
    faults: list[dict[str, Any]] = [{"kind": kind, "at": at} for kind in ("kill", "full") for at in every]
    faults += [{"kind": "limit", "bytes": most, "kill": kill} for kill in (False, True)
               for most in _spread(limits, points)]
    for fault in (*faults, {"kind": "closed"}):
        place = server.folder(start)
        found = server.run(place, case.words, **fault)
        where = f"{case.words}, {fault}: {found['code']} {found['text']}"
        try:
            judge(place, old)
        except Exception as error:
            raise AssertionError(where) from error
        if found["code"] == 0:
            assert fault["kind"] != "kill", where
        elif found["code"] > 0:
            assert found["code"] in (1, 2) and "error: " in found["text"], where
            assert "Traceback" not in found["text"] and "unexpected" not in found["text"], where
            # OpenVINO calls a full disk an iostream error
            assert re.search("cannot write|disk full|iostream error", found["text"]), where
            assert not strays(place), f"{where} {strays(place)}"
        else:
            assert found["code"] in (-9, -25), where
        mended = server.run(place, case.words)
        if mended["code"] and case.again:
            mended = server.run(place, case.again)
        # all may have been written before it was killed
        assert mended["code"] == 0 or (found["code"] in (-9, 0) and "already" in mended["text"]), (
            f"{where} {mended['text']}")
        judge(place, old)
        assert files(place) >= wanted, f"{where} {wanted - files(place)}"
        shutil.rmtree(place)
    return len(faults) + 1


class Killed(BaseException):
    """Stands for a signal: nothing that happens while it is handled changes the disk."""


def failing(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    """This process's writes through Python go to `disk` first, until `patch` is undone."""
    def seen(module: Any, name: str, event: str) -> None:
        real = getattr(module, name)

        def write(*given: Any, **more: Any) -> Any:
            if event == "open":
                mode = given[1] if given[1:] else more.get("mode", "r")
                flags = mode if module is os else os.O_CREAT if set("wax+") & set(mode) else 0
                disk(event, (given[0], None, flags))
            else:
                disk(event, given)
            return real(*given, **more)

        patch.setattr(module, name, write)

    for module, name, event in ((os, "open", "open"), (io, "open", "open"), (builtins, "open", "open"),
                                (os, "replace", "os.rename"), (os, "rename", "os.rename"), (os, "mkdir", "os.mkdir"),
                                (os, "unlink", "os.remove"), (os, "remove", "os.remove"), (os, "rmdir", "os.rmdir")):
        seen(module, name, event)


def _publish(place: Path) -> None:
    from convatlas.integrations.hub import publish

    publish(place / "net.safetensors", place / "hub", force=True)


def _convert(place: Path) -> None:
    from convatlas.weights.checkpoints import convert_weights

    convert_weights(place / "net.safetensors", place / "new.safetensors", "convatlas")


def _shard(place: Path) -> None:
    from convatlas.data.shards.local import is_shards
    from convatlas.data.shards.writer import write_shards

    if not (is_shards(place / "shards") and (place / "shards/index.json").exists()):
        write_shards(place / "photos", place / "shards", shard_bytes=5000, val_fraction=0.2, seed=0,
                     report=lambda done, total: None)


def _begin(place: Path) -> None:
    from convatlas import Run
    from convatlas.runs.folder import create

    create(Run(), place / "run", force=True)


def _together(place: Path) -> None:
    from convatlas.files import put, whole_files

    with whole_files(place / "together", "b.txt", ("a.txt", "b.txt", "c.txt")) as fresh:
        for name in ("a.txt", "b.txt"):
            put(fresh / name, "new\n")


def _old(place: Path) -> None:
    (place / "together").mkdir()
    for name in ("a.txt", "b.txt", "c.txt", "another's.txt"):
        (place / "together" / name).write_text("old\n")


WRITERS = {
    "publish": (_publish, None, 4), "publish again": (_publish, _publish, 4), "convert": (_convert, None, 4),
    "shard": (_shard, None, 8), "run": (_begin, None, 6), "run again": (_begin, _begin, 6),
    "together": (_together, None, None), "together again": (_together, _old, None),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_fails(name: str, tmp_path: Path) -> None:
    write, before, points = WRITERS[name]
    prepare(tmp_path / "inputs", few=True)
    if before is not None:
        before(tmp_path / "inputs")
    shutil.copytree(tmp_path / "inputs", tmp_path / "right")
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, disk := Disk(tmp_path / "right", {}))
        write(tmp_path / "right")
    old, wanted = files(tmp_path / "inputs"), files(tmp_path / "right")
    faults = [{"kind": kind, "at": at} for kind in ("kill", "full")
              for at in _spread(list(range(len(disk.seen))), points)]
    assert len(faults) > 4
    for number, fault in enumerate((*faults, {"kind": "closed"})):
        place = tmp_path / str(number)
        shutil.copytree(tmp_path / "inputs", place)
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, Disk(place, fault, Killed))
            try:
                write(place)
                assert fault["kind"] == "full", fault
            except Killed:
                assert fault["kind"] == "kill"
            except convatlas.ConvatlasError as error:
                assert "cannot write" in str(error) and fault["kind"] != "kill"
                assert not strays(place), (fault, strays(place))
        judge(place, old)
        write(place)
        judge(place, old)
        assert files(place) == wanted, (fault, disk.seen[fault.get("at", 0)])
    if name == "together again":
        assert (place / "together/another's.txt").read_text() == "old\n"
        assert (place / "together/a.txt").read_text() == "new\n" and not (place / "together/c.txt").exists()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_command(server: Server, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    tried = matrix(server, case, int(os.environ.get("CONVATLAS_POINTS", "0")) or None)
    with capsys.disabled():
        print(f" {case.name}: {tried}", end="", flush=True)
