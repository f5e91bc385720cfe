"""`convatlas data show`, run in this process."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from convatlas import ConvatlasError
from convatlas.cli.data import data


def show(*words):
    return CliRunner().invoke(data, ["show", *map(str, words)], catch_exceptions=False)


def test_a_folder_by_its_recipe(stripes, tmp_path):
    out = tmp_path / "sheet.png"
    done = show(stripes, "--recipe", "modern", "--rows", 2, "--out", out, "--set", "augment.cutmix=1",
                "--set", "preprocess.fit=zca")
    assert done.exit_code == 0
    assert "modern on stripes, input 1×32×32: random crops of 25 to 100 % of the area" in done.stdout
    assert "CutMix, α = 1" in done.stdout and "ZCA whitening" in done.stdout and f"written to {out}" in done.stdout
    with Image.open(out) as image:
        assert image.format == "PNG"


def test_a_network_brings_its_recipe_and_its_input(tmp_path):
    done = show("digits", "--model", "lenet5", "--image-size", "40x36", "--out", tmp_path / "sheet.svg")
    assert "lenet5 on digits, input 1×40×36" in done.stdout and (tmp_path / "sheet.svg").read_text().startswith("<?xml")
    found = json.loads(show("digits", "--model", "lenet5", "--out", tmp_path / "sheet.svg", "--json").stdout)
    assert (found["data"], found["recipe"], found["input"]) == ("digits", "lenet5", [1, 32, 32])
    assert found["classes"] == list("0123456789") and found["images"] > 1000


def test_pictures_keep_their_channels_where_no_network_is_named(stripes, tmp_path):
    for path in stripes.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    asked = [stripes, "--rows", 1, "--out", tmp_path / "sheet.png"]
    assert "modern on stripes, input 3×32×32" in show(*asked).stdout
    assert "input 1×32×32" in show(*asked, "--in-chans", 1).stdout
    assert "input 1×32×32" in show(*asked, "--model", "lenet5_modern").stdout


def test_wrong_words_are_told_before_anything_is_read(tmp_path):
    with pytest.raises(ConvatlasError, match=r"--out 'a.gif' is refused"):
        show(tmp_path / "nowhere", "--out", "a.gif")
    with pytest.raises(ConvatlasError, match="there is no recipe 'modem'; did you mean 'modern'"):
        show("digits", "--recipe", "modem")
    assert show("digits", "--rows", 0).exit_code == 2
