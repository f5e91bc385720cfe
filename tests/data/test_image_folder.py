"""Folders of images by class: layouts, splits, and one clear sentence for each thing that can be wrong."""

import os
import sys

import numpy as np
import pytest
from PIL import Image, features

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
    assert source.classes == ("cat", "dog") and source.name == tmp_path.name and source.layout == "class folders"
    assert source.notes == (f"Left out of {tmp_path.name}: 1 .txt, 2 hidden folders, 1 hidden file.",)
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


def test_all_parts_stay_what_they_are(tmp_path):
    put(tmp_path, *(f"{part}/{c}/1.png" for part in ("train", "val", "test") for c in "ab"))
    for for_eval in (False, True):
        source = opened(tmp_path, for_eval=for_eval)
        assert [names(images)[0] for images in (source.train, source.val, source.test)] == [
            str(tmp_path / part / "a/1.png") for part in ("train", "val", "test")]
        assert source.parted and source.layout == "class folders in train/, val/ and test/" and not source.notes


def test_a_test_part_is_validated_on_where_there_is_no_other(tmp_path):
    put(tmp_path, *(f"{part}/{c}/1.png" for part in ("train", "test") for c in "ab"))
    source = opened(tmp_path)
    assert source.val is source.test and source.parted and names(source.val)[0] == str(tmp_path / "test/a/1.png")


def test_a_test_part_alone_is_judged_and_never_learnt_from(tmp_path):
    put(tmp_path, "test/a/1.png", "test/b/1.png")
    source = opened(tmp_path, for_eval=True)
    assert source.train is source.val is source.test and len(source.val) == 2 and not source.parted
    with pytest.raises(ConvatlasError, match="no part to learn from, only 'test'"):
        opened(tmp_path)


def test_a_test_part_that_cannot_be_read_does_not_stop_training_with_a_validation_part(tmp_path):
    put(tmp_path, *(f"{part}/{c}/1.png" for part in ("train", "val") for c in "ab"), "test/c/1.png")
    source = opened(tmp_path)
    assert source.test is None and "The test part is left out: " in source.notes[0] and "lacks: 'c'" in source.notes[0]
    with pytest.raises(ConvatlasError, match="lacks: 'c'"):
        opened(tmp_path, for_eval=True)


@pytest.mark.parametrize(("train", "judged", "part"), [
    ("Training", "Testing", "test"), ("Train", "Val", "val"), ("TRAIN", "TEST", "test"),
    ("train_set", "val_set", "val"), ("seg_train/seg_train", "seg_test/seg_test", "test"),
    ("training", "evaluation", "val"), ("trn", "dev", "val")])
def test_words_of_the_field_are_parts(tmp_path, train, judged, part):
    put(tmp_path, *(f"{folder}/{c}/1.png" for folder in (train, judged) for c in "ab"))
    source = opened(tmp_path)
    assert source.classes == ("a", "b") and source.parted and (len(source.train), len(source.val)) == (2, 2)
    assert (source.test is source.val) == (part == "test")
    assert source.notes == (
        f"The parts of {tmp_path.name} are taken to be {train}/ for train and {judged}/ for {part}.",)
    assert source.layout == f"class folders in {train}/ and {judged}/"


def test_what_lies_beside_the_parts_is_told(tmp_path):
    put(tmp_path, *(f"{part}/{c}/1.png" for part in ("train", "val") for c in "ab"))
    put(tmp_path, "pred/1.png", "docs/x/1.png", "0.png")
    source = opened(tmp_path)
    assert source.classes == ("a", "b") and source.notes == (
        f"Left out beside the parts of {tmp_path.name}: docs and pred.",
        f"Left out of {tmp_path.name}: 1 image outside the class folders.")


def test_a_test_part_without_classes_is_told_and_images_are_held_out(tmp_path):
    put(tmp_path, *(f"train/{c}/{i}.png" for c in "ab" for i in range(5)), "test/1.png", "test/2.png")
    source = opened(tmp_path)
    assert (len(source.train), len(source.val), source.test, source.parted) == (8, 2, None, False)
    assert "images without class folders: it is left out" in source.notes[0]


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(2)), "stray.png", "a/.git/x.png", "__MACOSX/a/1.png")
    for name in ("a/1.heic", "b/1.HEIC", "b/2.heic", "a/list.txt", "README", "b/Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = opened(tmp_path, for_eval=True)
    assert len(source.val) == 4 and source.notes[0] == (
        f"Left out of {tmp_path.name}: 3 .heic, 1 .txt, 2 hidden folders, 1 broken link or special file, 1 empty "
        "folder, 1 file without a suffix, 1 hidden file, 1 image outside the class folders, 1 link to a folder. To "
        "have .heic read, convert them to .jpg or .png.")


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".tga", ".pbm", ".pnm", ".jp2", ".avif"])
def test_suffixes_that_this_pillow_reads(tmp_path, suffix):
    known = {"jp2": "jpg_2000", "avif": "avif"}.get(suffix[1:])
    if known and not features.check(known):
        pytest.skip(f"this Pillow has no {known}")
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("1" if suffix == ".pbm" else "RGB", (16, 16), 0).save(tmp_path / name / f"1{suffix}")
    source = opened(tmp_path, for_eval=True)
    assert [source.val.read(i).shape[1:] for i in range(2)] == [(16, 16)] * 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_only_regular_files_are_pictures(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(2)))
    os.mkfifo(tmp_path / "a" / "fifo.png")
    (tmp_path / "b" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "a" / "0.png")
    source = opened(tmp_path, for_eval=True)
    assert len(source.val) == 5 and "2 broken links or special files" in source.notes[0]


