"""No file makes a reader take long, take much memory, run code, or fail without a sentence, whatever it claims."""

import gzip
import io
import json
import sqlite3
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from convatlas import bounded
from convatlas.data.binary import read_idx
from convatlas.errors import ConvatlasError
from convatlas.files import shown
from convatlas.run import Run, parse_yaml
from convatlas.runs import index, manifest
from convatlas.weights import files

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)

import fuzz  # noqa: E402

sys.path.remove(BENCHMARKS)     # its golden.py is not tests/golden

LAUGH = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{key}: &{key} [{','.join(['*' + before] * 9)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True))
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{key}: &{key} {{<<: [{','.join(['*' + before] * 9)}]}}\n"
    for before, key in zip("abcdefghijkl", "bcdefghijklm", strict=True))


def test_a_few_mutated_files_of_every_kind(tmp_path, monkeypatch):
    """benchmarks/fuzz.py reads 100 000."""
    pytest.importorskip("h5py")
    pytest.importorskip("onnxruntime")
    fuzz.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    kinds = fuzz.kinds()
    assert [kind.name for kind in kinds] == fuzz.NAMES
    sound = {kind.name: Path(kind.path).read_bytes() for kind in kinds}
    sound |= {str(path): path.read_bytes() for path in Path("index").iterdir()}
    found = {}
    for kind in kinds:
        for number in range(3):
            found[kind.name, number] = fuzz.attempt(kind, fuzz.case(kind, sound, 1, number))
            fuzz.restore(sound, kind)
    assert not {key: said for key, (what, said, *_) in found.items() if what == "unexpected"}
    assert {what for what, *_ in found.values()} == {"read", "refused"}
    assert not [*tmp_path.rglob(fuzz.CANARY)]


@pytest.mark.parametrize(("text", "said"), [
    (LAUGH, "more than 65,536 values"), (MERGED, "more than 65,536 values"), ("a: &a [*a]", "nested more than 60"),
    ("a: " + "1" * 10**6, "longer than"), ("a: " + "1" * 5000, "has 5000 digits"),
    ("a: 0x" + "f" * 5000, "has 5002 digits"), ("a: 1.0e+400", "too large"), ("a: " + "[" * 70 + "]" * 70, "60 deep"),
    ("[" * 5000, "nesting depth"),
])
def test_yaml_that_unfolds_nests_or_counts_without_end(text, said):
    with pytest.raises(ConvatlasError, match=rf"^x is not valid YAML: .*{said}"):
        parse_yaml(text, "x")


def test_anchors_that_people_use_are_followed():
    assert parse_yaml("a: &a {lr: 1}\nb: {<<: *a, x: 2}\nc: *a", "x") == {"a": {"lr": 1}, "b": {"lr": 1, "x": 2},
                                                                         "c": {"lr": 1}}


def test_a_thousand_wrong_fields_are_told_shortly():
    with pytest.raises(ConvatlasError, match=r"and 980 more$") as caught:
        Run.from_yaml("".join(f"k{i}: 1\n" for i in range(1000)))
    assert len(str(caught.value)) < 20_000
    with pytest.raises(ConvatlasError, match="is refused") as caught:
        Run.from_yaml(f"train: {{epochs: {'x' * 5000}}}")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("text", "said"), [
    ("[" * 10**5 + "]" * 10**5, "60 deep"), ("[" * 61 + "]" * 61, "60 deep"), ("1" * 10**6, "has 1000000 digits"),
    ("[1e400]", "too large"),
])
def test_json_that_nests_or_counts_without_end(text, said):
    with pytest.raises(ValueError, match=said):
        bounded.parse_json(text)


def test_what_stands_in_several_places_is_counted_in_each():
    row = [[1, 2, 3]] * 4
    assert bounded.tree(row, 17) is row
    with pytest.raises(ValueError, match="more than 16 values"):
        bounded.tree(row, 16)


def test_texts_are_read_to_an_end(tmp_path):
    (tmp_path / "x").write_bytes(b"1" * 11)
    assert bounded.read_json(tmp_path / "x") == int("1" * 11)
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        bounded.text(tmp_path / "x", 10)
    with pytest.raises(ValueError, match="no regular file"):
        bounded.text(tmp_path)


def test_gzip_unfolds_to_what_is_asked_for_and_no_further(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"ab") + gzip.compress(bytes(10**6)))
    assert bounded.unpacked(path, 5) == b"ab\0\0\0" and len(bounded.unpacked(path, 10**7)) == 10**6 + 2
    path.write_bytes(path.read_bytes()[:-20])
    assert bounded.unpacked(path, 10**7)[:2] == b"ab"
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4I", 2051, 2**32 - 1, 2**16, 2**16) + bytes(10**6)))
    with pytest.raises(ConvatlasError, match="is truncated"):
        read_idx(path, 3)


