"""Masks of images that EXIF turns: as displayed or as stored, as sizes tell, as the setting says, or refused."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from convatlas import ConvatlasError
from convatlas.run import Data
from convatlas.segment.pairs import open_pairs

SCENE = np.zeros((24, 16), np.uint8)
SCENE[3:9, 2:11] = 255
BACK = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270}      # from a scene as displayed to its file


def turned(scene, orientation):
    """The file's pixels of a scene that EXIF turns, and the EXIF that does."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(scene)
    return (image.transpose(BACK[orientation]) if orientation > 1 else image), exif


def folder(root, orientations, stored, scene=SCENE, suffix=".png"):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, orientation in enumerate(orientations):
        image, exif = turned(scene, orientation)
        image.save(root / "images" / f"{number:02d}{suffix}", exif=exif)
        mask = image if stored else Image.fromarray(scene)
        mask.save(root / "masks" / f"{number:02d}.png")
    return root


def opened(root, **fields):
    return open_pairs(Data(source=str(root), **fields))


def right(pairs, scene=SCENE):
    """True if every image and mask is the scene."""
    return all(np.array_equal(pairs.train.image(index)[0], scene)
               and np.array_equal(pairs.train.classes_of(index), scene > 0) for index in range(len(pairs.train)))


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sizes_tell_for_the_whole_set(tmp_path, stored, suffix):
    pairs = opened(folder(tmp_path, range(1, 9), stored, suffix=suffix))
    assert right(pairs) and pairs.reading.orientation == ("stored" if stored else "displayed")
    assert any(f"data.mask_orientation = {pairs.reading.orientation}" in note for note in pairs.notes)


@pytest.mark.parametrize(("orientations", "scene"), [([1, 3, 1, 1, 1, 1], SCENE), ([1, 1, 1, 1, 6, 1], SCENE[:16])])
def test_what_sizes_do_not_tell_is_refused_or_said(tmp_path, orientations, scene):
    for stored, word in ((False, "displayed"), (True, "stored")):
        root = folder(tmp_path / word, orientations, stored, scene)
        with pytest.raises(ConvatlasError, match=r"0\d\.png' is turned by its EXIF .*mask_orientation=displayed if"):
            opened(root)
        assert right(opened(root, mask_orientation=word), scene)


def test_a_mask_with_an_orientation_of_its_own_follows_it(tmp_path):
    root = folder(tmp_path, [6, 3, 1, 8, 5], True)
    for number, orientation in enumerate([6, 3, 1, 8, 5]):
        image, exif = turned(SCENE, orientation)
        image.save(root / "masks" / f"{number:02d}.png", exif=exif)
    assert right(opened(root))


def test_both_ways_in_one_folder(tmp_path):
    folder(tmp_path, [6, 8, 5, 7, 1], True)
    for number in (0, 3):
        Image.fromarray(SCENE).save(tmp_path / "masks" / f"{number:02d}.png")
    pairs = opened(tmp_path)
    assert right(pairs) and pairs.reading.orientation is None and "some as stored" in pairs.notes[1]
    image, exif = turned(SCENE, 3)
    image.save(tmp_path / "images" / "04.png", exif=exif)
    with pytest.raises(ConvatlasError, match=r"04\.png' is turned"):
        opened(tmp_path)


def test_the_lie_that_was_understood_is_kept(tmp_path):
    reading = opened(folder(tmp_path / "a", range(1, 9), True)).reading
    again = open_pairs(Data(source=str(folder(tmp_path / "b", [3, 4, 2, 3, 2], True))), reading=reading)
    assert right(again)
    assert ImageOps.exif_transpose(Image.open(tmp_path / "b" / "images" / "00.png")).size == (16, 24)
