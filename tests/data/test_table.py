"""Tables of labels as people, spreadsheets and competitions write them."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import open_data
from convatlas.data.table import read_table
from convatlas.run import Data


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 7, dtype=np.uint8)).save(root / path, format="PNG")
    return root


def opened(root, **options):
    return open_data(Data(source=str(root)), **options)


def read(source):
    """File -> class, or classes, of all images."""
    sets = {id(images): images for images in (source.train, source.val)}.values()
    rows = ((images.name(i), images.labels[i].tolist()) for images in sets for i in range(len(images)))
    return {name: source.classes[label] if isinstance(label, int) else
            [each for each, there in zip(source.classes, label, strict=True) if there] for name, label in rows}


FOUR = {"1.png": "cat", "2.png": "dog", "3.png": "dog", "a/4.png": "cat"}


def written(header, sign=",", end="\n", before="", after="", spelled=str):
    """A table of FOUR; `before` and `after` stand in every line."""
    rows = [header, *(f"{before}{spelled(file)}{sign}{label}{after}" for file, label in FOUR.items())]
    return "".join(row + end for row in rows)


@pytest.mark.parametrize("table", [
    written("file,label"), written("Filename,Class"), written("image_id,Breed Name"), written("Image Name , TARGET"),
    written("file;label", sign=";"), written("path\tcategory", sign="\t"), written("file,label", end="\r\n") + "\r\n",
    written("file,label,,", after=",,") + ",,,\n", written("id,label", spelled=lambda file: file.removesuffix(".png")),
    written("img,label", spelled=lambda file: file.removeprefix("a/")), written(",file,label", before="7,"),
    written("file,label", spelled=lambda file: file.replace("/", "\\")), written("file,label", spelled="./{}".format),
    written("file,label", spelled='"{}"'.format), "file,cat,dog\n1.png,1,0\n2.png,0,1\n3.png,0,1\na/4.png,1,0\n",
    "Unnamed: 0,label,file,age\n0,cat,1.png,7\n1,dog,2.png,8\n2,dog,3.png,\n3,cat,a/4.png,9\n",
])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_spellings_of_one_table(tmp_path, table, encoding):
    put(tmp_path, *FOUR)
    (tmp_path / "labels.csv").write_bytes(table.encode(encoding))
    source = opened(tmp_path)
    assert read(source) == {str(tmp_path / file): label for file, label in FOUR.items()}
    assert not source.multi_label and source.layout == "labels.csv" and not source.parted
    assert any("exactly one label: they are read as classes that exclude each other" in note for note in source.notes)


@pytest.mark.parametrize(("table", "told"), [
    (written("name,label"), "the column 'name' names the files, 'label' their labels"),
    (written("file,label,age", after=",7"), "Left out of {path}: the columns 'age'."),
    (written(",file,label", before="7,"), "columns '(no name)'"),
    (written("file,label", spelled=lambda file: file.removesuffix(".png")), "found by their names below"),
    ("file,label\n1.png,cat\n", "Left out of {root}: 3 images without a line in a table."),
])
def test_what_a_guess_tells(tmp_path, table, told):
    put(tmp_path, *FOUR)
    (tmp_path / "labels.csv").write_text(table)
    told = told.format(path=tmp_path / "labels.csv", root=tmp_path.name)
    assert any(told in note for note in opened(tmp_path, for_eval=True).notes)


def test_windows_encoding_is_told(tmp_path):
    put(tmp_path, "1.png", "2.png", "ä.png")
    (tmp_path / "labels.csv").write_bytes("file,label\n1.png,Käfer\n2.png,Biene\nä.png,Käfer\n".encode("cp1252"))
    source = opened(tmp_path, for_eval=True)
    assert source.classes == ("Biene", "Käfer") and any("is not UTF-8" in note for note in source.notes)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode")
def test_files_whose_names_are_no_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    put(tmp_path, name, "2.png")
    (tmp_path / "labels.csv").write_bytes(b"file,label\ncaf\xe9.png,a\n2.png,b\n")
    assert read(opened(tmp_path, for_eval=True)) == {str(tmp_path / name): "a", str(tmp_path / "2.png"): "b"}


def test_several_labels_stay_several(tmp_path):
    put(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "labels.csv").write_text("image,Finding\n1.png,a|b\n2.png,\n3.png,a\n")
    source = opened(tmp_path, for_eval=True)
    assert source.multi_label and read(source) == {str(tmp_path / f"{i}.png"): labels
                                                   for i, labels in ((1, ["a", "b"]), (2, []), (3, ["a"]))}


def test_one_label_each_in_training_and_several_in_validation_are_several(tmp_path):
    for part, label in (("train", "a"), ("val", "a;b")):
        put(tmp_path / part, "1.png", "2.png")
        (tmp_path / part / "labels.csv").write_text(f"file,label\n1.png,{label}\n2.png,b\n")
    source = opened(tmp_path)
    assert source.multi_label and source.train.labels.tolist() == [[1, 0], [0, 1]]


def test_a_column_of_parts(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(6)))
    rows = zip(range(6), "abbaab", ("train", "Training", "train", "validation", "TEST", "test"), strict=True)
    (tmp_path / "labels.csv").write_text("file,label,Split\n" + "".join(f"{i}.png,{c},{part}\n" for i, c, part in rows))
    source = opened(tmp_path)
    assert source.parted and [[images.name(i)[-5] for i in range(len(images))]
                              for images in (source.train, source.val, source.test)] == [[*"012"], ["3"], [*"45"]]
    assert source.train.labels.tolist() == [0, 1, 1] and source.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["train.csv", "annotations.csv", "data.csv", "Whatever.CSV"])
def test_tables_of_other_names_are_told(tmp_path, name):
    put(tmp_path, *(f"images/{i}.png" for i in range(4)))
    (tmp_path / name).write_text("id,breed\n0,pug\n1,pug\n2,lab\n3,lab\n")
    for for_eval in (False, True):
        source = opened(tmp_path, for_eval=for_eval)
        assert source.classes == ("lab", "pug") and source.layout == name
        assert source.notes[0] == f"The labels of {tmp_path.name} are those of {name}."


def test_a_competition(tmp_path):
    put(tmp_path, *(f"{part}/{part}/{i}.png" for part in ("train", "test") for i in range(4)))
    (tmp_path / "train.csv").write_text("id,has_cactus\n0,0\n1,0\n2,1\n3,1\n")
    (tmp_path / "test.csv").write_text("id\n0\n1\n2\n3\n")
    (tmp_path / "sample_submission.csv").write_text("id,has_cactus\n0,0.5\n1,0.5\n2,0.5\n3,0.5\n")
    source = opened(tmp_path, for_eval=True)
    assert read(source) == {str(tmp_path / f"train/train/{i}.png"): c for i, c in enumerate("0011")}
    assert source.test is None and any("4 images without a line in a table" in note for note in source.notes)


def test_tables_of_parts(tmp_path):
    put(tmp_path, *(f"images/{part}{i}.png" for part in ("x", "y") for i in range(4)))
    for part, first in (("train", "x"), ("test", "y")):
        (tmp_path / f"{part}_labels.csv").write_text("filename,class\n" + "".join(
            f"{first}{i}.png,{c}\n" for i, c in enumerate("aabb")))
    source = opened(tmp_path)
    assert source.parted and source.val is source.test and source.layout == "test_labels.csv and train_labels.csv"
    assert source.val.name(0) == str(tmp_path / "images/y0.png")


def test_class_folders_come_before_a_table_of_another_name(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(4)))
    (tmp_path / "data.csv").write_text("file,label\na/1.png,x\nb/1.png,y\n")
    source = opened(tmp_path)
    assert source.classes == ("a", "b") and source.notes == (f"Left out of {tmp_path.name}: 1 .csv.",)


@pytest.mark.parametrize(("table", "said"), [
    ("file,label,split\n1.png,a,train\n2.png,b,never\n", "line 3: the column 'split' holds 'never'"),
    ("file,label,split\n1.png,a,train\n2.png,b,val\n", "has no training image of 'b'"),
    ("file,label\n1.png,a\n2.png,a\n", "has one class only, 'a'"),
    ("file,label\n1,a\n2.png,a\n3,b\n", "'3' may be"),
    ("label,age\na,1\n", "begins with 'label,age'"),
    ("file,file,label\n1.png,1.png,a\n", "begins with 'file,file,label'"),
    ("file,label\n1.png,a\n1,b\n", "'1' comes a second time"),
    ("", "begins with ''"),
])
def test_what_is_wrong_is_said(tmp_path, table, said):
    put(tmp_path, "1.png", "2.png", "x/3.png", "y/3.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ConvatlasError, match=said):
        opened(tmp_path)


def test_two_tables_that_may_be_meant_are_refused(tmp_path):
    put(tmp_path, "1.png", "2.png")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("file,label\n1.png,a\n2.png,b\n")
    with pytest.raises(ConvatlasError, match=r"several tables name the images in .*a\.csv and b\.csv; rename"):
        opened(tmp_path)


def test_a_line_that_is_no_table_s_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("a," * 2**20)
    with pytest.raises(ConvatlasError, match="a line of more than 1024 KiB"):
        read_table(tmp_path / "labels.csv")
