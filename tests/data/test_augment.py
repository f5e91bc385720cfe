"""Every augmentation against a slow, explicit reference, and the law of batches: a picture gets the same alone and
among others.
"""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from convatlas.data import augment as how
from convatlas.data import draws, make_transform
from convatlas.data.transform import EIGENVALUES, EIGENVECTORS
from convatlas.run import Augment, Preprocess

PLAIN = Preprocess(mean=(0.0,), std=(1.0,), crop_pct=1.0)
SEEDS = draws.image_seeds(3, 0, torch.arange(40))


def noise(n=40, c=3, h=12, w=17):
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(n + c + h + w))


# --- the law ----------------------------------------------------------------------------------------------------------

AUGMENTS = {
    "none": Augment(),
    "random crop": Augment(crop="random", padding=3),
    "reflect": Augment(crop="random", padding=3, padding_mode="reflect"),
    "short side": Augment(crop="random", short_side=(18, 30)),
    "resized crop": Augment(crop="resized"),
    "flip": Augment(flip=0.5),
    "affine": Augment(affine=(15, 0.1, 0.2, 10)),
    "elastic": Augment(elastic=2.0, padding_mode="reflect"),
    "elastic on affine": Augment(elastic=1.0, affine=(15, 0, 0, 0)),
    "jitter": Augment(jitter=(0.4, 0.4, 0.4, 0.1)),
    "pca": Augment(pca_colour=0.1),
    "trivial": Augment(policy="trivial"),
    "randaugment": Augment(policy="randaugment"),
    "autoaugment": Augment(policy="autoaugment"),
    "increasing": Augment(policy="randaugment_inc"),
    "erase": Augment(erase=0.7),
    "erase to noise": Augment(erase=0.7, erase_fill="noise"),
    "whole": Augment(crop="random", padding=2, flip=0.5, affine=(9, 0.1, 0.1, 5), elastic=1, pca_colour=0.1, erase=0.5),
    "everything": Augment(crop="resized", flip=0.5, affine=(9, 0.1, 0.1, 5), elastic=1, jitter=(0.4, 0.4, 0.4, 0.1),
                          pca_colour=0.1, policy="trivial", erase=0.5),
}
FOR_COLOR = {"pca", "whole", "everything"}
NOT_FOR_FOUR = {"jitter", "trivial", "randaugment", "increasing", "autoaugment"}


@pytest.mark.parametrize("size", [16, (13, 24)], ids=["square", "wide"])
@pytest.mark.parametrize(("name", "channels"), [
    *((name, 3) for name in AUGMENTS), *((name, 1) for name in AUGMENTS if name not in FOR_COLOR),
    *((name, 4) for name in AUGMENTS if name not in FOR_COLOR | NOT_FOR_FOUR)])
def test_a_batch_is_its_pictures(name, channels, size):
    transform = make_transform(Preprocess(), size, channels, AUGMENTS[name])
    assert transform.random == (name != "none")
    pictures, kept = noise(9, channels, 15, 21), noise(9, channels, 15, 21)
    state = torch.random.get_rng_state()
    batch = transform.batch(pictures, SEEDS[:9])
    assert batch.shape == (9, channels, *transform.size) and batch.dtype == torch.float32 and batch.is_contiguous()
    alone = [transform.seeded(picture, seed) for picture, seed in zip(pictures, SEEDS.tolist(), strict=False)]
    assert torch.equal(batch, torch.stack(alone)), "not even the last bit depends on the company"
    assert torch.equal(transform.batch(pictures.flip(0), SEEDS[:9].flip(0)), batch.flip(0))
    assert torch.equal(pictures, kept), "the data set's own memory is not written to"
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(transform.batch(pictures, SEEDS[9:18]), batch) != transform.random


