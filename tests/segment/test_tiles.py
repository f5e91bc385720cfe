"""Tiles give what the whole image gives; seams; what tiles need; symmetries."""

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.segment.picture import picture
from convatlas.segment.reach import margin_of, peak_bytes, tile_for_memory
from convatlas.segment.symmetry import CHOICES, EIGHT, averaged
from convatlas.segment.tiles import blocks, tiling
from parity import randomized

TINY = (2, 3, 4, 5, 6)


def tiny(name="unet", widths=TINY, **fields):
    torch.manual_seed(0)
    return randomized(convatlas.create_model(name, widths=widths, **fields).double())


def integers(net):
    """Small whole numbers for weights, few of them not 0: sums stay exact in float64 (below 2⁵³), in whatever order
    they are taken.
    """
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.copy_(torch.randint(-1, 2, tensor.shape, generator=dice)
                         * (torch.rand(tensor.shape, generator=dice) < 0.6))
    return net


def whole(net, image, border):
    """The scores of the image at once; for a network without padding it is mirrored up to a size that it takes."""
    height, width = image.shape[1:]
    if net.step == 1:
        return net(image[None])[0]
    sides = [side + 2 * border + (net.rest - side - 2 * border) % net.step for side in (height, width)]
    return net(picture(image).read(-border, -border, *sides)[None])[0][:, :height, :width]


def tiled(net, image, cut, bands=None, batch_size=1):
    out = torch.full((net.num_classes, *image.shape[1:]), torch.nan, dtype=image.dtype)
    for top, left, scores in blocks(cut, picture(image).read, net, bands, batch_size=batch_size):
        here = out[:, top : top + scores.shape[1], left : left + scores.shape[2]]
        assert here.isnan().all(), "each pixel once"
        here.copy_(scores)
    return out


@pytest.mark.parametrize(("tile", "size"), [(300, (301, 433)), (316, (97, 350)), (204, (13, 7)),
                                            (204, (1, 40)), (204, (35, 61))])
def test_tiles_equal_the_whole_image_exactly(tile, size):
    net = integers(tiny()).eval()
    image = torch.randint(-3, 4, (1, *size)).double()
    with torch.inference_mode():
        cut = tiling(net, size, tile)
        assert cut.overlap == 0 and cut.border == 92 and cut.size == size
        found = tiled(net, image, cut, batch_size=3)
        assert torch.equal(found, whole(net, image, 92)) and found.std() > 0


@pytest.mark.parametrize(("name", "widths", "tile", "size"), [
    ("unet", TINY, 300, (301, 233)), ("unet_same", TINY, 512, (97, 650)), ("unet_same", (2, 3, 4), 112, (301, 233)),
    ("unet_same", (2, 3, 4), 112, (5, 301))])
def test_tiles_equal_the_whole_image_with_any_weights(name, widths, tile, size):
    """Also padded networks, where tiles overlap by what a score depends on."""
    net = tiny(name, widths)
    image = torch.randn(net.in_chans, *size, dtype=torch.float64)
    with torch.inference_mode():
        cut = tiling(net, size, tile)
        assert cut.count > 1
        torch.testing.assert_close(tiled(net, image, cut, batch_size=2), whole(net, image, cut.border),
                                   rtol=0, atol=1e-12)


def test_deeper_networks_overlap_by_a_quarter_and_are_blended():
    net = tiny("unet_same")
    image = torch.randn(3, 200, 200, dtype=torch.float64)
    with torch.inference_mode():
        cut = tiling(net, (200, 200), 128)
        assert (cut.overlap, cut.margin) == (32, 8)
        for spans in (cut.rows, cut.columns):
            total = torch.zeros(200)
            for i, span in enumerate(spans):
                total[span.start : span.stop] += cut.weight(spans, i, total)
            torch.testing.assert_close(total, torch.ones(200))
        blended, expected = tiled(net, image, cut), whole(net, image, 0)
        abrupt = tiled(net, image, tiling(net, (200, 200), 128, 0))
    seams = [span.start for span in cut.rows[1:]]
    jump = [(x - expected)[:, seams].sub((x - expected)[:, [s - 1 for s in seams]]).abs().mean()
            for x in (blended, abrupt)]
    assert (blended - expected).abs().mean() < (abrupt - expected).abs().mean() / 2 and jump[0] < jump[1]


