"""The stratified split: proportions, the least of one, and the seed."""

import pytest
import torch

from convatlas.data.split import stratified


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_every_class_of_two_is_on_both_sides(fraction):
    labels = torch.tensor([0] * 50 + [1] * 2 + [2] * 7 + [3])
    kept, held = stratified(labels, fraction, seed=3)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(60))
    assert set(labels[held].tolist()) == {0, 1, 2}, "a class of one image stays in training"
    assert set(labels[kept].tolist()) == {0, 1, 2, 3}


def test_places_are_shared_in_proportion():
    labels = torch.arange(10).repeat(33)            # 330 images, ten classes, shuffled by construction
    _, held = stratified(labels, 0.1, seed=0)
    assert len(held) == 33 and set(torch.bincount(labels[held]).tolist()) == {3, 4}


def test_the_seed_decides_and_the_same_seed_repeats():
    labels = torch.arange(200) % 4
    first, again, other = (stratified(labels, 0.25, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other
