"""NumPy archives: names, layouts and scales that are taken, and a sentence for each that is not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convatlas import ConvatlasError
from convatlas.data import open_data
from convatlas.data.arrays import read_npz
from convatlas.data.split import Split
from convatlas.run import Data

PIXELS = np.random.RandomState(0).randint(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "toy.npz", **arrays)
    return str(tmp_path / "toy.npz")


def opened(tmp_path, for_eval=False, **arrays):
    return open_data(Data(source=saved(tmp_path, **arrays), val_fraction=0.25), for_eval=for_eval)


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("data", "target")])
def test_names(tmp_path, x, y):
    source = opened(tmp_path, **{x: PIXELS, y: LABELS})
    assert source.classes == ("0", "1", "2") and (len(source.train), len(source.val)) == (9, 3) and source.name == "toy"
    assert source.train.name(0).startswith(f"toy:{x}[")


@pytest.mark.parametrize("x", [PIXELS, PIXELS.transpose(0, 3, 1, 2), (PIXELS / 255).astype(np.float32), PIXELS / 255.0])
def test_layouts_and_scales_give_the_same_pictures(tmp_path, x):
    source = opened(tmp_path, for_eval=True, x=x, y=LABELS)
    assert torch.equal(source.val.images, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))


def test_grey_and_half_precision(tmp_path):
    half = (PIXELS[..., 0] / 255).astype(np.float16)        # 11 bits: exact to within half a grey level
    source = opened(tmp_path, for_eval=True, x=half, y=LABELS[:, None].astype(np.uint8))
    assert torch.equal(source.val.images, torch.from_numpy(PIXELS[:, None, :, :, 0].copy()))
    assert source.val.labels.dtype == torch.int64


def test_own_parts(tmp_path):
    parts = {
        "x_train": PIXELS, "y_train": LABELS,
        "x_val": PIXELS[:4], "y_val": LABELS[:4],
        "x_test": PIXELS[:5], "y_test": LABELS[:5],
    }
    for for_eval in (False, True):
        source = opened(tmp_path, for_eval, **parts)
        assert (len(source.train), len(source.val), len(source.test)) == (12, 4, 5) and source.parted
        assert source.layout == "arrays x_train, x_val, x_test"
    del parts["x_val"], parts["y_val"]
    source = opened(tmp_path, **parts)
    assert source.val is source.test and len(source.val) == 5 and source.parted


def test_a_test_part_alone_is_judged_and_never_learnt_from(tmp_path):
    source = opened(tmp_path, for_eval=True, x_test=PIXELS, y_test=LABELS)
    assert source.train is source.val is source.test and not source.parted and len(source.test) == 12
    with pytest.raises(ConvatlasError, match="it needs two arrays named x_train and y_train"):
        opened(tmp_path, x_test=PIXELS, y_test=LABELS)


def test_without_parts_nothing_is_a_test_part(tmp_path):
    for for_eval in (False, True):
        source = opened(tmp_path, for_eval, x=PIXELS, y=LABELS)
        assert source.test is None and not source.parted and (source.val is source.train) == for_eval


def test_class_names(tmp_path):
    names = ("ant", "bee", "cow")
    for array in (np.array(names), np.array(names).astype(np.bytes_)):
        assert opened(tmp_path, x=PIXELS, y=LABELS, classes=array).classes == names


def test_several_labels_per_picture(tmp_path):
    y = np.random.RandomState(0).randint(0, 2, (12, 3))
    source = opened(tmp_path, x=PIXELS, y=y, classes=np.array(["a", "b", "c"]))
    assert source.multi_label and source.train.labels.dtype == torch.float32 and source.classes == ("a", "b", "c")
    assert (len(source.train), len(source.val)) == (9, 3) and not source.notes
    assert source.train.labels.sum(0).add(source.val.labels.sum(0)).tolist() == y.sum(0).tolist()


def test_one_hot_labels_are_one_class_each_if_they_are_so_in_every_part(tmp_path):
    hot, several = np.eye(3)[LABELS], np.ones((12, 3))
    source = opened(tmp_path, for_eval=True, x=PIXELS, y=hot)
    assert source.train.labels.tolist() == LABELS.tolist() and not source.multi_label
    assert "exactly one of 3 labels: they are read as one class each" in source.notes[0]
    source = opened(tmp_path, x_train=PIXELS, y_train=hot, x_test=PIXELS, y_test=several)
    assert source.multi_label and source.train.labels.dtype == torch.float32 and not source.notes


@pytest.mark.parametrize("kind", ["U", "S"])
def test_labels_as_text(tmp_path, kind):
    names = np.array(["ant", "bee", "Käfer"])
    y = names[LABELS] if kind == "U" else np.char.encode(names, "utf-8")[LABELS]
    source = opened(tmp_path, for_eval=True, x=PIXELS, y=y)
    assert source.classes == ("Käfer", "ant", "bee") and source.train.labels.tolist() == [1, 2, 0] * 4
    assert "the classes are 3 names, sorted" in source.notes[0]
    source = opened(tmp_path, for_eval=True, x=PIXELS, y=y, classes=names)
    assert source.classes == tuple(names) and source.train.labels.tolist() == LABELS.tolist()


def test_labels_from_1_on(tmp_path):
    source = opened(tmp_path, for_eval=True, x=PIXELS, y=LABELS + 1)
    assert source.classes == ("1", "2", "3") and source.train.labels.tolist() == LABELS.tolist()
    assert "1 to 3 and never 0: they are taken to count from 1" in source.notes[0]
    source = opened(tmp_path, x=PIXELS, y=LABELS + 1, classes=np.array(["a", "b", "c"]))
    assert source.classes == ("a", "b", "c") and len(source.notes) == 1
    parts = {"x_train": PIXELS, "y_train": LABELS + 1, "x_test": PIXELS[:1], "y_test": LABELS[:1]}
    with pytest.raises(ConvatlasError, match="no training picture of class '0': 3 of 4 classes have some"):
        opened(tmp_path, **parts)       # one 0 in the test part: they count from 0


def test_labels_of_known_classes_never_shift(tmp_path):
    digits = tuple("0123456789")        # SVHN's own files call 0 ten: to shift them would call each digit its neighbour
    path = saved(tmp_path, x=np.zeros((20, 4, 4), np.uint8), y=np.arange(20) % 10 + 1)
    with pytest.raises(ConvatlasError, match="has the label 10, but 10 classes; labels count from 0"):
        read_npz(Path(path), Split(), digits)


def test_booleans_and_floats_as_labels(tmp_path):
    source = opened(tmp_path, for_eval=True, x=PIXELS, y=LABELS > 0)
    assert source.classes == ("0", "1") and source.train.labels.tolist() == [0, 1, 1] * 4
    assert "False is class 0, True class 1" in source.notes[0]
    assert opened(tmp_path, for_eval=True, x=PIXELS, y=LABELS.astype(float)).train.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(("x", "expected", "told"), [
    (PIXELS.astype(np.int64), PIXELS, "int64 in 0..255: they are taken as they are"),
    (PIXELS.astype(np.float32), PIXELS, "float32 in 0..255: they are taken as they are"),
    (PIXELS > 127, np.uint8(255) * (PIXELS > 127), "bool in 0..1: 1 is taken for white"),
    ((PIXELS > 127).astype(np.int32), np.uint8(255) * (PIXELS > 127), "int32 in 0..1: 1 is taken for white"),
    (PIXELS.astype(np.uint16) * 257, PIXELS, "uint16 in 0..65535: 65535 is taken for white"),
    (PIXELS.astype(np.uint16) * 16, np.rint(PIXELS * (16 / 257)).astype(np.uint8), "the brightest is 16 of 255"),
    ((PIXELS > 127).astype(np.uint8), (PIXELS > 127).astype(np.uint8), "nearly black"),
])
def test_other_scales_are_told(tmp_path, x, expected, told):
    source = opened(tmp_path, for_eval=True, x=x, y=LABELS)
    assert torch.equal(source.val.images, torch.from_numpy(expected).permute(0, 3, 1, 2)) and told in source.notes[0]


def test_one_scale_holds_for_all_parts(tmp_path):
    whole, dark = PIXELS.astype(np.int32), (PIXELS // 255).astype(np.int32)     # 0..255; 0 and 1
    source = opened(tmp_path, x_train=whole, y_train=LABELS, x_test=dark, y_test=LABELS)
    assert int(source.test.images.max()) == 1 and int(source.train.images.max()) == 255


def bad(array, index, value):
    array = array.astype(np.float32) / 255
    array.flat[index] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": PIXELS}, "holds a; it needs two arrays"),
        ({"x": PIXELS}, "'x' has no labels 'y'"),
        ({"x": PIXELS, "y": LABELS[:5]}, "12 pictures, but 'y' has 5"),
        ({"x": PIXELS, "y": LABELS / 2}, "labels are integers"),
        ({"x": PIXELS, "y": 2 * np.eye(12)}, "labels are integers"),
        ({"x": PIXELS, "y": np.eye(12)[:, [0, 1, 1]] * 0}, "no training picture of class '0'"),
        ({"x": PIXELS, "y": LABELS - 1}, "label -1"),
        ({"x": PIXELS, "y": LABELS * 2}, "no training picture of class '1'"),
        ({"x": PIXELS, "y": LABELS * 0}, "one class only"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "b"])}, "label 2, but 2 classes"),
        ({"x": PIXELS, "y": LABELS, "classes": np.array(["a", "b", "a"])}, "twice"),
        ({"x_train": PIXELS, "y_train": LABELS, "x_val": PIXELS}, "'x_val' has no labels 'y_val'"),
        ({"x": PIXELS[..., :2], "y": LABELS}, "neither the second nor the last"),
        ({"x": PIXELS[:, :3], "y": LABELS}, "both the second and the last"),
        ({"x": PIXELS[:, 0, 0], "y": LABELS}, "not (N, H, W)"),
        ({"x": PIXELS[:0], "y": LABELS[:0]}, "no pictures"),
        ({"x": PIXELS.astype(np.int64) + 1, "y": LABELS}, "int64 with values in 1..256"),
        ({"x": PIXELS.astype(np.int64) - 1, "y": LABELS}, "int64 with values in -1..254"),
        ({"x": PIXELS.astype(np.float32) / 2, "y": LABELS}, "floats in 0..1"),
        ({"x": PIXELS.astype(np.complex64), "y": LABELS}, "pictures as complex64"),
        ({"x": PIXELS, "y": np.array([b"\xff"] * 12)}, "not UTF-8"),
        ({"x": PIXELS, "y": np.array(["a", "b", "d"])[LABELS], "classes": np.array(["a", "b", "c"])}, "the label 'd'"),
        ({"x": PIXELS, "y": LABELS * 10**12}, "label 2000000000000"),
        ({"x": bad(PIXELS, 7, np.nan), "y": LABELS}, "NaN"),
        ({"x": bad(PIXELS, 7, np.inf), "y": LABELS}, "inf"),
        ({"x": bad(PIXELS, 7, -0.5), "y": LABELS}, "-0.5"),
        ({"x": np.array([{"code": 1}] * 12), "y": LABELS}, "never unpickled"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, arrays, said):
    with pytest.raises(ConvatlasError) as caught:
        opened(tmp_path, **arrays)
    assert said in str(caught.value) and "toy.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_in_an_archive_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with pytest.raises(ConvatlasError, match="never unpickled"):
        opened(tmp_path, x=np.array([Bomb()] * 12, dtype=object), y=LABELS)
    (tmp_path / "toy.npz").write_bytes(__import__("pickle").dumps(Bomb()))
    with pytest.raises(ConvatlasError, match="cannot be read"):
        open_data(Data(source=str(tmp_path / "toy.npz")))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half an archive"])
def test_damaged_archives(tmp_path, content):
    (tmp_path / "toy.npz").write_bytes(content)
    with pytest.raises(ConvatlasError, match=r"toy\.npz"):
        open_data(Data(source=str(tmp_path / "toy.npz")))


def test_a_truncated_archive(tmp_path):
    path = saved(tmp_path, x=PIXELS, y=LABELS)
    content = (tmp_path / "toy.npz").read_bytes()
    (tmp_path / "toy.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConvatlasError, match="cannot be read"):
        open_data(Data(source=path))
