"""Files of every kind that convatlas reads, mutated, and what comes of reading them: a result, or one sentence.

    uv run python benchmarks/fuzz.py [--files 100000] [--seed 0] [--only KIND] [--workers 2]

Each file begins as a sound one (tests/old has one of every kind of ours; those of others are written here) and is then
changed: bits, bytes, lengths, splices of two, fields swapped, grown and nested, also inside archives and behind
checksums, which are put right again. Processes of their own read them, with a limit on memory and a watch on the time.
Counted: code that was executed (some pickles would create a file), processes that died or hung, errors that are no
sentence, and what took more than a second or 200 MB. Results: benchmarks/results/fuzz.json.
"""

import argparse
import gzip
import io
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
CANARY = "executed"                     # the file that a pickle would create
MEMORY = 6 * 2**30                      # bytes of addresses beyond what libraries take
SECONDS, HUNG = 1.0, 20.0               # of the processor: too slow; so slow that the process is ended
LARGE = 200 * 2**20
STATUS = Path("/proc/self/status")


class Kind(NamedTuple):
    """A kind of file: where it lies, how it is read, and how its content is opened to be changed."""

    name: str
    path: str
    read: Callable[[Path], Any]
    inside: str = ""                    # json, yaml, zip, gz, safetensors: changed inside too