def test_masks_beside_their_images_are_no_images(tmp_path):
    put(tmp_path, *(f"{c}/{c} ({i}){end}.png" for c in ("benign", "normal") for i in range(3)
                    for end in ("", "_mask", "_mask_1")), "normal/lone_mask.png")
    source = opened(tmp_path, for_eval=True)
    assert len(source.val) == 7 and "12 masks beside their images" in source.notes[0]


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode")
def test_a_class_whose_name_is_no_utf_8_is_refused(tmp_path):
    put(tmp_path, "a/1.png", "a/2.png", os.fsdecode(b"caf\xe9") + "/1.png")
    with pytest.raises(ConvatlasError, match=r"caf\\udce9' is not UTF-8; rename it"):
        opened(tmp_path)


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
    assert "1 image outside the class folders" in source.notes[0] and "'a'" in source.notes[1]


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
        (("train/1.png", "val/2.png"), (), "parts of a data set, 'train' and 'val', but no class folders in them"),
        (("train/1.png", "val/2.png", "x/2.png"), (), "parts of a data set, 'train' and 'val', but no class folders"),
        (("Training/1.png", "Testing/2.png"), (), "parts of a data set, 'Testing' and 'Training', but no class"),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png", "validation/a/1.png"), (),
         "several folders for the part val: 'val' and 'validation'"),
        (("test/a/1.png", "learn/a/1.png"), (), "holds 'test', named as a part of a data set, beside 'learn'"),
        (("images/1.png", "masks/1.png"), (), "'images' and 'masks': images with masks are for networks that segment"),
        (("train/Images/1.png", "train/Labels/1.png", "val/Images/1.png", "val/Labels/1.png"), (), "that segment"),
        (("p0/images/1.png", "p0/masks/1.png", "p1/images/1.png", "p1/masks/1.png"), (), "that segment"),
        (("imagesTr/1.png", "labelsTr/1.png", "imagesTs/1.png"), (), "that segment"),
        (("train/1.png", "train_masks/1.png", "test/1.png"), (), "that segment"),
        (("whole/a/1.png", "whole/b/1.png"), (), "whole' is what is meant"),
        (("leftImg8bit/train/x/1.png", "gtFine/train/x/1.png"), (), "that segment"),
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


@pytest.mark.parametrize(("images", "annotations"), [
    ("JPEGImages/1.png", "Annotations/1.xml"), ("train/images/1.png", "train/labels/1.txt"),
    ("images/train/1.png", "labels/train/1.txt"), ("train2017/1.png", "annotations/instances.json"),
    ("train/1.png", "train/_annotations.coco.json")])
def test_boxes_are_no_classes(tmp_path, images, annotations):
    put(tmp_path, images)
    (tmp_path / annotations).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / annotations).touch()
    for for_eval in (False, True):
        with pytest.raises(ConvatlasError, match=r"as detectors learn from.*Expected is one folder of"):
            opened(tmp_path, for_eval=for_eval)


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
    assert source.classes == ("cat", "dog") and source.multi_label and source.parted and not source.notes
    assert source.train.labels.tolist() == source.val.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert source.val.name(2) == str(tmp_path / "val/3.png")


def test_one_table_is_split(tmp_path):
    put(tmp_path, *(f"{i}.png" for i in range(10)))
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,a;b\n" for i in range(10)))
    source = opened(tmp_path)
    assert (len(source.train), len(source.val)) == (8, 2) and not {*names(source.train)} & {*names(source.val)}


@pytest.mark.parametrize(("table", "said"), [
    ("when,label\n", "begins with 'when,label'"), ("file,label\n9.png,a\n", "no file"),
    ("file,label\n1.png,a\n1.png,b\n", "second time"), ("file,a,b\n1.png,1,2\n", "holds '2'"),
    ("file,a,b\n1.png,1\n", "2 fields"), ("file,label\n", "names no image"),
    ("file,label\n1.png,\n", "names no label")])
def test_what_is_wrong_with_a_table_is_said(tmp_path, table, said):
    put(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ConvatlasError, match=said) as caught:
        opened(tmp_path)
    assert "labels.csv" in str(caught.value)