def zipped(name, body, kind=zipfile.ZIP_DEFLATED):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", kind) as archive:
        archive.writestr(name, body)
    return made.getvalue()


def npy(shape, body=b""):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body


BOMBS = {
    "zeros.npz": (lambda: zipped("a.weight.npy", npy((18_750_000,), bytes(75 * 10**6))), "claims to hold"),
    "claims.npz": (lambda: zipped("a.weight.npy", npy((2**40,))), "'a.weight.npy' claims"),
    "zeros.pth": (lambda: zipped("x/data.pkl", bytes(75 * 10**6)), "claims to hold"),
    "many.pth": (lambda: zipped("x/data.pkl", b"\x80\x02" + b"}" * 300_000 + b"."), "more than 262,144 instructions"),
    "bytes.pth": (lambda: zipped("x/data.pkl", b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
                  "__builtin__.bytearray"),
    "codec.pth": (lambda: zipped("x/data.pkl", b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x08\0\0\0punycode\x86R."),
                  "codec 'punycode'"),
    "keys.pth": (lambda: zipped("x/data.pkl", b"\x80\x02}" + b"".join(
        b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") + b"K\x01s" for k in range(1, 200)) + b"."),
                 "beyond 64 bits"),
    "many.safetensors": (lambda: (lambda text: struct.pack("<Q", len(text)) + text)(json.dumps(
        {f"{i}.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(33_000)}).encode()),
                         "more than 32,768 tensors"),
    "long.safetensors": (lambda: struct.pack("<Q", 2**22 + 1) + b"{" + bytes(2**22), "longer than"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_weights_that_unfold_without_end(tmp_path, name):
    make, said = BOMBS[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(ConvatlasError, match=said):
        files.read(tmp_path / name)


def test_many_members_are_not_even_listed(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", npy((0,)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[-12:-10] = struct.pack("<H", 65_000)        # as the archive's end says
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="more than 32,768 members"):
        bounded.arrays(tmp_path / "x.npz")


def test_an_array_that_claims_more_than_it_has(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy((2**40,), bytes(40)))
    with pytest.raises(ValueError, match="claims"):
        bounded.array(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.arange(6))
    assert bounded.array(tmp_path / "y.npy").tolist() == [*range(6)]


def test_an_index_of_others_is_never_asked(tmp_path):
    """A view that counts for ever stands in the place of the table."""
    run = tmp_path / "a"
    run.mkdir()
    (run / "config.yaml").write_text(Run().to_yaml())
    with sqlite3.connect(tmp_path / ".index.sqlite") as book:
        book.execute("CREATE VIEW runs AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
                     "SELECT x AS place, x AS stamp, x AS stored FROM n")
    book.close()
    assert [found.name for found in index.list_runs([tmp_path])] == ["a"]


def test_a_list_of_images_that_unfolds_or_is_cut(tmp_path):
    entries = [manifest.Entry("train", "a", 1, "", f"{i}.png") for i in range(3)]
    manifest.write(tmp_path, manifest.Manifest(source="x", name="x", val_fraction=0.2, seed=0, parts={
        "train": manifest.Part(images=3, digest="")}), entries)
    assert manifest.kept(tmp_path).entries == tuple(entries)
    text = gzip.decompress((tmp_path / "images.csv.gz").read_bytes())
    for body in (text + b"a," * 10**6, text[:-3]):
        (tmp_path / "images.csv.gz").write_bytes(gzip.compress(body))
        with pytest.raises(ConvatlasError, match="cannot be read: it is cut short, or unfolds"):
            manifest.kept(tmp_path).entries         # noqa: B018


def test_names_are_shown_and_not_obeyed(capsys):
    from convatlas.cli import console

    name = "a\x1b[31mb\u202ec\x9b\r\n\tß"
    assert shown(name) == "a\\u001b[31mb\\u202ec\\u009b\\u000d\n\tß"
    console.error(name)
    console.document({"name": name})
    table = console.table("name")
    table.add_row(name)
    console.out.print(table)
    console.plain(name)
    said = capsys.readouterr()
    assert not {*"\x1b\u202e\x9b"} & {*said.out, *said.err}
    assert said.out.count("\\u001b[31mb\\u202ec") == 3 and "\\u001b[31mb" in said.err
    assert json.loads(said.out[:said.out.index("}") + 1]) == {"name": name}
