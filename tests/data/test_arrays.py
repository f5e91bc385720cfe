"""NumPy archives: names, layouts and scales that are taken, and a sentence for each that is not."""

import numpy as np
import pytest
import torch

from convatlas import ConvatlasError
from convatlas.data import open_data
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
    assert len(opened(tmp_path, **parts).train) == 12
    assert len(opened(tmp_path, **parts).val) == 4 and len(opened(tmp_path, for_eval=True, **parts).val) == 5
    del parts["x_val"], parts["y_val"]
    assert len(opened(tmp_path, **parts).val) == 5


def test_class_names(tmp_path):
    names = ("ant", "bee", "cow")
    assert opened(tmp_path, x=PIXELS, y=LABELS, classes=np.array(names)).classes == names


def test_several_labels_per_picture(tmp_path):
    y = np.random.RandomState(0).randint(0, 2, (12, 3))
    source = opened(tmp_path, x=PIXELS, y=y, classes=np.array(["a", "b", "c"]))
    assert source.multi_label and source.train.labels.dtype == torch.float32 and source.classes == ("a", "b", "c")
    assert (len(source.train), len(source.val)) == (9, 3) and not source.notes
    assert source.train.labels.sum(0).add(source.val.labels.sum(0)).tolist() == y.sum(0).tolist()
    assert "exactly one label" in opened(tmp_path, x=PIXELS, y=np.eye(3)[LABELS]).notes[0]


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
        ({"x": PIXELS.astype(np.int64), "y": LABELS}, "holds int64"),
        ({"x": PIXELS.astype(np.float32), "y": LABELS}, "must lie in 0..1"),
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
