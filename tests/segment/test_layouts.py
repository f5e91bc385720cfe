"""Folders of images and masks as people have them: recognised, told, or refused."""

import numpy as np
import pytest
from PIL import Image

from convatlas import ConvatlasError
from convatlas.run import Data
from convatlas.segment.layouts import role_of
from convatlas.segment.pairs import open_pairs

NAMES = tuple(f"{number:02d}" for number in range(5))
MASK = np.zeros((8, 8), np.uint8)
MASK[2:5, 2:5] = 255


def tree(root, *files):
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".tif", ".gif"):
            Image.fromarray(MASK).save(path)
        else:
            path.write_text("text")
    return root


def two(images, masks, before="", after="", suffix=".png", names=NAMES):
    """Files of the same names, but for what stands behind them, in two folders."""
    return [f"{images}/{name}{before}{suffix}" for name in names] + [f"{masks}/{name}{after}{suffix}" for name in names]


def opened(root, **options):
    return open_pairs(Data(source=str(root)), **options)


def numbers(pairs):
    return len(pairs.train), len(pairs.val), pairs.test and len(pairs.test), pairs.parted


@pytest.mark.parametrize(("images", "masks"), [
    ("images", "masks"), ("image", "mask"), ("Images", "Masks"), ("imgs", "labels"), ("img", "gt"),
    ("JPEGImages", "SegmentationClass"), ("imagesTr", "labelsTr"), ("train_images", "train_masks"),
    ("train", "train_masks"), ("Training/Image", "Training/Annotations"),
    ("leftImg8bit/train/bonn", "gtFine/train/bonn"),
])
def test_two_folders(tmp_path, images, masks):
    pairs = opened(tree(tmp_path, *two(images, masks)))
    assert numbers(pairs) == (4, 1, None, False)
    assert pairs.train.mask_files(1) == (tmp_path / masks / "01.png",)
    top = images.split("/bonn")[0].split("/")[-1]
    assert top in pairs.layout and any(pairs.layout in note for note in pairs.notes)


@pytest.mark.parametrize("name", ["{}_mask", "mask_{}", "{}_label", "{}_labels", "{}_gt", "{}_segmentation", "{}-Mask",
                                  "{}_gtFine_labelIds"])
def test_one_folder(tmp_path, name):
    tree(tmp_path, *(f"{each}.png" for each in NAMES), *(f"{name.format(each)}.png" for each in NAMES))
    pairs = opened(tmp_path)
    assert numbers(pairs) == (4, 1, None, False) and "one folder" in pairs.layout
    assert pairs.train.mask_files(2) == (tmp_path / f"{name.format('02')}.png",)


def test_names_that_say_on_both_sides_what_they_are(tmp_path):
    tree(tmp_path, *(f"images/img_{name}.png" for name in NAMES), *(f"masks/label_{name}.png" for name in NAMES))
    assert opened(tmp_path).train.mask_files(3) == (tmp_path / "masks/label_03.png",)
    tree(tmp_path / "sat", *(f"{name}_{what}.png" for name in NAMES for what in ("sat", "mask")))
    assert opened(tmp_path / "sat").train.mask_files(3) == (tmp_path / "sat/03_mask.png",)


@pytest.mark.parametrize(("files", "expected"), [
    ([*two("train/images", "train/masks"), *two("val/Images", "val/Masks", names="ab")], (5, 2, None, True)),
    ([*two("Train/images", "Train/masks"), *two("TEST/img", "TEST/mask", names="ab")], (5, 2, 2, True)),
    ([*two("train/images", "train/masks"), *two("val/images", "val/masks", names="abc"),
      *two("test/images", "test/masks", names="ab")], (5, 3, 2, True)),
    ([*two("images/train", "masks/train"), *two("images/val", "masks/val", names="ab")], (5, 2, None, True)),
    ([*two("imagesTr", "labelsTr"), *two("imagesTs", "labelsTs", names="ab")], (5, 2, 2, True)),
    ([*two("imagesTr", "labelsTr"), "imagesTs/a.png"], (4, 1, None, False)),
    ([*two("train", "trainannot"), *two("val", "valannot", names="ab"), *two("test", "testannot", names="abc")],
     (5, 2, 3, True)),
    ([*two("train", "train_masks", "", "_mask", ".gif"), "test/a.gif"], (4, 1, None, False)),
    ([*two("JPEGImages", "SegmentationClass"), "JPEGImages/9.png", "Annotations/9.xml"], (4, 1, None, False)),
])
def test_parts(tmp_path, files, expected):
    assert numbers(opened(tree(tmp_path, *files))) == expected


def test_cityscapes_as_it_is_unpacked(tmp_path):
    kinds = ("labelIds.png", "color.png", "instanceIds.png", "polygons.json")
    for part, city in (("train", "aachen"), ("train", "bonn"), ("val", "lindau")):
        for name in NAMES:
            tree(tmp_path, f"leftImg8bit/{part}/{city}/{city}_{name}_leftImg8bit.png",
                 *(f"gtFine/{part}/{city}/{city}_{name}_gtFine_{kind}" for kind in kinds))
    tree(tmp_path, "leftImg8bit/test/berlin/berlin_00_leftImg8bit.png")
    pairs = opened(tmp_path)
    assert numbers(pairs) == (10, 5, None, True)
    assert pairs.train.mask_files(0) == (tmp_path / "gtFine/train/aachen/aachen_00_gtFine_labelIds.png",)
    assert "Left out: 15 .json; leftImg8bit/test/ (it has no masks)." in pairs.notes


