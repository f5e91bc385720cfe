"""Tiles drawn on an image: what is scored and seen, mirrored pixels, a picture that can be read."""

import json

import pytest
import torch
from drawn import assert_readable, words
from PIL import Image

import convatlas
from convatlas.cli.inspections.overlap_tile import overlap_tile as command
from convatlas.errors import ConvatlasError
from convatlas.inspect.overlap_tile import Box, draw, overlap_tile

FIELDS = {"widths": (2, 2, 2), "image_size": 44}


@pytest.fixture(scope="module")
def valid():
    return convatlas.create_model("unet", **FIELDS).eval()


@pytest.fixture
def image():
    return torch.randint(0, 256, (1, 50, 60), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_tile_is_seen_with_its_border_and_mirrors_stand_outside(valid, image):
    found = overlap_tile(valid, image)
    border = (44 - valid.output_size(44, 44)[0]) // 2
    assert found.tiling.border == border == 20 and found.tiling.count == len(found.scored) == 13 * 15
    assert found.scored[0] == Box(0, 0, 4, 4) and found.seen[0] == Box(-20, -20, 24, 24)
    assert found.origin == (-20, -20)
    #   every pixel once
    counts = torch.zeros(50, 60)
    for box in found.scored:
        counts[box.top : box.bottom, box.left : box.right] += 1
    assert counts.eq(1).all()
    assert torch.equal(found.whole[:, 20:70, 20:80], image)
    assert torch.equal(found.whole[0, 20, 10:20], image[0, 0, 1:11].flip(0))       # left of the image
    assert torch.equal(found.whole[0, 10:20, 20], image[0, 1:11, 0].flip(0))       # above it
    x = found.whole[:, :44, :44].float()[None]
    assert valid(x).shape[2:] == (4, 4)


def test_a_padded_networks_tiles_overlap_and_need_no_mirror(image):
    net = convatlas.create_model("unet_same", **FIELDS | {"in_chans": 1})
    found = overlap_tile(net, image, tile=32, overlap=8)
    assert found.origin == (0, 0) and found.tiling.overlap == 8 and found.scored == found.seen
    assert torch.equal(found.whole, image)
    told = " ".join(words(draw(found)))
    assert "share 8 pixels" in told


@pytest.mark.parametrize("chosen", [0, 100])
def test_the_picture_can_be_read(valid, image, chosen):
    figure = draw(overlap_tile(valid, image, chosen=chosen))
    assert_readable(figure)
    assert f"tile {chosen} of 195" in words(figure) and "44×44 pixels give scores of 4×4" in words(figure)


def test_a_tile_that_is_not_there_is_told(valid, image):
    with pytest.raises(ConvatlasError, match="tile number 195 is refused: there are tiles 0 to 194"):
        overlap_tile(valid, image, chosen=195)
    with pytest.raises(ConvatlasError, match="tile = 20 is too small"):
        overlap_tile(valid, image, 20)


def test_the_command(valid, tmp_path, capsys):
    path = convatlas.save(valid, tmp_path / "net.safetensors")
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "cell.png")
    command(str(path), tmp_path / "cell.png", tile=60, out=tmp_path / "tile.png", json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["image"] == [30, 40] and told["border"] == 20 and len(told["tiles"]) == 2 * 2
    assert told["tiles"][0] == {"scored": {"top": 0, "left": 0, "bottom": 20, "right": 20},
                                "seen": {"top": -20, "left": -20, "bottom": 40, "right": 40}}
    assert (tmp_path / "tile.png").stat().st_size > 3000
