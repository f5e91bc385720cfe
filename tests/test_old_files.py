"""What older versions wrote is read by this one: the archives in tests/old, which tests/old/make.py made with their
code.
"""

import json
import re
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import deploy
from convatlas.data import Subset, Tensors, make_transform
from convatlas.data.cache import Cached, prepared
from convatlas.data.image_folder import read_folder
from convatlas.data.shards.local import read_shards
from convatlas.data.shards.writer import write_shards
from convatlas.data.split import Split
from convatlas.deploy import reader
from convatlas.deploy.native import missing, stored
from convatlas.engine.checkpoint import newest
from convatlas.errors import ConvatlasError
from convatlas.inspect.vectors import Index
from convatlas.run import Data
from convatlas.runs.folder import run_of
from convatlas.runs.index import list_runs
from convatlas.segment.run import segment
from golden.helps import FOLDER, helps

OLD = sorted((Path(__file__).parent / "old").glob("*.tar.xz"))
NAMES = [f"pictures/{name}.png" for name in ("nought/0", "one/1", "two/2")]
SHARDS = {"shard_bytes": 12_000, "val_fraction": 0.25, "seed": 0}


@pytest.fixture(params=OLD, ids=lambda path: path.name.removesuffix(".tar.xz"))
def expected(request, tmp_path, monkeypatch):
    """What that version answered; its files lie in the working directory."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return json.loads(Path("expected.json").read_text())


def test_weights_answer_as_they_did(expected):
    sources = [source for source in expected if not source.startswith("deployed/") and source != "runs/unet"]
    assert len(sources) == 8
    for source in sources:
        net = convatlas.load(source).eval()
        show = convatlas.transforms(net)
        with torch.inference_mode():
            scores = net(torch.stack([show(Image.open(name)) for name in NAMES]))
        torch.testing.assert_close(scores, torch.tensor(expected[source]), rtol=1e-4, atol=1e-5, msg=source)
    net = convatlas.load("runs/unet").eval()
    with torch.inference_mode():
        scores = net(torch.from_numpy(np.array(Image.open("pairs/images/0.png"))).float().div(255)[None, None])
    torch.testing.assert_close(scores.mean(dim=(2, 3)), torch.tensor(expected["runs/unet"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["momentum", "levenberg", "sparse"])
def test_interrupted_runs_go_on(expected, name):
    """From the middle of their second epoch: momentum; second derivatives; AdamW, averages and masks."""
    folder = Path("runs") / name
    assert newest(folder).progress.step == 1
    trained = convatlas.train(run_of(folder), resume=folder)
    assert trained.outcome.epochs == 2 and not trained.outcome.interrupted
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3 and (folder / "report.html").is_file()


def test_runs_are_listed(expected):
    found = {run.name: run for run in list_runs(["runs"])}
    assert set(found) == {"lenet", "momentum", "levenberg", "channel", "zca", "sparse", "unet"}
    assert {name for name, run in found.items() if run.state() != "done"} == {"momentum", "levenberg", "sparse"}
    assert not any(run.problem for run in found.values()) and all(run.best for run in found.values())


@pytest.mark.parametrize("name", ["eager", "onnxruntime", "openvino", "native", "int8", "plain"])
def test_deployed_folders_answer_as_they_did(expected, name):
    engine = {"int8": "onnxruntime", "plain": "onnxruntime"}.get(name, name)
    if engine == "native" and missing():
        pytest.skip(missing())
    if engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine)
    folder = f"deployed/{name}"
    assert reader.answers(folder) == (name == "plain")
    found = convatlas.predict(folder, NAMES)
    if name == "plain":
        assert found == reader.predict(folder, NAMES)
    near = 0.05 if name == "int8" else 1e-4       # int8: processors differ in how they add up products
    for one, before in zip(found, expected[folder], strict=True):
        assert dict(zip(one.classes, one.probabilities, strict=True)) == pytest.approx(before, abs=near)


def test_shards_are_read_and_unfinished_ones_go_on(expected):
    source = read_shards(Path("shards"), Split())
    folder = read_folder(Path("pictures"), Split(0.25, 0))
    assert (source.classes == folder.classes
            and len(source.train) + len(source.val) == len(folder.train) + len(folder.val))
    pictures = sorted(source.train.read(i).sum().item() for i in range(len(source.train)))
    assert pictures == sorted(folder.train.read(i).sum().item() for i in range(len(folder.train)))
    first = Path("unfinished/train/shard-000000.tar")
    before = first.stat().st_ino
    write_shards(Path("pictures"), Path("unfinished"), **SHARDS, report=lambda done, total: None)
    assert first.stat().st_ino == before, "it was written again"
    whole, again = (json.loads(Path(name, "index.json").read_text()) for name in ("shards", "unfinished"))
    assert again["parts"] == whole["parts"] and again["classes"] == whole["classes"]


def test_a_cache_of_pixels_without_checksums_is_made_anew(expected):
    """Its name depends on where the pictures lie: the old content is put under the name that it has here."""
    old, = Path("cache/pixels").glob("*.pixels")
    files = read_folder(Path("pictures"), Split(0.25, 0)).train
    transform, told = make_transform(convatlas.Run().preprocess, 8, 1), []
    config = Data(cache="disk", cache_dir="made")
    fresh = prepared(files, config, transform, told.append)
    content = fresh.path.read_bytes()
    fresh.path.write_bytes(old.read_bytes())
    found = prepared(files, config, transform, told.append)
    assert isinstance(found, Cached) and found.path == fresh.path and found.path.read_bytes() == content
    assert [text.partition(": ")[2] for text in told] == ["the pictures are decoded anew."]


def test_an_index_of_vectors_is_kept(expected):
    files = read_folder(Path("pictures"), Split(0.25, 0)).train
    model = convatlas.load("runs/channel").eval()
    transform = convatlas.transforms(model)
    held = Subset(Tensors(torch.stack([files.read(i) for i in range(len(files))]), files.labels), torch.arange(8))
    changes = Index(Path("index"), model, transform).update(held)
    assert (changes.kept, changes.added, changes.dropped) == (6, 2, 0)


def test_an_interrupted_segmentation_goes_on(expected):
    seen = {"segmented": [], "whole": []}
    found, whole = (segment("runs/unet", ["pairs/images/0.png"], out, tile=16, overlap=8, device="cpu",
                            probabilities=True, watch=lambda *step, out=out: seen[out].append(step))[0] for out in seen)
    assert 0 < len(seen["segmented"]) < len(seen["whole"])
    assert found.labels.read_bytes() == whole.labels.read_bytes()
    np.testing.assert_allclose(np.load(found.probabilities), np.load(whole.probabilities), atol=1e-5)
    assert not Path("segmented/journal.jsonl").exists()


def test_a_remembered_choice_is_taken(expected, monkeypatch):
    """Its name depends on the machine: the old content is put under the name that it has here."""
    monkeypatch.setenv("XDG_CACHE_HOME", "made")
    old, = Path("cache/convatlas/deploy").glob("*.json")
    net, example = convatlas.load("runs/channel").eval(), torch.zeros(1, 1, 8, 8)
    deploy.optimize(net, example, candidates=("eager",), seconds=0.01)
    fresh, = Path("made/convatlas/deploy").glob("*.json")
    fresh.write_bytes(old.read_bytes())
    report = deploy.optimize(net, example, candidates=("eager",), seconds=0.01).report
    assert report.cached and report.candidates[0].latency == json.loads(old.read_text())["candidates"][0]["latency"]


def tree(name):
    """Rewrites a JSON file."""
    def write(key):
        path = Path(name)
        path.write_text(json.dumps({**json.loads(path.read_text()), key: 99}))
    return write


def first_line(name):
    """Rewrites the first line of a file of JSON lines."""
    def write(key):
        path = Path(name)
        first, *rest = path.read_text().splitlines(keepends=True)
        path.write_text(json.dumps({**json.loads(first), key: 99}) + "\n" + "".join(rest))
    return write


def metadata(name):
    """Rewrites the description in a file of weights."""
    def write(key):
        path = Path(name)
        content = path.read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        head = json.loads(content[8:8 + size])
        head["__metadata__"]["convatlas"] = json.dumps({**json.loads(head["__metadata__"]["convatlas"]), key: 99,
                                                        "unheard": "of"})
        text = json.dumps(head).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size:])
    return write


def config(key):
    path = Path("runs/lenet/config.yaml")
    path.write_text(f"{key}: 99\n" + re.sub(rf"(?m)^{key}:.*\n", "", path.read_text()))


def index():
    model = convatlas.load("runs/channel").eval()
    return Index(Path("index"), model, convatlas.transforms(model))


NEWER = {       # what is written by a newer version → and opened by this one
    "weights": (metadata("runs/lenet/model.safetensors"), "format", lambda: convatlas.load("runs/lenet")),
    "run": (config, "format", lambda: run_of("runs/lenet")),
    "checkpoint": (tree("runs/lenet/checkpoints/step-00000005/state.json"), "format",
                   lambda: newest(Path("runs/lenet"))),
    "deployed": (tree("deployed/plain/deploy.json"), "format", lambda: convatlas.predict("deployed/plain", NAMES)),
    "native": (tree("deployed/native/native.json"), "format", lambda: stored.load(Path("deployed/native"))),
    "shards": (tree("shards/index.json"), "version", lambda: read_shards(Path("shards"), Split())),
    "unfinished": (first_line("unfinished/.unfinished.jsonl"), "format",
                   lambda: write_shards(Path("pictures"), Path("unfinished"), **SHARDS,
                                        report=lambda done, total: None)),
    "vectors": (tree("index/index.json"), "format", index),
    "segmentation": (first_line("segmented/journal.jsonl"), "format",
                     lambda: segment("runs/unet", ["pairs/images/0.png"], "segmented", tile=16, overlap=8,
                                     probabilities=True)),
}


@pytest.mark.parametrize("kind", NEWER)
def test_what_a_newer_version_wrote_is_refused(expected, kind):
    change, key, opened = NEWER[kind]
    change(key)
    with pytest.raises(ConvatlasError, match=r"has format 99, and convatlas .* reads formats up to [1-5]: "
                       r"update convatlas$"):
        opened()


def test_help_says_what_it_said():
    """A change that is meant: `uv run python tests/golden/helps.py`."""
    kept = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")}
    found = {name.replace(" ", "-"): text for name, text in helps().items()}
    assert set(kept) == set(found)
    for name, text in found.items():
        assert text == kept[name], f"convatlas {name} --help"