def test_one_augmentation_does_not_change_the_draws_of_another():
    pictures = noise(40, 3, 16, 16)
    crop = make_transform(PLAIN, 16, 3, Augment(crop="random", padding=4)).batch(pictures, SEEDS)
    both = make_transform(PLAIN, 16, 3, Augment(crop="random", padding=4, flip=0.5)).batch(pictures, SEEDS)
    same = [torch.equal(a, b) for a, b in zip(crop, both, strict=True)]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(crop, both, strict=True)]
    assert all(s or m for s, m in zip(same, mirrored, strict=True)) and 5 < sum(mirrored) < 35


def test_a_set_that_is_not_augmented_is_left_alone():
    pictures = noise(5, 3, 16, 16)
    assert torch.equal(make_transform(PLAIN, 16, 3).batch(pictures, SEEDS[:5]), pictures / 255)


# --- where ------------------------------------------------------------------------------------------------------------

def mirror(i, length):
    """WRN's border by walking: … 2 1 | 0 1 2 3 | 2 1 …"""
    step = 1 if i >= 0 else -1
    place = 0
    direction = step
    for _ in range(abs(i)):
        if not 0 <= place + direction < length:
            direction = -direction
        place += direction
    return place


@pytest.mark.parametrize("pad", [0, 1, 4, 15])
@pytest.mark.parametrize("border", ["black", "reflect"])
def test_padding(border, pad):
    picture = noise(2, 3, 7, 9)
    out = how.padded(picture, pad, border)
    assert out.shape == (2, 3, 7 + 2 * pad, 9 + 2 * pad)
    for y in range(out.shape[2]):
        for x in range(out.shape[3]):
            i, j = y - pad, x - pad
            inside = 0 <= i < 7 and 0 <= j < 9
            expected = picture[:, :, mirror(i, 7), mirror(j, 9)] if inside or border == "reflect" else 0
            assert (out[:, :, y, x] == expected).all()


@pytest.mark.parametrize("border", ["black", "reflect"])
def test_a_random_crop_is_numpys_slice(border):
    pictures = noise(40, 3, 10, 13)
    transform = make_transform(PLAIN, (10, 13), 3, Augment(crop="random", padding=4, padding_mode=border))
    out = transform.batch(pictures, SEEDS)
    places = draws.uniforms(SEEDS, 2, "window").double()
    for picture, place, ours in zip(pictures.numpy(), places.tolist(), out, strict=True):
        wide = np.pad(picture, [(0, 0), (4, 4), (4, 4)], mode="constant" if border == "black" else "reflect")
        top, left = int(place[0] * 9), int(place[1] * 9)
        assert np.array_equal(wide[:, top : top + 10, left : left + 13] / np.float32(255), ours)


def test_windows_are_everywhere_equally_often():
    ramp = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5).expand(4000, 1, 5, 5)
    corner = how.windows(ramp, (4, 3), draws.image_seeds(0, 0, torch.arange(4000)))[:, 0, 0, 0]
    values, counts = corner.unique(return_counts=True)
    assert values.tolist() == [0, 1, 2, 5, 6, 7] and abs(counts / 4000 - 1 / 6).max() < 0.03


@pytest.mark.parametrize("have", [(5, 5), (8, 8), (9, 4), (20, 31), (7, 10)])
def test_the_centre_is_torchvisions(have):
    from torchvision.transforms.v2 import functional as F

    picture = noise(2, 3, *have)
    for size in ((8, 8), (5, 12), (4, 3)):
        assert torch.equal(how.centered(picture, size), F.center_crop(picture, list(size)))


def test_mirror_images():
    pictures = noise()
    chosen = draws.uniforms(SEEDS, 1, "flip")[:, 0] < 0.3
    out = how.mirrored(pictures, 0.3, SEEDS)
    assert 4 < chosen.sum() < 22
    for picture, turned, ours in zip(pictures, chosen, out, strict=True):
        for x in range(17):
            assert torch.equal(ours[:, :, x], picture[:, :, 16 - x if turned else x])


