"""Meaning of masks' pixels: guessed from all of them, kept as a record, refused where it is not plausible."""

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label

from convatlas import ConvatlasError
from convatlas.data import UnreadableImage
from convatlas.run import Data
from convatlas.segment.guess import for_network
from convatlas.segment.masks import Head
from convatlas.segment.pairs import open_pairs
from convatlas.segment.reading import Reading, read_mask

SIDE = 64
PALETTE = np.array([(0, 0, 0), (200, 30, 30), (30, 200, 30), (40, 40, 220)], np.uint8)
BY_COLOR = np.array([0, 3, 1, 2])       # places of these colours in their order as numbers


@pytest.fixture
def dice():
    return np.random.default_rng(0)


def discs(dice, classes, each=2, radius=7):
    """uint8 (H, W): some discs of every class."""
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for number in classes:
        for _ in range(each):
            top, left = dice.integers(8, SIDE - 8, 2)
            mask[(y - top) ** 2 + (x - left) ** 2 < radius**2] = number
    return mask


def folder(root, masks, suffix=".png", **options):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(masks):
        path = root / "masks" / f"{number:02d}{suffix}"
        if suffix == ".npy":
            np.save(path, mask)
        else:
            mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
            mask.save(path, **options)
        wide, high = mask.size if isinstance(mask, Image.Image) else mask.shape[::-1]
        Image.new("L", (wide, high)).save(root / "images" / f"{number:02d}.png")
    return root


def opened(root, reading=None, **fields):
    pairs = open_pairs(Data(source=str(root), **fields), reading=reading)
    assert Reading.model_validate(pairs.reading.model_dump(mode="json")) == pairs.reading
    return pairs


def wrong(pairs, truth):
    """The largest share of pixels that are not what they were drawn as, of the first four."""
    return max(float((pairs.train.classes_of(index).numpy() != truth[index]).mean()) for index in range(4))


# -- levels -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("levels", [(0, 255), (0, 128, 255), (0, 85, 170, 255)])
@pytest.mark.parametrize("quality", [50, 90])
def test_levels_of_jpeg_masks(tmp_path, dice, levels, quality):
    """Once 255 classes, of which the brightest did not count."""
    truth = [discs(dice, range(1, len(levels)), radius=8) for _ in range(8)]
    pairs = opened(folder(tmp_path, [np.array(levels, np.uint8)[mask] for mask in truth], ".jpg", quality=quality))
    assert [np.ravel(value).tolist() for value in pairs.reading.values] == pytest.approx(
        np.array([[level] for level in levels]), abs=2)
    assert pairs.reading.kind == ("binary" if len(levels) == 2 else "classes")
    assert "as compression leaves" in pairs.notes[0]
    assert wrong(pairs, truth) < (0.004 if quality == 90 else 0.012)
    objects = opened(tmp_path, masks="binary")
    assert wrong(objects, [mask > 0 for mask in truth]) < 0.004 and objects.classes == ("background", "object")


def test_colours_of_jpeg_masks(tmp_path, dice):
    truth = [discs(dice, (1, 2, 3), radius=9) for _ in range(5)]
    pairs = opened(folder(tmp_path, [PALETTE[mask] for mask in truth], ".jpg", quality=90))
    assert len(pairs.classes) == 4 and wrong(pairs, [BY_COLOR[mask] for mask in truth]) < 0.01


