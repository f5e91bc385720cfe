"""Folders of images by class: layouts, splits, and one clear sentence for each thing that can be wrong."""

import numpy as np
import pytest
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import open_data
from convatlas.run import Data


def put(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 7, dtype=np.uint8)).save(file, format="PNG")
    return root


def opened(root, **options):
    return open_data(Data(source=str(root), val_fraction=options.pop("val_fraction", 0.2)), **options)


def names(images):
    return sorted(images.name(i) for i in range(len(images)))


def test_classes_are_the_sorted_folders_and_files_are_found_below_them(tmp_path):
    put(tmp_path, "dog/1.png", "dog/deep/er/2.JPG", "cat/b.Jpeg", "cat/a.bmp")
    put(tmp_path, "cat/.hidden.png", "cat/.git/x.png", ".cache/x.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    source = opened(tmp_path, val_fraction=0.5)
    assert source.classes == ("cat", "dog") and source.name == tmp_path.name and source.notes == ()
    parts = (source.train, source.val)
    both = {part.name(i): source.classes[part.labels[i]] for part in parts for i in range(len(part))}
    assert both == {
        str(tmp_path / "cat/a.bmp"): "cat", str(tmp_path / "cat/b.Jpeg"): "cat",
        str(tmp_path / "dog/1.png"): "dog", str(tmp_path / "dog/deep/er/2.JPG"): "dog",
    }
    assert len(source.val) == 2 and sorted(source.val.labels.tolist()) == [0, 1]


def test_the_seed_decides_what_is_held_out(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(10)))
    first, again, other = (names(opened(tmp_path, seed=seed).val) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test"])
def test_train_and_val_folders(tmp_path, val):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "train/b/2.png", f"{val}/a/3.png", f"{val}/b/4.png")
    source = opened(tmp_path)
    assert source.classes == ("a", "b") and len(source.train) == 3
    assert names(source.val) == [str(tmp_path / val / "a/3.png"), str(tmp_path / val / "b/4.png")]


def test_val_is_for_training_and_test_for_judging(tmp_path):
    put(tmp_path, *(f"{part}/{c}/1.png" for part in ("train", "val", "test") for c in "ab"))
    assert names(opened(tmp_path).val)[0] == str(tmp_path / "val/a/1.png")
    assert names(opened(tmp_path, for_eval=True).val)[0] == str(tmp_path / "test/a/1.png")


def test_train_without_val_is_split(tmp_path):
    put(tmp_path, *(f"train/{c}/{i}.png" for c in "ab" for i in range(5)))
    source = opened(tmp_path)
    assert (len(source.train), len(source.val)) == (8, 2) and source.classes == ("a", "b")


def test_a_class_called_train_is_a_class(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in ("bus", "train") for i in range(5)))
    assert opened(tmp_path).classes == ("bus", "train")


def test_for_evaluation_all_is_judged(tmp_path):
    put(tmp_path, "a/1.png", "a/2.png")
    source = opened(tmp_path, for_eval=True)
    assert len(source.val) == 2 and "all its 2 images are judged" in source.notes[0]


def test_a_lone_image_and_stray_ones_are_told(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png", "b/2.png", "stray.png")
    source = opened(tmp_path, val_fraction=0.5)
    assert names(source.val) and set(source.val.labels.tolist()) == {1}
    assert "1 images" in source.notes[0] and "'a'" in source.notes[1]


def test_a_class_without_validation_images_is_told(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "val/b/1.png")
    source = opened(tmp_path)
    assert source.val.labels.tolist() == [1] and "'a'" in source.notes[0]


@pytest.mark.parametrize(
    ("paths", "folders", "said"),
    [
        ((), (), "neither class folders nor images"),
        (("1.png", "2.png"), (), "2 images, but no class folders"),
        (("a/1.png",), ("b",), "class 'b' has no images"),
        (("a/1.png", "a/2.png"), (), "one class only, 'a'"),
        (("a/1.png", "b/1.png"), (), "none can be held out"),
        (("train/1.png", "val/2.png"), (), "1 images, but no class folders"),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"), (), "lacks: 'c'"),
        (("train/a/1.png", "train/b/1.png"), ("val",), "neither class folders nor images"),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png"), ("val/b",), "class 'b' has no images"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, paths, folders, said):
    put(tmp_path, *paths)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ConvatlasError) as caught:
        opened(tmp_path)
    assert said in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("source", "said"), [
    ("minst", "did you mean 'mnist'"), ("no/such/folder", "no known name"), ("absent.npz", "no file 'absent.npz'")])
def test_unknown_data(source, said):
    with pytest.raises(ConvatlasError, match=said):
        open_data(Data(source=source))


def test_a_file_that_is_no_data(tmp_path):
    (tmp_path / "x.csv").touch()
    with pytest.raises(ConvatlasError, match="neither a folder"):
        open_data(Data(source=str(tmp_path / "x.csv")))


@pytest.mark.parametrize("table", ["file,label\n1.png,cat;dog\n2.png,\n3.png,dog\n",
                                   "file,cat,dog\n1.png,1,1\n2.png,0,0\n3.png,0,1\n"])
def test_a_table_gives_several_labels(tmp_path, table):
    for part in ("train", "val"):
        put(tmp_path / part, "1.png", "2.png", "3.png")
        (tmp_path / part / "labels.csv").write_text(table)
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog") and source.multi_label
    assert source.train.labels.tolist() == source.val.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert source.val.name(2) == str(tmp_path / "val/3.png")


def test_one_table_is_split(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(10)))
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,a;b\n" for i in range(10)))
    source = opened(tmp_path)
    assert (len(source.train), len(source.val)) == (8, 2) and not {*names(source.train)} & {*names(source.val)}


@pytest.mark.parametrize(("table", "said"), [
    ("name,label\n", "begins with 'name,label'"), ("file,label\n9.png,a\n", "no file"),
    ("file,label\n1.png,a\n1.png,b\n", "second time"), ("file,a,b\n1.png,1,2\n", "holds '2'"),
    ("file,a,b\n1.png,1\n", "2 fields"), ("file,label\n", "names no image"),
    ("file,label\n1.png,\n", "names no label")])
def test_what_is_wrong_with_a_table_is_said(tmp_path, table, said):
    put(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ConvatlasError, match=said) as caught:
        opened(tmp_path)
    assert "labels.csv" in str(caught.value)
