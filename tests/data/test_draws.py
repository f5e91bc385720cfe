"""Random numbers per picture: uniform, independent of each other, and the same for ever."""

import math

import pytest
import torch

from convatlas.data import draws

SEEDS = draws.image_seeds(0, 0, torch.arange(20_000))


def test_uniforms_are_uniform():
    u = draws.uniforms(SEEDS, 8, "x")
    assert u.dtype == torch.float32 and u.shape == (20_000, 8) and u.min() >= 0 and u.max() < 1
    assert (u.mean(0) - 1 / 2).abs().max() < 5 * math.sqrt(1 / 12 / 20_000)
    assert (u.var(0) - 1 / 12).abs().max() < 0.003
    counts = torch.histc(u, 256, 0, 1)
    chi2 = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert abs(chi2 - 255) < 5 * math.sqrt(2 * 255)


def test_normals_are_normal():
    z = draws.normals(SEEDS, 4, "x").double().flatten()
    moments = [float((z**k).mean()) for k in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.08)
    assert float((z.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.008)


@pytest.mark.parametrize("other", [
    draws.uniforms(SEEDS, 1, "y")[:, 0],                                            # another augmentation
    draws.uniforms(SEEDS, 2, "x")[:, 1],                                            # the next number
    draws.uniforms(SEEDS.roll(1), 1, "x")[:, 0],                                    # the next picture
    draws.uniforms(draws.image_seeds(0, 1, torch.arange(20_000)), 1, "x")[:, 0],    # the next epoch
    draws.uniforms(draws.image_seeds(1, 0, torch.arange(20_000)), 1, "x")[:, 0],    # the next seed
    draws.uniforms(draws.derived(SEEDS, "x"), 1, "x")[:, 0],
], ids=["salt", "number", "picture", "epoch", "seed", "derived"])
def test_draws_are_not_correlated(other):
    here = draws.uniforms(SEEDS, 1, "x")[:, 0]
    assert abs(float(torch.corrcoef(torch.stack([here, other]))[0, 1])) < 5 / math.sqrt(20_000)


def test_seeds_of_neighbours_are_as_good_as_any():
    """Seeds 0, 1, 2 … themselves, not hashed before: the generator must not rely on good seeds."""
    u = draws.uniforms(torch.arange(20_000), 2, "x")
    assert abs(float(u.mean()) - 0.5) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([u[:-1, 0], u[1:, 0]]))[0, 1])) < 5 / math.sqrt(20_000)


def test_a_picture_draws_the_same_alone_and_in_a_batch():
    for draw in (draws.uniforms, draws.normals):
        batch = draw(SEEDS[:33], 7, "x")
        assert all(torch.equal(draw(SEEDS[i : i + 1], 7, "x")[0], batch[i]) for i in range(33))
        assert torch.equal(draw(SEEDS[:33], 5, "x"), batch[:, :5])


def test_no_two_pictures_of_a_run_share_a_seed():
    seeds = torch.cat([draws.image_seeds(seed, epoch, torch.arange(1000)) for seed in range(-5, 5)
                       for epoch in range(10)])
    assert seeds.min() >= 0 and len(seeds.unique()) == 100_000


def test_the_numbers_of_splitmix64():
    """Vigna's splitmix64.c started from 0 gives these; our words are its outputs, whatever the start."""
    def word(state):
        z = state % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    assert word(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    start = 123456789
    ours = draws._mixed(draws._words([start]) + draws._words([0x9E3779B97F4A7C15]))
    assert int(ours[0]) == word(start + 0x9E3779B97F4A7C15)


def test_numbers_stay_the_same_from_version_to_version():
    """Or a run that goes on after an upgrade would see other pictures."""
    assert draws.image_seeds(1, 2, torch.tensor([0, 3])).tolist() == [7039404440504493199, 8998960587169179762]
    assert draws.uniforms(torch.tensor([7]), 2, "flip")[0].tolist() == [0.19222837686538696, 0.20488649606704712]
    assert draws.normals(torch.tensor([7]), 2, "pca")[0].tolist() == pytest.approx([-1.40577018, 1.69945359], abs=1e-7)


def test_integers_never_reach_their_end():
    last = torch.tensor([1 - 2**-24])
    assert [int(draws.below(last, n)) for n in (1, 3, 9, 2**20)] == [0, 2, 8, 2**20 - 1]
    assert float(draws.between(last, -2, 2)) < 2
