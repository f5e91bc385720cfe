"""Images with masks: every kind of mask, every layout, and what is wrong with some."""

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas import ConvatlasError
from convatlas.data import UnreadableImage
from convatlas.run import Data
from convatlas.segment.pairs import open_pairs
from convatlas.segment.synthetic import cells

SHAPE = (12, 16)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def folder(root, masks, masks_name="masks", suffix=".png"):
    for number, mask in enumerate(masks):
        write(root / "images" / f"{number:02d}.png", np.full(SHAPE, number, np.uint8))
        write(root / masks_name / f"{number:02d}{suffix}", mask)
    return root


def opened(root, **fields):
    return open_pairs(Data(source=str(root), **fields))


def some(values, dtype=np.uint8):
    """A mask that holds these values, each in some columns."""
    mask = np.zeros(SHAPE, dtype)
    for column, value in enumerate(values):
        mask[2:9, 2 * column : 2 * column + 2] = value
    return mask


def test_binary_masks(tmp_path):
    pairs = opened(folder(tmp_path, [some([0, 255]), some([255]), some([255, 0, 255]), some([0, 255]), some([255])]))
    assert pairs.classes == ("background", "object") and "binary" in pairs.notes[0]
    assert set(pairs.train.classes_of(0).unique().tolist()) == {0, 1}
    assert torch.equal(pairs.train.classes_of(0) > 0, torch.from_numpy(some([0, 255]) > 0))


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint8, ".png"), (np.uint16, ".png"), (np.uint16, ".tif"),
                                               (np.int32, ".tif")])
def test_instances_in_8_and_16_bit(tmp_path, dtype, suffix):
    masks = [some(range(1, count), dtype) for count in (3, 4, 5, 3, 6)]
    pairs = opened(folder(tmp_path, masks, "labels", suffix))
    assert "instances" in pairs.notes[0]
    assert torch.equal(pairs.train.instances_of(1), torch.from_numpy(masks[1].astype(np.int64)))
    assert set(pairs.train.classes_of(1).unique().tolist()) == {0, 1}


def test_classes_with_pixels_that_do_not_count(tmp_path):
    palette = Image.fromarray(some([1, 7, 255]), mode="P")
    palette.putpalette(list(range(256)) * 3)
    pairs = opened(folder(tmp_path, [palette, some([3, 7]), some([7]), some([1, 3]), some([3])]))
    assert len(pairs.classes) == 8 and "255 where" in pairs.notes[0]
    assert set(pairs.train.classes_of(0).unique().tolist()) == {0, 1, 7, 255}


def test_colours_are_classes(tmp_path):
    color = np.zeros((*SHAPE, 3), np.uint8)
    color[:3, :, 0], color[8:, :, 2] = 128, 64
    pairs = opened(folder(tmp_path, [color] * 5))
    assert len(pairs.classes) == 3
    numbers = pairs.train.classes_of(0)
    assert numbers[0, 0] == 2 and numbers[9, 0] == 1 and numbers[5, 0] == 0


def test_one_file_per_instance(tmp_path):
    for number in range(5):
        write(tmp_path / f"id{number}" / "images" / f"id{number}.png", np.zeros(SHAPE, np.uint8))
        for part, columns in (("a", slice(0, 4)), ("b", slice(6, 9))):
            mask = np.zeros(SHAPE, np.uint8)
            mask[:, columns] = 255
            write(tmp_path / f"id{number}" / "masks" / f"{part}.png", mask)
    pairs = opened(tmp_path)
    assert pairs.train.instances_of(0)[0].tolist() == [1] * 4 + [0] * 2 + [2] * 3 + [0] * 7


def test_the_split_is_by_order_and_parts_of_its_own_are_kept(tmp_path):
    root = folder(tmp_path / "whole", [some([255])] * 10)
    pairs = opened(root)
    assert [pairs.val.file_of(i)[-6:] for i in range(len(pairs.val))] == ["04.png", "09.png"] and len(pairs.train) == 8
    folder(tmp_path / "parted" / "train", [some([255])] * 3)
    folder(tmp_path / "parted" / "val", [some([255])] * 2)
    parted = opened(tmp_path / "parted")
    assert (len(parted.train), len(parted.val)) == (3, 2)


def test_cells_come_along_and_are_the_same_each_time():
    first, again = cells(2, 1), cells(2, 1)
    for (image, instances), (image2, instances2) in zip(first, again, strict=True):
        assert torch.equal(image, image2) and torch.equal(instances, instances2)
        assert image.shape == (1, 256, 256) and image.dtype == torch.uint8
        assert instances.unique().tolist() == list(range(int(instances.max()) + 1)) and instances.max() > 8
    pairs = open_pairs(Data(source="cells"))
    assert (len(pairs.train), len(pairs.val)) == (40, 10) and not torch.equal(cells(1, 1)[0][0], pairs.val.image(0))


def test_masks_can_be_told_what_they_are(tmp_path):
    masks = [some([1, 2]), some([1, 2, 3]), some([1]), some([1, 2]), some([1, 2])]
    assert len(opened(folder(tmp_path, masks), masks="classes").classes) == 4


def test_label_values_that_were_not_learned_are_listed(tmp_path):
    folder(tmp_path / "train", [some([1, 2, 255]), some([2])])
    folder(tmp_path / "val", [some([1]), some([7, 1, 4]), some([9])])
    with pytest.raises(ConvatlasError, match=r"01\.png' and 1 more holds 4, 7 and 9, and those of the training part 0 "
                       r"to 2, or 255"):
        opened(tmp_path, masks="classes")
    folder(tmp_path / "val", [some([1]), some([2, 255]), some([0])])
    assert len(opened(tmp_path, masks="classes").val) == 3


def test_what_is_wrong_is_told(tmp_path):
    root = folder(tmp_path / "a", [some([255])] * 5)
    (root / "masks" / "03.png").unlink()
    with pytest.raises(ConvatlasError, match=r"03\.png' has no mask"):
        opened(root)
    with pytest.raises(ConvatlasError, match="holds no pairs"):
        (tmp_path / "b").mkdir()
        opened(tmp_path / "b")
    with pytest.raises(ConvatlasError, match="no folder of images and masks; cells and nuclei come along"):
        opened("nowhere")
    root = folder(tmp_path / "c", [some([255])] * 5)
    write(root / "masks" / "00.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(UnreadableImage, match=r"00\.png' is 5×5 pixels, its image 12×16"):
        opened(root).train.classes_of(0)
    (root / "masks" / "01.png").write_bytes((root / "masks" / "01.png").read_bytes()[:45])
    with pytest.raises(UnreadableImage, match=r"01\.png"):
        opened(root, strict=True)
    with pytest.raises(ConvatlasError, match=r"up to 299.*data\.masks=instances"):
        opened(folder(tmp_path / "d", [some([299, 299], np.uint16)] * 5), masks="classes")
    noise = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    with pytest.raises(ConvatlasError, match="colours: masks are numbers"):
        opened(folder(tmp_path / "e", [noise] * 5))