@pytest.mark.parametrize(("name", "widths", "tile"), [("unet", TINY, 220), ("unet_same", TINY, 128)])
def test_bands_do_not_depend_on_what_was_computed_before(name, widths, tile):
    net = tiny(name, widths)
    image = torch.randn(net.in_chans, 333, 150, dtype=torch.float64)
    with torch.inference_mode():
        cut = tiling(net, (333, 150), tile)
        everything = tiled(net, image, cut)
        for bands in ([0], [1, 2], [len(cut.rows) - 1]):
            part = tiled(net, image, cut, bands)
            assert torch.equal(part[~part.isnan()], everything[~part.isnan()])
        assert part.isnan().any() and not part[:, -1].isnan().any()


def test_a_deep_encoder_takes_tiles_of_any_image():
    torch.manual_seed(0)
    net = convatlas.create_model("unet_mobilenet_v2", encoder_fields=(("width", 0.25),),
                                 decoder_widths=(8, 8, 6, 6, 4)).double().eval()
    image = torch.randn(3, 150, 331, dtype=torch.float64)
    with torch.inference_mode():
        found = tiled(net, image, tiling(net, (150, 331), 128), batch_size=4)
        one = tiled(net, image[:, :30, :20], tiling(net, (30, 20), 128))
        torch.testing.assert_close(one, whole(net, image[:, :30, :20], 0))
    assert not found.isnan().any()


def test_what_a_score_depends_on_is_the_receptive_field():
    """3×3 convolutions add one pixel each at their level's stride, transposed ones of 2×2 none beyond their own cell.
    """
    net = tiny("unet_same", (2, 3))
    # top: 2 convolutions; bottom: 2 at stride 2; top again: 2. A cell of the bottom map sees 2·2 pixels beyond it
    image = torch.zeros(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    assert margin_of(net, 32, 2) == 2 + 2 * 2 + 2 == 8
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.abs_()
    net(image + 1)[0, :, 16 - 9].sum().backward()
    assert image.grad[0, :, 16:].abs().sum() == 0
    image.grad = None
    net(image + 1)[0, :, 16 - 8].sum().backward()
    assert image.grad[0, :, 16:].abs().sum() > 0
    assert margin_of(tiny("unet_same"), 64, 16) is None, "no strip of 64 is long enough"


def test_memory_is_predicted():
    """A convolution's input and output are there at once; the prediction grows as the area does."""
    net = convatlas.create_model("unet_same", widths=(8, 16, 32)).eval()
    small, large = peak_bytes(net, (128, 128)), peak_bytes(net, (256, 256))
    assert large / small == pytest.approx(4, rel=0.02)
    assert small >= (8 + 8 + 8) * 128 * 128 * 4
    assert 64 <= tile_for_memory(net, 4) <= 2048 and tile_for_memory(net, 4096) <= tile_for_memory(net)


@pytest.mark.parametrize(("tile", "overlap", "sentence"),
                         [(12, None, "tile = 12 is too small for unet_same: .* at least 16"),
                          (64, 48, "overlap = 48 is refused for tiles of 64: from 0 to 32"),
                          (64, -1, "overlap = -1"), (16, None, "at least 32")])
def test_impossible_plans(tile, overlap, sentence):
    with pytest.raises(convatlas.ConvatlasError, match=sentence):
        tiling(tiny("unet_same"), (100, 100), tile, overlap)
    if overlap is None:
        with pytest.raises(convatlas.ConvatlasError, match="at least 200"):
            tiling(tiny(), (100, 100), 190)


def test_the_eight_symmetries():
    x = torch.arange(12.0).reshape(1, 3, 4)
    assert len({tuple(s.apply(x).flatten().tolist()) + tuple(s.apply(x).shape) for s in EIGHT}) == 8
    assert all(torch.equal(s.undo(s.apply(x)), x) for s in EIGHT)
    assert {name: len(chosen) for name, chosen in CHOICES.items()} == {"none": 1, "flips": 4, "rotations": 4,
                                                                       "rotations7": 7, "all": 8}
    assert EIGHT[0] not in CHOICES["rotations7"]
    assert {tuple(s.apply(x).flatten().tolist()) for s in CHOICES["flips"]} == {
        tuple(y.flatten().tolist()) for y in (x, x.flip(1), x.flip(2), x.flip(1, 2))}


def test_averaging_turns_results_back():
    kernel = torch.randn(1, 1, 3, 3)
    x = torch.randn(2, 1, 8, 6)

    def predict(image):
        return F.conv2d(image, kernel, padding=1)

    mean = torch.stack([s.undo(predict(s.apply(x))) for s in EIGHT]).mean(0)
    torch.testing.assert_close(averaged(predict, "all")(x), mean)
    symmetric = torch.stack([s.apply(kernel) for s in EIGHT]).mean(0)
    torch.testing.assert_close(averaged(predict, "all")(x), F.conv2d(x, symmetric, padding=1))
    assert averaged(predict, "none") is predict
