"""Patches to train on, weight maps, judging: against slow references."""

import math

import numpy as np
import pytest
import torch

import convatlas
from convatlas.data.augment import deform, displacement
from convatlas.data.draws import normals
from convatlas.engine.distributed import World
from convatlas.run import Augment, Loss, Preprocess
from convatlas.segment.border_weights import border_weights, parted
from convatlas.segment.patches import PatchLoader, WholeImages
from convatlas.segment.validation import validate, whole_scores
from convatlas.zoo import transforms

ALONE = World(0, 1, torch.device("cpu"))
PLAIN = Preprocess(mean=(0.0,), std=(1 / 255,))       # pixels as they are


class Same:
    """Pairs whose mask is the image: what moves one must move the other."""

    name = "same"

    def __init__(self, count=4, size=(60, 76)):
        dice = torch.Generator().manual_seed(1)
        self.maps = [(torch.rand(1, 1, 5, 6, generator=dice) > 0.5).float() for _ in range(count)]
        self.maps = [torch.nn.functional.interpolate(each, size)[0, 0].long() for each in self.maps]

    def __len__(self):
        return len(self.maps)

    def image(self, index):
        return (self.maps[index][None] * 200).to(torch.uint8)

    def classes_of(self, index):
        return self.maps[index]

    def instances_of(self, index):
        return self.maps[index]

    def file_of(self, index):
        return str(index)


def tiny(padding="valid", size=44, **fields):
    return convatlas.create_model("unet", widths=(4, 8), padding=padding, image_size=size, **fields)


def loader(net, augment, pairs=None, loss=None, **options):
    chosen = {"seed": 0, "shuffle": False, "rank": 0, "world": 1, "workers": 0, "strict": True, **options}
    return PatchLoader(pairs or Same(), net, PLAIN, augment, loss or Loss(), 2, **chosen)


@pytest.mark.parametrize("augment", [Augment(), Augment(flip=0.5, turns=True), Augment(flip=1.0), Augment(turns=True)])
def test_image_and_mask_stay_together(augment):
    net = tiny()
    for epoch in range(3):
        for batch in loader(net, augment).epoch(epoch):
            assert batch.images.shape == (2, 1, 44, 44) and batch.labels.shape == (2, 2, *net.output_size(44, 44))
            edge = (44 - batch.labels.shape[2]) // 2
            inner = batch.images[:, 0, edge:-edge, edge:-edge]
            assert torch.equal((inner / 200).round().long(), batch.labels[:, 0].long())
            assert (batch.labels[:, 1] == 1).all()


def test_deformation_moves_both_alike():
    augment = Augment(elastic=4.0, affine=(20, 0.05, 0.1, 5))
    for batch in loader(tiny("same"), augment, Same(size=(120, 120))).epoch(0):
        near = (batch.images[:, 0] > 100) != (batch.labels[:, 0] > 0.5)
        assert near.float().mean() < 0.03           # interpolation at the edges only
        assert batch.labels[:, 0].unique().tolist() == [0, 1]


def test_elastic_deformation_against_a_loop():
    """U-Net section 3.1: Gaussian displacements at 3×3 points, cubic convolution between them, the picture read
    bilinearly there.
    """
    high, wide = 21, 17
    seed = torch.tensor([5])
    coarse = normals(seed, 18, "elastic").view(2, 3, 3).double() * 2.5

    def kernel(t):      # Keys 1981 with a = −3/4
        t = abs(t)
        return 1.25 * t**3 - 2.25 * t**2 + 1 if t <= 1 else -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0

    def between(points, y, x):
        total, (top, left) = 0.0, (math.floor(y), math.floor(x))
        for i in range(top - 1, top + 3):
            for j in range(left - 1, left + 3):
                total += float(points[min(max(i, 0), 2), min(max(j, 0), 2)]) * kernel(y - i) * kernel(x - j)
        return total

    field = displacement(seed, 3, 2.5, (high, wide))
    image = torch.rand(1, 1, high, wide, dtype=torch.float64)
    moved = deform(image.float(), field, border="reflect")
    mirror = np.pad(image[0, 0].numpy(), 30, mode="reflect")
    for y in range(0, high, 3):
        for x in range(0, wide, 2):
            dx, dy = (between(coarse[k], y * 2 / (high - 1), x * 2 / (wide - 1)) for k in (0, 1))
            assert (float(field[0, 0, y, x]), float(field[0, 1, y, x])) == pytest.approx((dx, dy), abs=1e-4)
            row, column = y + dy + 30, x + dx + 30
            i, j = math.floor(row), math.floor(column)
            part = mirror[i : i + 2, j : j + 2]
            expected = np.array([i + 1 - row, row - i]) @ part @ np.array([j + 1 - column, column - j])
            assert moved[0, 0, y, x].item() == pytest.approx(expected, abs=1e-4)


