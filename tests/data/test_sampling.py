"""Balanced draws: every class equally often, every picture of a class once before any comes again, exact on resume."""

import pytest
import torch

from convatlas import ConvatlasError
from convatlas.data import Loader, Tensors, make_transform
from convatlas.data.sampling import balanced
from convatlas.run import Augment, Preprocess

LABELS = torch.tensor([0] * 50 + [1] * 7 + [2] * 3)     # 60 draws: 20 of each


def test_every_class_equally_often_and_all_its_pictures_in_turn():
    for epoch in range(5):
        draws = balanced(LABELS, 1, epoch)
        assert torch.bincount(LABELS[draws % 60]).tolist() == [20, 20, 20] and len(draws.unique()) == 60
    through = torch.cat([balanced(LABELS, 1, epoch) % 60 for epoch in range(5)])
    assert sorted(torch.bincount(through)[:50].tolist()) == [2] * 50, "100 draws of 50 pictures: two whole rounds"
    counts = torch.bincount(balanced(LABELS, 1, 0) % 60, minlength=60)
    assert {*counts[50:57].tolist()} == {2, 3} and {*counts[57:].tolist()} == {6, 7}


def test_what_does_not_divide_differs_by_one_over_all_epochs():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    total = torch.zeros(3)
    for epoch in range(4):
        total += torch.bincount(labels[balanced(labels, 0, epoch) % 7], minlength=3)
        assert total.max() - total.min() <= 1


def test_seed_and_epoch_decide():
    orders = {tuple(balanced(LABELS, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9 and torch.equal(balanced(LABELS, 2, 1), balanced(LABELS, 2, 1))


def test_in_batches_a_picture_drawn_again_is_augmented_anew():
    images = Tensors(torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8), LABELS)
    moving = make_transform(Preprocess(mean=(0,), std=(1,), crop_pct=1), 8, 1, Augment(crop="random", padding=4))
    whole = list(Loader(images, moving, 8, sampling="balanced").epoch(2))
    again = list(Loader(images, moving, 8, sampling="balanced", workers=1).epoch(2, start=3))
    assert all(torch.equal(a, b) for x, y in zip(whole[3:], again, strict=True)
               for a, b in zip(x[:3], y[:3], strict=True))
    seen = torch.cat([b.images for b in whole])[torch.cat([b.indices for b in whole]) == 59]
    assert len(seen) >= 6 and len(seen.flatten(1).unique(dim=0)) > 1


def test_several_labels_are_refused():
    with pytest.raises(ConvatlasError, match="balanced needs one class per image"):
        balanced(torch.zeros(4, 2), 0, 0)
