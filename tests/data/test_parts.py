"""What names of folders say: parts of a data set, images, masks."""

import pytest

from convatlas.data.parts import kind_of, part_of, parts_in


@pytest.mark.parametrize(("part", "names"), [
    ("train", "train Train TRAIN training Training train_set trainset train-images seg_train imagesTr train2017 tr"),
    ("val", "val Val valid validation validation_set val2017 dev seg_val"),
    ("test", "test TEST tests testing Testing test_set seg_test imagesTs"),
    (None, "plane trainer training_wheels cat attest value seg_pred images trainval a 1 evals_of_cats")])
def test_parts(part, names):
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)


@pytest.mark.parametrize(("kind", "names"), [
    ("images", "images Images image imgs imagesTr JPEGImages leftImg8bit train_images images_png photos"),
    ("masks", "masks Mask labels labelsTr gtFine GT ground_truth SegmentationClass annotations train_masks"),
    (None, "cat cat_images mask_wearing train labelled a 1 seg surgical_mask")])
def test_kinds(kind, names):
    assert {name: kind_of(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


def test_the_folders_of_each_part(tmp_path):
    for name in ("Training", "val", "validation", "cats", ".test"):
        (tmp_path / name).mkdir()
    (tmp_path / "test").touch()
    assert parts_in(tmp_path) == {"train": [tmp_path / "Training"], "val": [tmp_path / "val", tmp_path / "validation"]}