def test_scale_jitter_resizes_the_short_side_and_crops():
    from torchvision.transforms.v2 import functional as F

    pictures = noise(40, 3, 24, 36)
    transform = make_transform(PLAIN, 20, 3, Augment(crop="random", short_side=(20, 33)))
    sides = how.short_sides((20, 33), SEEDS)
    assert min(sides) <= 22 and max(sides) >= 31 and len(set(sides)) > 8
    out = transform.batch(pictures, SEEDS)
    for picture, side, place, ours in zip(pictures, sides, draws.uniforms(SEEDS, 2, "window").tolist(),
                                          out, strict=True):
        resized = F.resize(picture, [side], antialias=True)
        assert resized.shape[1] == side
        top, left = int(place[0] * (side - 19)), int(place[1] * (resized.shape[2] - 19))
        assert torch.equal(ours, resized[:, top : top + 20, left : left + 20] / 255)


def test_a_scale_that_is_one_length_is_that_length():
    assert set(how.short_sides((256, 256), SEEDS)) == {256}
    assert set(how.short_sides((5, 7), draws.image_seeds(0, 0, torch.arange(300)))) == {5, 6, 7}


def explicit_box(size, area, aspect, row):
    h, w = size
    for k in range(how.TRIES):
        wanted = h * w * (area[0] + row[k] * (area[1] - area[0]))
        ratio = math.exp(math.log(aspect[0]) + row[how.TRIES + k] * (math.log(aspect[1]) - math.log(aspect[0])))
        height, width = round(math.sqrt(wanted / ratio)), round(math.sqrt(wanted * ratio))
        if 0 < height <= h and 0 < width <= w:
            return int(row[-2] * (h - height + 1)), int(row[-1] * (w - width + 1)), height, width
    return None


@pytest.mark.parametrize("size", [(40, 50), (8, 200)])
def test_boxes_by_ten_tries(size):
    seeds = draws.image_seeds(0, 0, torch.arange(300))
    found, fits = how.boxes(size, (0.08, 1), (3 / 4, 4 / 3), seeds, "x")
    rows = draws.uniforms(seeds, 2 * how.TRIES + 2, "x").tolist()
    expected = [explicit_box(size, (0.08, 1), (3 / 4, 4 / 3), row) for row in rows]
    assert fits.tolist() == [box is not None for box in expected]
    assert [tuple(box) for box, ok in zip(found.tolist(), fits, strict=True) if ok] == [box for box in expected if box]


def test_inception_crops_keep_the_area_and_the_aspect_that_are_asked():
    seeds = draws.image_seeds(0, 0, torch.arange(3000))
    top, left, h, w = how.inception_boxes((500, 500), (0.2, 0.5), (0.5, 2), seeds).T.double()
    area, aspect = h * w / 500**2, w / h
    assert area.min() > 0.19 and area.max() < 0.51 and aspect.min() > 0.49 and aspect.max() < 2.02
    assert abs(area.mean() - 0.35) < 0.01 and abs(aspect.log().mean()) < 0.03
    assert (top >= 0).all() and (left >= 0).all() and (top + h <= 500).all() and (left + w <= 500).all()
    assert abs((top / (500 - h)).mean() - 0.5) < 0.03 and abs((left / (500 - w)).mean() - 0.5) < 0.03


@pytest.mark.parametrize("size", [(10, 100), (100, 10), (60, 60)])
def test_where_no_try_fits_the_crop_is_torchvisions(size):
    from torchvision.transforms.v2 import RandomResizedCrop

    scale, ratio = (1.4, 1.5), (3 / 4, 4 / 3)
    theirs = RandomResizedCrop(8, scale=scale, ratio=ratio).make_params([torch.zeros(3, *size)])
    ours = how.inception_boxes(size, scale, ratio, SEEDS)
    assert (ours == torch.tensor([theirs[k] for k in ("top", "left", "height", "width")])).all()


def test_a_resized_crop_is_the_box_resized():
    from torchvision.transforms.v2 import functional as F

    pictures = noise(40, 3, 30, 40)
    out = make_transform(PLAIN, 16, 3, Augment(crop="resized")).batch(pictures, SEEDS)
    for picture, box, ours in zip(pictures, how.inception_boxes((30, 40), (0.08, 1), (3 / 4, 4 / 3), SEEDS).tolist(),
                                  out, strict=True):
        assert torch.equal(ours, F.resized_crop(picture, *box, [16, 16], antialias=True) / 255)