def test_images_smaller_than_a_patch_are_mirrored():
    pairs = Same(size=(9, 30))
    patch = next(loader(tiny("same", 40), Augment(), pairs).epoch(0)).images[0, 0]
    whole = np.pad(pairs.image(0)[0].numpy(), 40, mode="reflect").astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (40, 40)).reshape(-1, 40, 40)
    assert (windows == patch.round().numpy()).all(axis=(1, 2)).any()


def test_a_patch_depends_on_seed_epoch_and_index_only():
    augment = Augment(elastic=3.0, flip=0.5, turns=True, jitter=(0.2, 0.2, 0, 0))
    one = [batch.images for batch in loader(tiny(), augment).epoch(1)]
    late = [batch.images for batch in loader(tiny(), augment).epoch(1, start=1)]
    shared = [next(loader(tiny(), augment, rank=rank, world=2).epoch(1)).images for rank in (0, 1)]
    assert torch.equal(one[1], late[0]) and torch.equal(one[0], torch.cat(shared))
    assert not torch.equal(one[0], next(loader(tiny(), augment).epoch(2)).images)
    aside = [batch.images for batch in loader(tiny(), augment, workers=1).epoch(1)]
    assert all(torch.equal(a, b) for a, b in zip(one, aside, strict=True))


def test_the_weight_map_is_the_paper_s():
    """Against distances from every pixel to every pixel of every cell."""
    instances = torch.zeros(24, 26, dtype=torch.int64)
    instances[3:10, 3:9], instances[4:12, 12:18], instances[16:22, 5:20] = 1, 2, 3
    found = border_weights(instances)
    for y in range(0, 24, 3):
        for x in range(0, 26, 3):
            if instances[y, x]:
                assert found[y, x] == 0
                continue
            distances = sorted(min(math.hypot(y - int(a), x - int(b)) for a, b in (instances == k).nonzero())
                               for k in (1, 2, 3))
            assert found[y, x].item() == pytest.approx(10 * math.exp(-((distances[0] + distances[1]) ** 2) / 50),
                                                       abs=1e-6)
    assert border_weights(torch.zeros(5, 5, dtype=torch.int64)).max() == 0
    assert border_weights((instances == 1).long()).max() == 0       # of one cell there is no second nearest


def test_touching_cells_are_parted_by_one_pixel():
    instances = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 0]])
    assert parted(instances).tolist() == [[1, 0, 2, 2], [0, 0, 0, 2], [3, 3, 3, 0]]


def test_the_border_counts_in_training():
    class Two(Same):
        def instances_of(self, index):
            return self.maps[index] * 0 + torch.arange(self.maps[index].shape[1])[None].ge(38) + 1

    batch = next(loader(tiny("same", 64), Augment(), Two(), Loss(border=10.0)).epoch(0))
    assert batch.labels[:, 1].max() > 5 and batch.labels[:, 1].min() == 1


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_whole_scores_are_the_network_s(padding):
    net = tiny(padding).eval().double()
    pixels = torch.randn(1, 37, 50, dtype=torch.float64)
    with torch.inference_mode():
        found = whole_scores(net, pixels)
        if padding == "same":
            expected = net(pixels[None])[0]
        else:
            padded = torch.from_numpy(np.pad(pixels.numpy(), [(0, 0), (8, 60), (8, 60)], mode="reflect"))
            high, wide = (next(s for s in range(side + 16, side + 40) if net.accepts((s, s))) for side in (37, 50))
            expected = net(padded[None, :, :high, :wide])[0, :, :37, :50]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_judging_counts_pixels_and_leaves_out_those_that_do_not_count():
    class Ignored(Same):
        def classes_of(self, index):
            classes = self.maps[index].clone()
            classes[:10] = 255
            return classes

    net, pairs = tiny("same").eval(), Ignored(3)
    images = WholeImages(pairs, transforms(net))
    found = validate(net, images, Loss(), ALONE, 2, None)
    table = torch.zeros(2, 2, dtype=torch.int64)
    losses = []
    for index in range(3):
        with torch.inference_mode():
            scores = net(images.pixels(index)[None])
        losses.append(torch.nn.functional.cross_entropy(scores, pairs.classes_of(index)[None], ignore_index=255).item())
        for true, guess in zip(pairs.classes_of(index).flatten().tolist(),
                               scores[0].argmax(0).flatten().tolist(), strict=True):
            if true != 255:
                table[true, guess] += 1
    assert torch.equal(found.confusion, table) and found.count == 3
    assert found.loss == pytest.approx(sum(losses) / 3, rel=1e-4)
    shares = [WholeImages(pairs, transforms(net), rank=rank, world=2) for rank in (0, 1)]
    assert torch.equal(sum(validate(net, share, Loss(), ALONE, 2, None).confusion for share in shares), table)
