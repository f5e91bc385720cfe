"""`convatlas data show` of a folder of images and masks, run in this process."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from convatlas import ConvatlasError
from convatlas.cli.data import data
from convatlas.segment.show import TINTS


def show(*words):
    return CliRunner().invoke(data, ["show", *map(str, words)], catch_exceptions=False)


def folder(root, masks):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number, mask in enumerate(masks):
        Image.fromarray(np.full(mask.shape[:2], 40, np.uint8)).save(root / "images" / f"{number:02d}.png")
        Image.fromarray(mask).save(root / "masks" / f"{number:02d}.png")
    return root


def squares(*values):
    """A mask with a square of 6×6 pixels of each value, in 24×24."""
    mask = np.zeros((24, 24), np.uint8)
    for place, value in enumerate(values):
        mask[2:8, 8 * place : 8 * place + 6] = value
    return mask


def colors(path):
    """The share of each colour in a picture."""
    image = Image.open(path).convert("RGB")
    return {"#" + bytes(value).hex(): count / (image.width * image.height)
            for count, value in image.getcolors(image.width * image.height)}


def test_classes_in_their_colours(tmp_path):
    out = tmp_path / "o.png"
    root = folder(tmp_path / "a", [squares(1), squares(1, 2), squares(1), squares(1), squares(0, 255)])
    done = show(root, "--rows", 2, "--out", out)
    assert done.exit_code == 0 and "3 classes (data.masks = classes), and 255" in done.stdout
    assert "class 1           1    5.00 % of the pixels, in 4 of 5 masks" in done.stdout, done.stdout
    assert "class 2           2    1.25 % of the pixels, in 1 of 5 masks" in done.stdout
    assert "does not count" in done.stdout and "images/ beside masks/" in done.stdout
    assert f"written to {out}" in done.stdout
    found = colors(out)         # the rare class is drawn though two of five images are
    assert found[TINTS[0]] > 0.001 and found[TINTS[1]] > 0.001


def test_those_that_come_along(tmp_path):
    done = show("nuclei", "--rows", 2, "--out", tmp_path / "nuclei.png")
    assert done.exit_code == 0 and "nucleus" in done.output and (tmp_path / "nuclei.png").is_file()
    found = json.loads(show("nuclei", "--rows", 2, "--out", tmp_path / "nuclei.png", "--json").stdout)
    assert found["data"] == "nuclei" and any("nucleus" in line for line in found["classes"])


def test_masks_that_are_not_understood_are_drawn_as_they_are(tmp_path):
    dice = np.random.default_rng(0)
    palettes = dice.integers(0, 255, (6, 3, 3), dtype=np.uint8)
    root = folder(tmp_path / "a", [palette[np.minimum(squares(1, 2), 2)] for palette in palettes])
    out = tmp_path / "o.png"
    done = show(root, "--out", out)
    assert done.exit_code == 0 and "not understood: masks hold 17 colours" in done.stdout
    assert "#" + bytes(palettes[0, 0].tolist()).hex() in done.stdout
    assert "#" + bytes(palettes[5, 2].tolist()).hex() in colors(out)
    done = show(root, "--out", out, "--set", "data.masks=classes")
    assert "18 classes by colour" in done.stdout and "not understood" not in done.stdout


def test_objects_as_svg(tmp_path):
    masks = [squares(*range(1, count + 1)) for count in (3, 2, 1, 3, 2)]
    done = show(folder(tmp_path / "a", masks), "--set", "data.masks=instances", "--out", tmp_path / "o.svg")
    assert done.exit_code == 0 and "(data.masks = instances)" in done.stdout
    text = (tmp_path / "o.svg").read_text()
    assert "<image" in text and "11 objects, 2.2 per image" in text


@pytest.mark.parametrize(("words", "sentence"), [
    (("--recipe", "modern"), "--recipe is refused"), (("--model", "unet"), "--model is refused"),
    (("--image-size", 64), "--image-size is refused"), (("--in-chans", 1), "--in-chans is refused"),
    (("--download",), "--download is refused"), (("--data-dir", "."), "--data-dir is refused"),
    (("--set", "augment.flip=1"), r"--set augment.flip is refused.*data\.masks"),
    (("--out", "a.gif"), r"\.png or \.svg"),
])
def test_words_without_meaning_are_refused_by_name(tmp_path, words, sentence):
    root = folder(tmp_path / "a", [squares(1)] * 5)
    with pytest.raises(ConvatlasError, match=sentence):
        show(root, *words)


def test_a_folder_by_class_is_augmented_as_before(stripes, tmp_path):
    assert "modern on stripes" in show(stripes, "--rows", 1, "--out", tmp_path / "o.png").stdout
    root = folder(tmp_path / "a", [squares(1)] * 5)
    (root / "images" / "09.png").write_bytes((root / "images" / "00.png").read_bytes())
    with pytest.raises(ConvatlasError, match=r"09\.png' has no mask"):
        show(root, "--out", tmp_path / "o.png")