# --- shape ------------------------------------------------------------------------------------------------------------

def read_at(picture, y, x, border):
    mode = {"black": "grid-constant", "reflect": "mirror"}[border]
    return np.stack([map_coordinates(channel.double().numpy(), [y, x], order=1, mode=mode) for channel in picture])


@pytest.mark.parametrize("border", ["black", "reflect"])
def test_affine_distortion_undoes_the_matrix(border):
    pictures, most = noise(20, 3, 12, 17), (30, 0.2, 0.3, 20)
    transform = make_transform(PLAIN, (12, 17), 3, Augment(affine=most, padding_mode=border))
    out = transform.batch(pictures, SEEDS[:20])
    for picture, u, ours in zip(pictures, draws.uniforms(SEEDS[:20], 6, "affine").double().tolist(), out, strict=True):
        turn, slant, right, down, wider, higher = (2 * value - 1 for value in u)
        angle = math.radians(30) * turn
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        shear = np.array([[1, math.tan(math.radians(20) * slant)], [0, 1]])
        scale = np.diag([1 + 0.3 * wider, 1 + 0.3 * higher])
        back = np.linalg.inv(rotation @ shear @ scale)      # a point is scaled, sheared, turned, then shifted
        y, x = np.mgrid[:12, :17].astype(float)
        for i in range(12):
            for j in range(17):
                x[i, j], y[i, j] = back @ [j - 8 - 0.2 * 17 * right, i - 5.5 - 0.2 * 12 * down] + [8, 5.5]
        assert np.abs(read_at(picture, y, x, border) / 255 - ours.numpy()).max() < 1e-4


@pytest.mark.parametrize("k", range(4))
def test_each_distortion_alone_is_within_its_range(k):
    most = tuple(value if i == k else 0 for i, value in enumerate((20, 0.25, 0.1, 15)))
    field = how.affine_field(most, (11, 11), draws.image_seeds(0, 0, torch.arange(500))).double()
    right_of_center, below_center, center = field[:, :, 5, 6], field[:, :, 6, 5], field[:, :, 5, 5]
    if k == 1:
        assert (field == field[:, :, :1, :1]).all(), "a shift is the same everywhere"
        assert 2.7 < field.abs().max() <= 0.25 * 11 and abs(field.mean()) < 0.15
        return
    assert center.abs().max() < 1e-6
    if k == 0:
        length = ((right_of_center + torch.tensor([1.0, 0.0])) ** 2).sum(1)
        angle = torch.atan2(right_of_center[:, 1], 1 + right_of_center[:, 0]).rad2deg()
        assert (length - 1).abs().max() < 1e-5 and 19 < angle.abs().max() <= 20.01
    if k == 2:
        wider, higher = 1 / (1 + right_of_center[:, 0]), 1 / (1 + below_center[:, 1])
        assert 0.9 - 1e-5 <= wider.min() < 0.905 and 1.095 < wider.max() < 1.1 + 1e-5
        assert abs(torch.corrcoef(torch.stack([wider, higher]))[0, 1]) < 0.2, "apart, which squeezes"
    if k == 3:
        assert right_of_center.abs().max() < 1e-6 and below_center[:, 1].abs().max() < 1e-6
        assert 0.95 * math.tan(math.radians(15)) < below_center[:, 0].abs().max() <= math.tan(math.radians(15)) + 1e-6


def cubic(coarse, place):
    """Cubic convolution (Keys, a = −0.75) of the values `coarse` at `place`, the ends repeated."""
    a, total = -0.75, 0.0
    for k in range(math.floor(place) - 1, math.floor(place) + 3):
        d = abs(place - k)
        weight = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        total += weight * coarse[min(max(k, 0), len(coarse) - 1)]
    return total