def test_jpeg_masks_that_are_no_levels_are_refused(tmp_path, dice):
    with pytest.raises(ConvatlasError, match=r"JPEG or WebP, which mix values that are near.*`convatlas data show "):
        opened(folder(tmp_path / "near", [discs(dice, (1, 2)) for _ in range(5)], ".jpg"))
    photo = dice.integers(0, 255, (5, 8, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    with pytest.raises(ConvatlasError, match="JPEG or WebP, which mix"):
        opened(folder(tmp_path / "photo", list(photo), ".jpg"))
    with pytest.raises(ConvatlasError, match=r"data\.masks=binary if all that is light"):
        opened(folder(tmp_path / "tiny", [255 * discs(dice, (1,), radius=2) for _ in range(5)], ".jpg", quality=30))
    assert opened(tmp_path / "tiny", masks="binary").train.classes_of(0).sum() > 10
    folder(tmp_path / "objects", [discs(dice, (60, 120, 180, 240)) for _ in range(5)], ".jpg")
    with pytest.raises(ConvatlasError, match=r"data\.masks = instances is refused.*JPEG"):
        opened(tmp_path / "objects", masks="instances")


def test_smoothed_edges_are_no_classes(tmp_path, dice):
    """Between black and white lies grey, also where grey is a class."""
    truth = [discs(dice, (1, 2), each=1, radius=12) for _ in range(5)]
    large = [np.asarray(Image.fromarray(np.array([0, 128, 255], np.uint8)[mask]).resize((192, 192))) for mask in truth]
    pairs = opened(folder(tmp_path / "a", large))
    assert pairs.reading.values == ((0,), (128,), (255,)) and "seams" in pairs.notes[0]
    assert wrong(pairs, [mask.repeat(3, axis=0).repeat(3, axis=1) for mask in truth]) < 0.015
    colors = [np.asarray(Image.fromarray(PALETTE[mask]).resize((192, 192))) for mask in truth]
    assert len(opened(folder(tmp_path / "b", colors)).classes) == 3
    assert len(opened(tmp_path / "a", masks="binary").classes) == 2


@pytest.mark.parametrize("levels", [(0, 127, 255), (0, 85, 170, 255), (0, 29, 76, 150, 255)])
def test_few_levels_are_classes(tmp_path, dice, levels):
    truth = [discs(dice, range(1, len(levels))) for _ in range(5)]
    pairs = opened(folder(tmp_path, [np.array(levels, np.uint8)[mask] for mask in truth]))
    assert pairs.reading.values == tuple((level,) for level in levels) and wrong(pairs, truth) == 0
    assert f"{levels[-1]} class {len(levels) - 1}" in pairs.notes[0] and not pairs.reading.ignored


def test_levels_of_16_bits_and_a_single_mask(tmp_path, dice):
    truth = [discs(dice, (1, 2)) for _ in range(5)]
    deep = opened(folder(tmp_path / "deep", [mask.astype(np.uint16) * 32767 for mask in truth]))
    assert deep.reading.values == ((0,), (32767,), (65534,)) and wrong(deep, truth) == 0
    folder(tmp_path / "shades", [mask * 127 for mask in truth])
    assert for_network(tmp_path / "shades/masks/00.png", 3).values == ((0,), (127,), (254,))
    assert for_network(tmp_path / "shades/masks/00.png", 2).kind == "instances"
    folder(tmp_path / "numbers", truth)
    assert for_network(tmp_path / "numbers/masks/00.png", 5).values == ((0,), (1,), (2,), (3,), (4,))


def test_the_foreground_is_no_ignored_value(tmp_path, dice):
    masks = [255 * discs(dice, (1,)) for _ in range(5)]
    assert opened(folder(tmp_path, masks), masks="classes").reading.values == ((0,), (255,))
    assert opened(folder(tmp_path / "half", [mask // 2 for mask in masks])).reading.values == ((0,), (127,))


# -- numbers ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("classes", "each"), [((1,), 2), ((1, 2), 2), ((1, 2), 1), ((1, 2, 3), 2), ((1, 2, 3, 4), 3)])
def test_classes_are_no_objects(tmp_path, dice, classes, each):
    """Though nearly every mask uses all numbers."""
    masks = [discs(dice, classes, each, 6) for _ in range(8)] + [discs(dice, classes[:-1]), discs(dice, ())]
    pairs = opened(folder(tmp_path, masks))
    assert pairs.reading.kind == ("binary" if classes == (1,) else "classes") and len(pairs.classes) == len(classes) + 1
    assert classes == (1,) or "data.masks=instances" in pairs.notes[1]


def test_objects_are_no_classes(tmp_path, dice):
    """Numbered at random, or by rows, however few they are."""
    def scattered(most):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        corners = dice.permutation(36)[: dice.integers(1, most)]
        for number, corner in enumerate(corners, start=1):
            mask[corner // 6 * 10 + 1 :, corner % 6 * 10 + 1 :][:7, :7] = number
        return mask
    assert opened(folder(tmp_path / "a", [scattered(12) for _ in range(10)])).reading.kind == "instances"
    by_rows = [label(scattered(4) > 0).astype(np.uint8) for _ in range(12)]
    pairs = opened(folder(tmp_path / "b", by_rows))
    assert pairs.reading.kind == "instances" and "order of their rows" in pairs.notes[0]
    assert np.array_equal(pairs.train.instances_of(0), by_rows[0])


@pytest.mark.parametrize(("dtype", "suffix"), [(np.int32, ".tif"), (np.float32, ".tif"), (np.int16, ".npy"),
                                               (np.float64, ".npy")])
def test_minus_one_does_not_count(tmp_path, dice, dtype, suffix):
    masks = [discs(dice, (1, 2)).astype(dtype) for _ in range(5)]
    for mask in masks:
        mask[0] = -1
    pairs = opened(folder(tmp_path, masks, suffix))
    assert pairs.reading.ignored == (-1,) and "-1 where a pixel does not count" in pairs.notes[0]
    assert pairs.train.classes_of(0)[0].unique().tolist() == [255] and len(pairs.classes) == 3
    assert pairs.train.instances_of(0)[0].unique().tolist() == [0]


def test_modes_of_pictures(tmp_path, dice):
    truth = [discs(dice, (1,)) for _ in range(5)]
    solid = Image.new("L", (SIDE, SIDE), 255)
    masks = {
        "LA": [Image.merge("LA", [Image.fromarray(255 * mask), solid]) for mask in truth],
        "alpha": [Image.merge("LA", [solid, Image.fromarray(255 * mask)]) for mask in truth],
        "RGBA": [Image.merge("RGBA", [solid] * 3 + [Image.fromarray(255 * mask)]) for mask in truth],
        "1": [Image.fromarray(mask > 0) for mask in truth],
        "RGB": [Image.merge("RGB", [Image.fromarray(255 * mask)] * 3) for mask in truth],
        "I;16": [Image.fromarray(mask.astype(np.uint16) * 65535) for mask in truth],
    }
    for name, some in masks.items():
        pairs = opened(folder(tmp_path / name, some))
        assert pairs.reading.kind == "binary" and wrong(pairs, truth) == 0, name
        assert (pairs.reading.of == "alpha") == (name in ("alpha", "RGBA")) == ("alpha" in pairs.notes[0])
    lossless = folder(tmp_path / "webp", [Image.fromarray(mask) for mask in truth], ".webp", lossless=True)
    assert not opened(lossless).reading.blur
    assert wrong(opened(folder(tmp_path / "bool", [mask > 0 for mask in truth], ".npy")), truth) == 0
    classes = [discs(dice, (1, 2, 3)) for _ in range(5)]
    big = [Image.frombytes("I;16B", (SIDE, SIDE), mask.astype(">u2").tobytes()) for mask in classes]
    assert wrong(opened(folder(tmp_path / "big", big, ".tif")), classes) == 0


def test_grey_in_colour_is_numbers(tmp_path, dice):
    masks = []
    for _ in range(5):
        mask = 2 * discs(dice, (1,))
        mask[:2] = 255
        masks.append(np.dstack([mask] * 3))
    pairs = opened(folder(tmp_path, masks))
    assert pairs.reading.ignored == (255,) and pairs.reading.of == "numbers" and len(pairs.classes) == 3


def test_palettes_that_differ_are_read_by_their_colours(tmp_path, dice):
    truth, masks = [discs(dice, (1, 2)) for _ in range(5)], []
    for number, mask in enumerate(truth):
        turned = number % 2 == 1
        image = Image.fromarray(np.array([0, 2, 1], np.uint8)[mask] if turned else mask, mode="P")
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] if turned else [0, 0, 0, 0, 255, 0, 255, 0, 0])
        masks.append(image)
    pairs = opened(folder(tmp_path, masks))
    assert wrong(pairs, truth) == 0 and "palettes differ" in pairs.notes[0]


# -- refused ----------------------------------------------------------------------------------------------------------

def test_guesses_that_are_not_plausible_are_refused(tmp_path, dice):
    ids = [discs(dice, range(1 + 3 * start, 4 + 3 * start), each=1) for start in range(5)]
    with pytest.raises(ConvatlasError, match=r"15 numbers beside the background .*more than the 5 pictures.*"
                       r"data\.masks=classes.*`convatlas data show "):
        opened(folder(tmp_path / "ids", ids))
    assert opened(tmp_path / "ids", masks="instances").reading.kind == "instances"
    assert len(opened(tmp_path / "ids", masks="classes").classes) == 16
    single = [discs(dice, (1, 4 + min(number, 4)), each=1) for number in range(8)]
    with pytest.raises(ConvatlasError, match=r"of the 6 numbers .* 4 occur in one picture each \(4, 5, 6 and 7\)"):
        opened(folder(tmp_path / "single", single))
    with pytest.raises(ConvatlasError, match=r"all 5 masks in .* hold nothing but 0"):
        opened(folder(tmp_path / "empty", [discs(dice, ()) for _ in range(5)]))
    with pytest.raises(ConvatlasError, match=r"holds 0\.5: a mask's numbers are whole"):
        opened(folder(tmp_path / "half", [discs(dice, (1,)) / 2 for _ in range(5)], ".npy"))


# -- kept -------------------------------------------------------------------------------------------------------------

def test_masks_are_read_as_they_were_in_training(tmp_path, dice):
    """Though a colour is missing, from which once the others moved up."""
    truth = [discs(dice, (1, 2, 3)) for _ in range(5)]
    reading = opened(folder(tmp_path / "a", [PALETTE[mask] for mask in truth])).reading
    assert reading.values[:2] == (((0, 0, 0),), ((30, 200, 30),))
    fewer = [discs(dice, (1, 3)) for _ in range(5)]
    pairs = opened(folder(tmp_path / "b", [PALETTE[mask] for mask in fewer]), reading)
    assert pairs.classes == reading.classes and wrong(pairs, [BY_COLOR[mask] for mask in fewer]) == 0
    other = PALETTE.copy()
    other[2] = (31, 200, 30)
    with pytest.raises(ConvatlasError, match=r"holds #1fc81e, and those of its training #000000, #1ec81e, #2828dc and "
                       "#c81e1e"):
        opened(folder(tmp_path / "c", [other[mask] for mask in truth]), reading)
    with pytest.raises(ConvatlasError, match="is in colour"):
        opened(tmp_path / "a", Reading(kind="binary", values=((0,), (255,))))


def test_blurred_masks_are_read_as_they_were_in_training(tmp_path, dice):
    levels = np.array([0, 255, 128], np.uint8)
    reading = opened(folder(tmp_path / "a", [levels[discs(dice, (1,))] for _ in range(5)], ".jpg")).reading
    again = [discs(dice, (1,)) for _ in range(5)]
    assert wrong(opened(folder(tmp_path / "b", [levels[mask] for mask in again], ".jpg"), reading), again) < 0.002
    with pytest.raises(ConvatlasError, match="and those of its training 0 and 255"):
        opened(folder(tmp_path / "c", [levels[discs(dice, (1, 2))] for _ in range(5)], ".jpg"), reading)


def test_binary_masks_of_another_foreground_are_refused(tmp_path, dice):
    reading = opened(folder(tmp_path / "a", [discs(dice, (1,)) for _ in range(5)])).reading
    folder(tmp_path / "b", [255 * discs(dice, (1,)) for _ in range(5)])
    with pytest.raises(ConvatlasError, match="holds 255, and those of its training 0 and 1"):
        opened(tmp_path / "b", reading)
    with pytest.raises(UnreadableImage, match="holds 255; known are 0 and 1"):
        read_mask(tmp_path / "b/masks/00.png", reading, Head(SIDE, SIDE, 1))


@pytest.mark.parametrize(("name", "text"), [
    ("class_dict.csv", "name,r,g,b\nVoid,0,0,0\nSky,40,40,220\nCar,200,30,30\nRoad Sign,30,200,30\nTree,1,2,3\n"),
    ("label_colors.txt", "0 0 0\tVoid\n200 30 30\tCar\n30 200 30\tRoad Sign\n40 40 220 Sky\n"),
    ("labelmap.txt", "# label:color_rgb:parts:actions\nSky:40,40,220::\nVoid:0,0,0::\nCar:200,30,30::\n"
                     "Road Sign:30,200,30::\n"),
])
def test_names_that_a_file_gives_by_colour(tmp_path, dice, name, text):
    root = folder(tmp_path, [PALETTE[discs(dice, (1, 2, 3))] for _ in range(5)])
    (root / name).write_text(text)
    pairs = opened(root)
    assert pairs.classes == ("Void", "Road Sign", "Sky", "Car") and name in pairs.notes[1]


def test_names_that_a_file_gives_by_number(tmp_path, dice):
    root = folder(tmp_path, [discs(dice, (1, 2)) for _ in range(5)])
    (root / "codes.txt").write_bytes("\ufeffVoid\r\nSky\r\nCar\r\nTree\r\n".encode())
    assert opened(root).classes == ("Void", "Sky", "Car")
    (root / "codes.txt").write_text("Void\nSky\n")
    pairs = opened(root)
    assert pairs.classes[1] == "class 1" and "codes.txt does not name the 3 classes" in " ".join(pairs.notes)