def test_the_parts_that_lists_of_names_say(tmp_path):
    tree(tmp_path, *two("JPEGImages", "SegmentationClass"))
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("00\n03\n04\n")
    (lists / "val.txt").write_text("02\n")
    pairs = opened(tmp_path)
    assert numbers(pairs) == (3, 1, None, True) and "train.txt" in pairs.layout
    assert pairs.train.file_of(1).endswith("03.png") and pairs.val.file_of(0).endswith("02.png")


def test_several_images_of_each_patient(tmp_path):
    """Once only the first image was taken, and all masks were its objects."""
    tree(tmp_path, *(each for patient in "abc" for each in two(f"{patient}/images", f"{patient}/masks")))
    pairs = opened(tmp_path)
    assert numbers(pairs) == (12, 3, None, False) and "each subject" in pairs.layout
    assert "images are on both sides" in pairs.notes[-1]
    assert pairs.reading.kind == "binary" and pairs.train.mask_files(0) == (tmp_path / "a/masks/00.png",)
    (tmp_path / "b/masks/02.png").rename(tmp_path / "b/masks/x.png")
    with pytest.raises(ConvatlasError, match=r"b' holds 5 images and 5 masks whose names do not pair them \('02.png'"):
        opened(tmp_path)
    tree(tmp_path / "flat", *(f"{patient}/{patient}_{name}{what}.tif" for patient in "abc" for name in NAMES
                              for what in ("", "_mask")), "data.csv")
    assert numbers(opened(tmp_path / "flat")) == (12, 3, None, False)


def test_one_image_with_many_masks_has_objects(tmp_path):
    tree(tmp_path, *(f"{name}/{file}.png" for name in NAMES for file in (f"images/{name}", "masks/x", "masks/y")))
    pairs = opened(tmp_path)
    assert pairs.reading.kind == "instances" and "one mask per object" in pairs.layout
    assert [path.name for path in pairs.train.mask_files(0)] == ["x.png", "y.png"]


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    tree(tmp_path, *two("images", "masks"), "masks/y.png", "masks/z.png", "images/.x.png", "images/readme.txt",
         "images/old/q.png", "masks/.DS_Store", "labels/00.png")
    pairs = opened(tmp_path)
    assert numbers(pairs) == (4, 1, None, False)
    assert ("Left out: 1 .txt, 2 hidden files, 2 masks without an image; labels/ (the masks are in masks/), "
            "images/old/.") in pairs.notes
    (tmp_path / "images" / "f.png").symlink_to("/dev/zero")
    assert "link" in " ".join(opened(tmp_path).notes)


@pytest.mark.parametrize(("more", "sentence"), [
    (["masks/00.tif"], "two masks of one name"), (["images/00.tif"], "two images of one name"),
    (["images/z.png"], r"z\.png' has no mask"), (["imgs/00.png"], "which of them holds the images"),
    (["masks/00_mask.png", "masks/00_label.png", "images/x.png", "masks/x_label.png", "masks/x_labels.png",
      "masks/x-labels.png"], "has 3 masks"),
])
def test_names_that_say_two_things_are_refused(tmp_path, more, sentence):
    with pytest.raises(ConvatlasError, match=sentence):
        opened(tree(tmp_path, *two("images", "masks"), *more))


def test_a_part_twice_and_none_to_train_on(tmp_path):
    tree(tmp_path, *two("train/images", "train/masks"), *two("training/images", "training/masks"))
    with pytest.raises(ConvatlasError, match="two train parts, train/: images/ beside masks/ and training/"):
        opened(tmp_path)
    tree(tmp_path / "val", *two("images", "masks"))
    held = tree(tmp_path / "b", *two("test/images", "test/masks"))
    with pytest.raises(ConvatlasError, match="has the parts test, and none to train on"):
        opened(held)
    pairs = opened(held, for_eval=True)
    assert numbers(pairs) == (5, 5, 5, False) and pairs.train is pairs.val
    with pytest.raises(ConvatlasError, match=r"holds no pairs.*images/ beside masks/.*NAME_mask.png"):
        opened(tree(tmp_path / "c", "cats/1.png", "dogs/2.png"))


def test_a_folder_alone_is_judged_whole(tmp_path):
    pairs = opened(tree(tmp_path, *two("images", "masks")), for_eval=True)
    assert numbers(pairs) == (5, 5, None, False) and pairs.train is pairs.val


def test_names_of_folders():
    for name, role in (("imagesTs", ("images", "test")), ("labels_val", ("masks", "val")),
                       ("valannot", ("masks", "val")), ("leftImg8bit", ("images", None)), ("GT", ("masks", None)),
                       ("train", None), ("cats", None), ("rest", None), ("weight", None)):
        assert role_of(name) == role