def bicubic(coarse, h, w):
    g = len(coarse)
    rows = [[cubic(line, j * (g - 1) / (w - 1)) for j in range(w)] for line in coarse]
    return np.array([[cubic([row[j] for row in rows], i * (g - 1) / (h - 1)) for j in range(w)] for i in range(h)])


@pytest.mark.parametrize(("grid", "border"), [(3, "black"), (3, "reflect"), (2, "reflect"), (5, "reflect")])
def test_elastic_deformation(grid, border):
    pictures = noise(3, 3, 20, 27)
    transform = make_transform(PLAIN, (20, 27), 3, Augment(elastic=2.5, elastic_grid=grid, padding_mode=border))
    out = transform.batch(pictures, SEEDS[:3])
    vectors = draws.normals(SEEDS[:3], 2 * grid * grid, "elastic").double().view(3, 2, grid, grid).numpy() * 2.5
    y, x = np.mgrid[:20, :27].astype(float)
    for picture, (dx, dy), ours in zip(pictures, vectors, out, strict=True):
        expected = read_at(picture, y + bicubic(dy, 20, 27), x + bicubic(dx, 20, 27), border)
        assert np.abs(expected / 255 - ours.numpy()).max() < 1e-4


def test_elastic_displacements_have_the_deviation_that_is_asked_at_the_grids_points():
    field = how.displacement(draws.image_seeds(0, 0, torch.arange(2000)), 3, 10.0, (41, 61))
    assert field.shape == (2000, 2, 41, 61)
    assert abs(field[:, :, ::20, ::30].std() - 10) < 0.3 and field[:, 0, 0, 0].mean().abs() < 1


def test_labels_move_with_their_picture_and_are_never_mixed():
    labels = torch.tensor([0, 7, 255])[torch.randint(0, 3, (4, 1, 18, 22), generator=torch.Generator().manual_seed(1))]
    field = how.displacement(SEEDS[:4], 3, 2.0, (18, 22))
    moved = how.deform(labels, field, "nearest", "reflect")
    assert moved.dtype == torch.int64 and set(moved.unique().tolist()) == {0, 7, 255}
    for one, (dx, dy), ours in zip(labels, field.double().numpy(), moved, strict=True):
        for i in range(18):
            for j in range(22):
                y, x = i + dy[i, j], j + dx[i, j]
                if min(abs(y % 1 - 0.5), abs(x % 1 - 0.5)) > 1e-4:      # not where rounding decides
                    assert ours[0, i, j] == one[0, mirror(round(y), 18), mirror(round(x), 22)]


def test_a_field_of_zeros_changes_nothing_and_one_of_whole_pixels_shifts():
    pictures = noise(2, 3, 9, 9)
    field = torch.zeros(2, 2, 9, 9)
    assert torch.equal(how.deform(pictures, field, "nearest"), pictures)
    field[:, 0], field[:, 1] = 2, -1        # what is seen lies 2 to the right and 1 above
    shifted = how.deform(pictures, field, "nearest")
    assert (torch.equal(shifted[:, :, 1:, :7], pictures[:, :, :8, 2:]) and not shifted[:, :, 0].any()
            and not shifted[:, :, :, 7:].any())
    with pytest.raises(ValueError, match="need a field"):
        how.deform(pictures, field[:1])


# --- colour -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("most", [(0.4, 0.4, 0.4, 0.1), (0, 0, 0, 0.5), (1.5, 0, 0, 0), (0.3, 0.6, 0, 0)])
def test_jitter_is_torchvisions_operations_one_after_the_other(most):
    from torchvision.transforms.v2 import functional as F

    pictures = noise(20)
    out = how.jittered(pictures, most, SEEDS[:20])
    orders = set()
    for picture, u, ours in zip(pictures, draws.uniforms(SEEDS[:20], 8, "jitter").double().tolist(), out, strict=True):
        order = sorted(range(4), key=lambda k, u=u: u[4 + k])
        orders.add(tuple(order))
        for k in order:
            low = max(0, 1 - most[k])
            if most[k] and k < 3:
                operation = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[k]
                picture = operation(picture, low + u[k] * (1 + most[k] - low))
            elif most[k]:
                picture = F.adjust_hue(picture, (2 * u[3] - 1) * most[3])
        assert (ours.int() - picture.int()).abs().max() <= 1, "the factor's last bit may round a pixel elsewhere"
        assert (ours != picture).float().mean() < 0.01
    assert len(orders) > 5