class Executed:
    """Executed when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (CANARY, "w")


# -- sound files -------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Sound files of every kind."""
    import h5py
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    import convatlas
    from convatlas.runs import manifest

    archive = sorted((ROOT / "tests" / "old").glob("*.tar.xz"))[-1]
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    state = convatlas.create_model("lenet5_modern", num_classes=3).state_dict()
    other = folder / "others"
    other.mkdir()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3,
                "best_acc1": torch.tensor(0.5), "args": argparse.Namespace(lr=0.1)}, other / "a.pth")
    torch.save({"model": state, "rng": np.random.get_state()[:2]}, other / "legacy.pth",
               _use_new_zipfile_serialization=False)
    torch.save({"state_dict": state, "evil": Executed()}, other / "evil.pth")
    (other / "evil.pkl").write_bytes(pickle.dumps(Executed(), 2))
    save_file(state, other / "a.safetensors")
    (other / "b.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, "a.safetensors")}))
    np.savez_compressed(other / "a.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    np.savez(other / "evil.npz", x=np.array([Executed()], dtype=object))
    (other / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {
        "tag": "x", "mean": [0.5] * 3, "std": [0.2] * 3, "crop_pct": 0.9, "input_size": [3, 32, 32],
        "interpolation": "bicubic", "license": "none"}}))
    with h5py.File(other / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv", b"norm"]
        for layer, leaves in (("conv", ("kernel:0", "bias:0")), ("norm", ("gamma:0", "beta:0"))):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{leaf}".encode() for leaf in leaves]
            for leaf in leaves:
                size = (3, 3, 2, 4) if leaf == "kernel:0" else (4,)
                group.create_dataset(f"{layer}/{leaf}", data=rng.random(size, "f4"),
                                     **({"compression": "gzip", "shuffle": True} if len(size) > 1 else {}))
    pixels = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez_compressed(other / "data.npz", x=pixels, y=np.arange(12) % 3, x_test=pixels, y_test=np.arange(12) % 3)
    (other / "images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">4I", 2051, 12, 8, 8) + pixels.tobytes()))
    (other / "labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 12) + bytes(range(12)))
    (other / "cifar.bin").write_bytes(rng.integers(0, 10, 4 * 3073, dtype=np.uint8).tobytes())
    (other / "table").mkdir()
    for i in range(6):
        Image.fromarray(pixels[i]).save(other / "table" / f"{i}.png")
    (other / "table" / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,c{i % 2}\n" for i in range(6)))
    color = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for kind, options in (("png", {}), ("jpg", {}), ("gif", {}), ("bmp", {}), ("webp", {}), ("ppm", {}),
                          ("tif", {"compression": "tiff_lzw"})):
        Image.fromarray(color).save(other / f"picture.{kind}", **options)
    np.save(other / "mask.npy", pixels[0] % 3)
    (other / "classes.txt").write_text("cat\ndog\n")
    entries = [manifest.Entry("train", f"c{i % 2}", 100 + i, f"{i:032x}", f"c{i % 2}/{i}.png") for i in range(40)]
    manifest.write(folder / "runs" / "lenet", manifest.Manifest(
        source="x", place=str(folder), name="x", layout="folders", classes=("c0", "c1"), val_fraction=0.2, seed=0,
        parts={"train": manifest.Part(images=40, digest="0" * 32)}), entries)
    (folder / "bench.json").write_text(json.dumps({"format": 1, "comparisons": [{"model": "x", "sides": [1, 2]}]}))
    (folder / "split.json").write_text(json.dumps({"batch": 64, "threads": 2, "part": 32}))
    _search(folder / "search")


def _search(folder: Path) -> None:
    """A search that has begun: its plan, and a ledger with trials of every state."""
    from convatlas.run import Model, Run
    from convatlas.scale.ledger import Ledger
    from convatlas.scale.plan import BASE, Plan, network
    from convatlas.scale.trial import Images
    from convatlas.zoo import info

    run = Run(model=Model(name="resnet20_cifar"))
    network_ = network(BASE, BASE, 0.0, None, run, info("resnet20_cifar").spec, 0.0)
    Plan(folder, {"phi": 1.0}, run, Images(folder / "images.npz", 8, 2, 4, 3), {network_.name: network_}).write()
    ledger = Ledger(folder)
    ledger.extend(lambda entries: [{"part": "search", "network": "a", "seed": seed} for seed in range(4)])
    for value in (0.5, 0.25):
        claim = ledger.claim()
        assert claim is not None
        claim.done(value)
    assert ledger.claim() is not None


# -- how they are read -------------------------------------------------------------------------------------------------


def kinds() -> list[Kind]:
    """Every kind, by the function that users reach it through."""
    import torch

    import convatlas
    from convatlas import weights
    from convatlas.cli.bench import _kept
    from convatlas.data import cache
    from convatlas.data.arrays import read_npz
    from convatlas.data.binary import read_cifar, read_idx
    from convatlas.data.image_folder import read_folder
    from convatlas.data.shards.local import read_shards
    from convatlas.data.shards.writer import _begin
    from convatlas.data.split import Split
    from convatlas.data.table import read_table
    from convatlas.deploy import choose, reader
    from convatlas.deploy.backends import split
    from convatlas.deploy.bundle import deployed
    from convatlas.deploy.native import stored
    from convatlas.engine.checkpoint import newest
    from convatlas.engine.records import read_rows
    from convatlas.inspect.vectors import Index
    from convatlas.pixels import decode
    from convatlas.runs import index, manifest
    from convatlas.runs.folder import run_of
    from convatlas.scale.ledger import Ledger
    from convatlas.scale.plan import read as read_plan
    from convatlas.segment.masks import stored as mask
    from convatlas.segment.output import Journal
    from convatlas.segment.picture import picture

    model = convatlas.load("runs/channel").eval()
    transform = convatlas.transforms(model)
    files = read_folder(Path("pictures"), Split(0.25, 0)).train

    def kept(path: Path) -> Any:
        found = manifest.kept(path.parent)
        return found and found.entries

    def listed(path: Path) -> Any:
        runs = index.list_runs(["runs"])
        return [(run.state(), run.epochs) for run in runs], index.compare(runs)

    def config(path: Path) -> Any:
        listed(path)
        return run_of(path.parent)

    def loaded(path: Path) -> Any:
        weights.read_card(path)
        with torch.inference_mode():
            return convatlas.load(path)

    def answers(path: Path) -> Any:
        reader.answers(path.parent)
        return deployed(path.parent, "cpu")

    def plain(path: Path) -> Any:
        return reader.answers(path.parent) and reader.predict(path.parent, ["pictures/nought/0.png"])

    def shards(path: Path) -> Any:
        source = read_shards(path.parent, Split())
        return source.train.read(0)

    def shard(path: Path) -> Any:
        return read_shards(path.parent.parent, Split()).train.read(0)

    def journal(path: Path) -> Any:
        written = Journal(path.parent, {})
        written.begin(lambda: 16)
        return written.take()

    def vectors(path: Path) -> Any:
        found = Index(path.parent, model, transform)
        return found.names(range(min(2, found.vectors.count)))

    def beside(path: Path) -> Any:
        return weights.of_file(path.with_name("a.safetensors"))

    every = [
        Kind("torch zip", "others/a.pth", weights.read, "zip"), Kind("torch legacy", "others/legacy.pth", weights.read),
        Kind("hostile torch zip", "others/evil.pth", weights.read, "zip"),
        Kind("hostile pickle", "others/evil.pkl", weights.read),
        Kind("safetensors", "others/a.safetensors", weights.read, "safetensors"),
        Kind("index of several", "others/b.safetensors.index.json", weights.read, "json"),
        Kind("npz of weights", "others/a.npz", weights.read, "zip"),
        Kind("hostile npz", "others/evil.npz", weights.read, "zip"), Kind("keras", "others/a.h5", weights.read),
        Kind("config.json beside", "others/config.json", beside, "json"),
        Kind("our weights", "runs/lenet/model.safetensors", loaded, "safetensors"),
        Kind("config.yaml", "runs/lenet/config.yaml", config, "yaml"),
        Kind("data.json", "runs/lenet/data.json", kept, "json"),
        Kind("images.csv.gz", "runs/lenet/images.csv.gz", kept, "gz"),
        Kind("metrics.csv", "runs/lenet/metrics.csv", lambda path: (listed(path), read_rows(path))),
        Kind("index of runs", "runs/.index.sqlite", listed),
        Kind("state.json", "runs/momentum/checkpoints", lambda path: newest(path.parents[2]), "json"),
        Kind("state.safetensors", "runs/momentum/checkpoints", lambda path: newest(path.parents[2]), "safetensors"),
        Kind("native.json", "deployed/native/native.json", lambda path: stored.load(path.parent), "json"),
        Kind("native.safetensors", "deployed/native/native.safetensors", lambda path: stored.load(path.parent),
             "safetensors"),
        Kind("deploy.json", "deployed/eager/deploy.json", answers, "json"),
        Kind("deploy.json without torch", "deployed/plain/deploy.json", plain, "json"),
        Kind("preprocess.safetensors", "deployed/eager/preprocess.safetensors", answers, "safetensors"),
        Kind("remembered choice", "cache/convatlas/deploy", choose._read, "json"),
        Kind("split.json", "split.json", lambda path: split.tuned(path.parent, 2), "json"),
        Kind("comparisons", "bench.json", _kept, "json"),
        Kind("npz of pictures", "others/data.npz", lambda path: read_npz(path, Split()), "zip"),
        Kind("idx in gzip", "others/images-idx3-ubyte.gz", lambda path: read_idx(path, 3), "gz"),
        Kind("idx", "others/labels-idx1-ubyte", lambda path: read_idx(path, 1)),
        Kind("cifar", "others/cifar.bin", lambda path: read_cifar(path, 4, 1)),
        Kind("table of labels", "others/table/labels.csv", read_table),
        Kind("index.json of shards", "shards/index.json", shards, "json"),
        Kind("index.npz of shards", "shards/index.npz", shards, "zip"),
        Kind("shard", "shards/train/shard-000000.tar", shard),
        Kind("journal of shards", "unfinished/.unfinished.jsonl", lambda path: _begin(path.parent, "0"), "json"),
        Kind("journal of segmentation", "segmented/journal.jsonl", journal, "json"),
        Kind("plan of a search", "search/plan.json", lambda path: read_plan(path.parent), "json"),
        Kind("ledger of a search", "search/journal.log", lambda path: Ledger(path.parent).claim(), "json"),
        Kind("index of vectors", "index/index.json", vectors, "json"),
        Kind("rows of vectors", "index/rows-0.jsonl", vectors, "json"),
        Kind("cache of pixels", "cache/pixels", lambda path: cache._opened(files, path)),
        Kind("mask.npy", "others/mask.npy", mask), Kind("image.npy", "others/mask.npy", picture),
        *(Kind(f"picture.{kind}", f"others/picture.{kind}", decode)
          for kind in ("png", "jpg", "gif", "bmp", "webp", "ppm", "tif")),
        Kind("mask.png", "pairs/masks/0.png", mask),
    ]
    names = {"state.json": "state.json", "state.safetensors": "state.safetensors", "remembered choice": "*.json",
             "cache of pixels": "*.pixels"}
    return [kind._replace(path=str(sorted(Path(kind.path).rglob(names[kind.name]))[-1])) if kind.name in names else kind
            for kind in every]


# -- how they are changed ----------------------------------------------------------------------------------------------

NUMBERS = ("-1", "0", "99999999999", "9" * 400, "1e400", "-1e999", "NaN", "Infinity", "1.5", "18446744073709551616",
           "0x" + "f" * 40, "true", "null", '""', "[]", "{}")
VALUES: tuple[Any, ...] = (None, True, -1, 0, 2**31, 2**63, 2**70, 1e308, "", "x" * 2000, "../../etc/passwd", "\x1b[2J",
                           [], {}, [[]], {"a": 1}, [None] * 50, "\ud800", "1", 1.5)


def changed(content: bytes, kind: Kind, draw: random.Random) -> bytes:
    """The content with one to three changes, inside what packs it where there is something inside."""
    inner = INSIDE.get(kind.inside)
    if inner is not None and draw.random() < 0.7:
        try:
            return inner(content, draw)
        except (ValueError, KeyError, IndexError, zipfile.BadZipFile, UnicodeDecodeError, struct.error, RecursionError):
            pass
    return raw(content, draw)


def raw(content: bytes, draw: random.Random) -> bytes:
    """Bits, bytes, lengths, splices."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not data:
            break
        # near the beginning and the end, where heads and directories lie, more often than elsewhere
        at = draw.choice((draw.randrange(min(len(data), 400)), draw.randrange(len(data)),
                          len(data) - 1 - draw.randrange(min(len(data), 400))))
        match draw.randrange(9):
            case 0:
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                data[at] = draw.randrange(256)
            case 2:
                del data[at:]
            case 3:
                data[at:at] = draw.randbytes(draw.choice((1, 4, 60)))
            case 4:
                del data[at:at + draw.choice((1, 4, 60))]
            case 5:
                size = draw.choice((2, 4, 8))
                value = draw.choice((0, 1, 2**15, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)) % 256**size
                data[at:at + size] = value.to_bytes(size, draw.choice(("little", "big")))
            case 6:
                other = draw.randrange(len(data))
                size = draw.randrange(1, 200)
                data[at:at + size] = data[other:other + size]
            case 7:
                other = draw.randrange(len(data))
                data[at:at] = data[other:other + draw.randrange(1, 2000)] * draw.choice((1, 1, 20))
            case 8:
                found = [*re.finditer(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", data[:200_000])]
                if found:
                    one = draw.choice(found)
                    data[one.start():one.end()] = draw.choice(NUMBERS).encode()
    return bytes(data)


def tree(value: Any, draw: random.Random) -> Any:
    """A tree with one value in it replaced, removed, swapped, doubled or nested."""
    places: list[tuple[Any, Any]] = []

    def walk(here: Any) -> None:
        if isinstance(here, dict | list):
            for key in list(here) if isinstance(here, dict) else range(len(here)):
                places.append((here, key))
                walk(here[key])

    walk(value)
    if not places:
        return draw.choice(VALUES)
    here, key = draw.choice(places)
    match draw.randrange(6):
        case 0 | 1:
            here[key] = draw.choice(VALUES)
        case 2:
            del here[key]
        case 3:
            there, other = draw.choice(places)
            with suppress(KeyError, IndexError):
                here[key] = json.loads(json.dumps(there[other]))
        case 4:
            for _ in range(draw.choice((1, 5, 70, 400))):
                here[key] = draw.choice(([here[key]], {"a": here[key]}))
        case 5:
            if isinstance(here, dict):
                here[draw.choice(("", "x", "__class__", "\x1b[31m", "a" * 300, str(key) + "2"))] = here[key]
            else:
                here.extend([here[key]] * draw.choice((1, 100)))
    return value


def in_json(content: bytes, draw: random.Random) -> bytes:
    """A tree, in one of the lines where there are several."""
    text = content.decode("utf-8", "surrogateescape")
    try:
        return json.dumps(tree(json.loads(text), draw), ensure_ascii=True).encode()
    except json.JSONDecodeError:
        lines = text.splitlines()
        at = draw.randrange(len(lines))
        lines[at] = json.dumps(tree(json.loads(lines[at]), draw))
        return ("\n".join(lines) + "\n").encode()


def in_yaml(content: bytes, draw: random.Random) -> bytes:
    """A tree, sometimes of anchors and tags."""
    import yaml

    found = tree(yaml.safe_load(content), draw)
    if draw.random() < 0.2:
        row = [1, 2, 3]
        for _ in range(draw.randrange(1, 12)):
            row = [row] * draw.randrange(1, 9)
        found = {**found, "a": row} if isinstance(found, dict) else row
    text = yaml.safe_dump(found, allow_unicode=True)
    tag = f"!!python/object/apply:builtins.open ['{CANARY}', 'w']"
    return (text.replace("seed: ", f"seed: {tag} #", 1) if draw.random() < 0.1 else text).encode("utf-8", "replace")


def in_zip(content: bytes, draw: random.Random) -> bytes:
    """One member changed and packed again, its checksum right; or members renamed, doubled, left out, or zeros."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(
            made, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new:
        names = old.namelist()
        weights = [20 if name.endswith((".pkl", ".npy")) else 1 for name in names]
        chosen, how = draw.choices(names, weights)[0], draw.randrange(10)
        for name in names:
            body = old.read(name)
            if name == chosen:
                if how == 0:
                    continue
                if how == 1:
                    new.writestr(name, body)
                if how == 2:
                    name = draw.choice((name.upper(), name + "x", "a/" + name, "../" + name, "data.pkl"))
                if how == 3:
                    new.writestr(name, bytes(draw.choice((10**6, 3 * 10**7))), zipfile.ZIP_DEFLATED)
                    continue
                if how > 3:
                    body = raw(body, draw)
            new.writestr(name, body)
    return made.getvalue()


def in_gzip(content: bytes, draw: random.Random) -> bytes:
    """The text inside."""
    return gzip.compress(raw(gzip.decompress(content), draw), 1)


def in_safetensors(content: bytes, draw: random.Random) -> bytes:
    """The head, its length right."""
    size = int.from_bytes(content[:8], "little")
    head = tree(json.loads(content[8:8 + size]), draw)
    own = isinstance(head, dict) and isinstance(head.get("__metadata__"), dict) and head["__metadata__"]
    if own and draw.random() < 0.6 and isinstance(own.get("convatlas"), str):
        own["convatlas"] = json.dumps(tree(json.loads(own["convatlas"]), draw))
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size:]


INSIDE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "json": in_json, "yaml": in_yaml, "zip": in_zip, "gz": in_gzip, "safetensors": in_safetensors}


# -- files made to harm ------------------------------------------------------------------------------------------------


def bombs() -> dict[str, bytes]:
    """Small files that unfold, nest or count without end; each is put in the place of every kind that could take it."""
    def zipped(name: str, body: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, body)
        return made.getvalue()

    def npy(shape: tuple[int, ...], body: bytes) -> bytes:
        head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
        head += b" " * (117 - len(head)) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body

    def torch_pickle(body: bytes) -> bytes:
        return zipped("archive/data.pkl", b"\x80\x02" + body + b".")

    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(60_000):
            archive.writestr(f"a{i}.npy", npy((0,), b""))
    empty = json.dumps({f"layer{i}.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                        for i in range(400_000)}).encode()
    laugh = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{key}: &{key} [{','.join(['*' + before] * 9)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True))
    merged = "a: &a {x: 1}\n" + "".join(
        f"{key}: &{key} {{<<: [{','.join(['*' + before] * 9)}]}}\n"
        for before, key in zip("abcdefghijkl", "bcdefghijklm", strict=True))
    clash = b"".join(b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") + b"K\x01s" for k in range(1, 20_000))
    pairs = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) + b"0" for i in range(200))
    return {
        "zip of zeros": zipped("archive/data.pkl", b"\x80\x02}." + bytes(3 * 10**8)),
        "storage of zeros": zipped("archive/data/0", bytes(3 * 10**8)),
        "npz of zeros": zipped("conv.weight.npy", npy((75_000_000,), bytes(3 * 10**8))),
        "npz that claims": zipped("conv.weight.npy", npy((2**40,), b"")),
        "npz of many": many.getvalue(),
        "pickle of many": torch_pickle(b"}" * 4_000_000),
        "pickle of lists": torch_pickle(b"]" * 2_000_000 + b"a" * 1_999_999),
        "pickle of tuples": torch_pickle(b")q\x00" + pairs),
        "pickle of colliding keys": torch_pickle(b"}" + clash),
        "bytearray": torch_pickle(b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R"),
        "codec": torch_pickle(b"c_codecs\nencode\nX" + struct.pack("<I", 200_000) + b"a" * 200_000
                              + b"X\x08\x00\x00\x00punycode\x86R"),
        "safetensors of many": struct.pack("<Q", len(empty)) + empty,
        "anchors": laugh.encode(), "merged anchors": merged.encode(), "anchor in itself": b"a: &a [*a]\n",
        "deep json": b"[" * 100_000 + b"]" * 100_000, "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "deep yaml": b"- " * 5_000 + b"x", "deep flow": b"[" * 5_000,
        "wide json": b"[" + b"[]," * 2_700_000 + b"[]]", "digits": b"1" * 1_000_000, "json digits":
        b'{"format": ' + b"1" * 1_000_000 + b"}", "infinite": b'{"format": 1e400, "width": 1e400, "number": 1e400}',
        "hex": b"a: 0x" + b"f" * 100_000,
        "gz of zeros": gzip.compress(bytes(3 * 10**8)), "gz of a line": gzip.compress(b"a," * 10**8),
        "gz that claims": gzip.compress(struct.pack(">4I", 2051, 2**32 - 1, 2**16, 2**16) + bytes(10**8)),
        "long line": b"a," * 5_000_000, "one cell": b"epoch\n" + b"1" * 10_000_000 + b"\n",
        "empty": b"", "zeros": bytes(10**6), "xml": b"<?xml version='1.0'?>", "lfs":
        b"version https://git-lfs.github.com/spec/v1\n",
    }


# -- the work ----------------------------------------------------------------------------------------------------------


def _peak() -> int:
    """Bytes of memory that were held at most since `_forget`; 0 where the system does not say."""
    if not STATUS.exists():
        return 0
    status = STATUS.read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024


def _forget() -> int:
    if STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")
    return _peak()


def attempt(kind: Kind, content: bytes) -> tuple[str, str, float, int]:
    """(read, refused or unexpected; what was said; seconds of the processor; bytes beyond what was held)."""
    from convatlas import ConvatlasError

    path = Path(kind.path)
    path.write_bytes(content)
    held, began = _forget(), time.process_time()
    try:
        kind.read(path)
        what, said = "read", ""
    except ConvatlasError as error:
        what, said = "refused", str(error)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "src/convatlas" in frame.filename] or frames
        what, place = "unexpected", f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:150]} ({place})"
    return what, said, time.process_time() - began, _peak() - held


def restore(sound: dict[str, bytes], kind: Kind) -> None:
    """The sound file again, and what reading may have changed beside it."""
    Path(kind.path).write_bytes(sound[kind.name])
    if kind.path.startswith("index/"):      # the lines and the vectors are cut to what index.json says
        for path, content in sound.items():
            if path.startswith("index/"):
                Path(path).write_bytes(content)


def case(kind: Kind, sound: dict[str, bytes], seed: int, number: int) -> bytes:
    """The content of one file, which depends on its number alone."""
    return changed(sound[kind.name], kind, random.Random(f"{seed} {kind.name} {number}"))


def work(folder: str, seed: int, jobs: Any, told: Any, memory: int) -> None:
    """Read files as they are asked for: (kind, number) or (kind, bomb)."""
    import resource
    import warnings

    os.chdir(folder)
    sys.stderr = Path(os.devnull).open("w")     # noqa: SIM115 - the log is not looked at
    warnings.simplefilter("ignore")
    every = {kind.name: kind for kind in kinds()}
    sound = {name: Path(kind.path).read_bytes() for name, kind in every.items()}
    sound |= {str(path): path.read_bytes() for path in Path("index").iterdir()}
    explosive = bombs()
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    told.send(("ready",))
    while (job := jobs.recv()) is not None:
        name, number = job
        kind = every[name]
        content = explosive[number] if isinstance(number, str) else case(kind, sound, seed, number)
        told.send(("done", name, number, *attempt(kind, content)))
        restore(sound, kind)


class Worker:
    """A process with a folder of its own."""

    def __init__(self, seed: int, memory: int = MEMORY) -> None:
        self.seed, self.memory = seed, memory
        self.folder = tempfile.TemporaryDirectory()
        prepare(Path(self.folder.name))
        self.start()

    def start(self) -> None:
        """Anew, with the same folder."""
        context = multiprocessing.get_context("spawn")
        there, self.jobs = context.Pipe(duplex=False)
        self.told, back = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(self.folder.name, self.seed, there, back, self.memory))
        self.process.start()
        there.close()
        back.close()
        self.told.recv()
        self.job: Any = None
        self.since = self.given = 0.0

    def _busy(self) -> float:
        """Seconds of the processor that the process has taken; other programs may keep it waiting."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def give(self, job: Any) -> None:
        """The next file."""
        self.job, self.since, self.given = job, self._busy(), time.monotonic()
        self.jobs.send(job)

    def died(self) -> str:
        """Empty while it works; else what became of it, and it is started anew."""
        hung = self.job is not None and (self._busy() - self.since > HUNG or time.monotonic() - self.given > 30 * HUNG)
        if self.process.is_alive() and not hung:
            return ""
        self.process.kill()
        self.process.join()
        what = f"hung for {HUNG:g} s" if hung else f"ended by signal or code {self.process.exitcode}"
        for path in Path(self.folder.name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        prepare(Path(self.folder.name))
        self.start()
        return what

    def executed(self) -> bool:
        """True if a pickle has created its file."""
        return any(Path(self.folder.name).rglob(CANARY))

    def stop(self) -> None:
        """The end."""
        self.jobs.send(None)
        self.process.join()
        self.folder.cleanup()


def run(files: int, seed: int, only: str, workers: int) -> dict[str, Any]:
    """Read so many files, and what came of it."""
    from multiprocessing.connection import wait

    pool = [Worker(seed) for _ in range(workers)]
    names = [name for name in NAMES if only in name]
    explosive = [*bombs()]
    jobs: list[tuple[str, Any]] = [(name, bomb) for name in names for bomb in explosive]
    jobs += [(names[i % len(names)], i // len(names)) for i in range(max(0, files - len(jobs)))]
    counts, rows, faults = Counter[str](), {name: Counter[str]() for name in names}, list[dict[str, Any]]()
    slowest, largest = (0.0, "", 0), (0, "", 0)
    queue, began = iter(jobs), time.monotonic()
    done, idle = 0, [*pool]
    while done < len(jobs):
        while idle and (job := next(queue, None)) is not None:
            idle.pop().give(job)
        busy = [worker for worker in pool if worker.job is not None]
        for ready in wait([worker.told for worker in busy], timeout=1):
            worker = next(worker for worker in busy if worker.told is ready)
            try:
                _, name, number, what, said, seconds, size = worker.told.recv()
            except EOFError:
                continue        # it died: below
            if worker.executed():
                what = "executed"
                faults.append({"what": what, "kind": name, "number": number})
            rows[name][what] += 1
            counts[what] += 1
            if what == "unexpected":
                faults.append({"what": what, "kind": name, "number": number, "said": said})
            if seconds > SECONDS or size > LARGE:
                counts["slow" if seconds > SECONDS else "large"] += 1
                faults.append({"what": "slow or large", "kind": name, "number": number, "seconds": round(seconds, 2),
                               "bytes": size, "said": said[:100]})
            slowest, largest = max(slowest, (seconds, name, number), key=lambda each: each[0]), max(
                largest, (size, name, number), key=lambda each: each[0])
            worker.job, done = None, done + 1
            idle.append(worker)
        for worker in pool:
            job = worker.job
            if what := worker.died():
                counts["crashed"] += 1
                faults.append({"what": what, "kind": job and job[0], "number": job and job[1]})
                done += 1
                idle.append(worker)
        if done and done % 2000 < workers:
            print(f"{done:,} of {len(jobs):,} files in {time.monotonic() - began:.0f} s: {dict(counts)}", flush=True)
    for worker in pool:
        worker.stop()
    return {"files": len(jobs), "seed": seed, "seconds": round(time.monotonic() - began), "bombs": len(explosive),
            **{name: counts[name] for name in ("read", "refused", "unexpected", "crashed", "executed", "slow", "large")},
            "slowest": {"seconds": round(slowest[0], 3), "kind": slowest[1], "number": slowest[2]},
            "largest": {"bytes": largest[0], "kind": largest[1], "number": largest[2]},
            "kinds": {name: dict(row) for name, row in rows.items()}, "faults": faults[:200]}


NAMES = ["torch zip", "torch legacy", "hostile torch zip", "hostile pickle", "safetensors", "index of several",
         "npz of weights", "hostile npz", "keras", "config.json beside", "our weights", "config.yaml", "data.json",
         "images.csv.gz", "metrics.csv", "index of runs", "state.json", "state.safetensors", "native.json",
         "native.safetensors", "deploy.json", "deploy.json without torch", "preprocess.safetensors",
         "remembered choice", "split.json", "comparisons", "npz of pictures", "idx in gzip", "idx", "cifar",
         "table of labels", "index.json of shards", "index.npz of shards", "shard", "journal of shards",
         "journal of segmentation", "plan of a search", "ledger of a search", "index of vectors",
         "rows of vectors", "cache of pixels", "mask.npy", "image.npy", "picture.png", "picture.jpg",
         "picture.gif", "picture.bmp", "picture.webp", "picture.ppm", "picture.tif", "mask.png"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    found = run(given.files, given.seed, given.only, given.workers)
    print(json.dumps({key: value for key, value in found.items() if key != "kinds"}, indent=1)[:6000])
    if not given.only:
        from report import save

        print(save("fuzz", found))


if __name__ == "__main__":
    main()