def test_colour_noise_by_loops():
    black = torch.zeros(40, 3, 2, 2, dtype=torch.uint8)
    out = make_transform(PLAIN, 2, 3, Augment(pca_colour=0.1)).batch(black, SEEDS)
    for ours, z in zip(out, draws.normals(SEEDS, 3, "pca").double().tolist(), strict=True):
        for channel in range(3):
            noise = sum(0.1 * z[k] * EIGENVALUES[k] * EIGENVECTORS[channel][k] for k in range(3))
            assert ours[channel].flatten().tolist() == pytest.approx([noise] * 4, abs=1e-7)


def test_colour_noise_of_ones_own_data():
    values, vectors = torch.tensor([0.5, 0.0, 0.0]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    transform = make_transform(PLAIN, 1, 3, Augment(pca_colour=1.0, pca_from="data"),
                               fitted={"pca_values": values, "pca_vectors": vectors})
    out = transform.batch(torch.zeros(40, 3, 1, 1, dtype=torch.uint8), SEEDS)[:, :, 0, 0]
    assert torch.allclose(out[:, 1], draws.normals(SEEDS, 3, "pca")[:, 0] / 2) and not out[:, [0, 2]].any()


@pytest.mark.parametrize("name", ["trivial", "randaugment", "autoaugment"])
def test_policies_are_torchvisions(name):
    from torchvision.transforms import v2

    policy = {"trivial": v2.TrivialAugmentWide(), "randaugment": v2.RandAugment(3, 12),
              "autoaugment": v2.AutoAugment()}[name]
    pictures = noise(40, 3, 32, 32)
    ours = make_transform(PLAIN, 32, 3, Augment(policy=name, policy_ops=3, policy_magnitude=12)).batch(pictures, SEEDS)
    assert (ours != pictures / 255).flatten(1).any(1).sum() > 15
    for picture, seed, mine in zip(pictures, draws.derived(SEEDS, "policy").tolist(), ours, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            assert torch.equal(mine, policy(picture) / 255)


# --- after normalisation ----------------------------------------------------------------------------------------------

def test_erasing_by_loops():
    values = torch.rand(40, 3, 20, 30) + 1
    out = how.erased(values, 0.6, SEEDS)
    chosen = (draws.uniforms(SEEDS, 1, "erase")[:, 0] < 0.6).tolist()
    assert 15 < sum(chosen) < 35
    rows = draws.uniforms(SEEDS, 2 * how.TRIES + 2, "erased box").tolist()
    for before, after, hit, row in zip(values, out, chosen, rows, strict=True):
        expected = before.clone()
        box = explicit_box((20, 30), (0.02, 0.33), (0.3, 3.3), row)
        if hit and box:
            top, left, h, w = box
            for y in range(top, top + h):
                for x in range(left, left + w):
                    expected[:, y, x] = 0
        assert torch.equal(after, expected)


def test_a_share_of_2_to_33_percent_is_erased():
    values = torch.ones(2000, 1, 100, 100)
    share = 1 - how.erased(values, 1.0, draws.image_seeds(0, 0, torch.arange(2000))).mean((1, 2, 3))
    assert share.min() > 0.015 and share.max() < 0.335 and abs(share.mean() - 0.175) < 0.01
    assert torch.equal(how.erased(values, 0.0, SEEDS[:1].expand(2000)), values)


def test_erased_pixels_are_the_mean():
    transform = make_transform(Preprocess(), 32, 3, Augment(erase=1.0))
    out = transform.batch(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8), SEEDS[:1])
    assert 0.01 < (out == 0).float().mean() < 0.4 and (out[out != 0] > 2).all()
