"""Sparse training: counts that never change, weights that stay zero, densities by importance, resumption without a
trace.
"""

from math import ceil

import pytest
import torch
from torch import nn

from convatlas.parts import Masks, cosine_rate, snip_densities, sparsifiable


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 20),
                         nn.ReLU(), nn.Linear(20, 4))


def step(model, optimizer, masks, seed):
    dice = torch.Generator().manual_seed(seed)
    x, labels = torch.randn(8, 3, 6, 6, generator=dice), torch.randint(4, (8,), generator=dice)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), labels).backward()
    optimizer.step()
    masks.apply()
    masks.apply_to(optimizer)


def started(sparsity=0.4, momentum=0.9):
    model = network()
    nn.functional.cross_entropy(model(torch.randn(8, 3, 6, 6)), torch.arange(8) % 4).backward()
    densities = snip_densities(model, sparsity)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    return model, optimizer, Masks(model, densities, torch.Generator().manual_seed(1)), densities


def test_weights_of_two_and_four_dimensions_are_concerned():
    assert list(sparsifiable(network())) == ["0.weight", "4.weight", "6.weight"]


def test_densities_by_sorting_all_scores():
    model = network()
    nn.functional.cross_entropy(model(torch.randn(8, 3, 6, 6)), torch.arange(8) % 4).backward()
    scores = {name: (w * w.grad).abs().detach() for name, w in sparsifiable(model).items()}
    every = torch.cat([s.flatten() for s in scores.values()]).sort(descending=True).values
    kept = int(0.6 * len(every))
    densities = snip_densities(model, 0.4)
    assert densities == {name: (s >= every[kept - 1]).sum().item() / s.numel() for name, s in scores.items()}
    assert sum(density * scores[name].numel() for name, density in densities.items()) == pytest.approx(kept)


def test_densities_need_gradients():
    with pytest.raises(ValueError, match="no gradient"):
        snip_densities(network(), 0.4)


def test_masks_are_random_at_the_densities():
    model, _, masks, densities = started()
    total = sum(w.numel() for w in sparsifiable(model).values())
    for name, weight in masks.weights.items():
        assert masks.masks[name].sum() == round(densities[name] * weight.numel())
        assert weight[~masks.masks[name]].eq(0).all() and weight[masks.masks[name]].ne(0).all()
    assert masks.densities() == pytest.approx(densities)
    assert abs(masks.sparsity() - 0.4) <= len(densities) / total
    other = Masks(network(), densities, torch.Generator().manual_seed(1))
    assert all(torch.equal(other.masks[name], masks.masks[name]) for name in masks.masks)
    third = Masks(network(), densities, torch.Generator().manual_seed(2))
    assert not all(torch.equal(third.masks[name], masks.masks[name]) for name in masks.masks)


def test_nearly_dense_tensors_are_left_whole():
    model = network()
    masks = Masks(model, {"0.weight": 0.99, "4.weight": 0.5, "6.weight": 0.98}, torch.Generator())
    assert list(masks.masks) == ["4.weight", "6.weight"]
    assert model[0].weight.ne(0).all() and masks.densities()["0.weight"] == 1


def test_masked_weights_and_their_momentum_stay_zero():
    model, optimizer, masks, _ = started()
    for seed in range(3):
        step(model, optimizer, masks, seed)
        masks.prune_and_grow(0.3)
        masks.apply_to(optimizer)
        for name, weight in masks.weights.items():
            off = ~masks.masks[name]
            assert weight[off].eq(0).all() and optimizer.state[weight]["momentum_buffer"][off].eq(0).all()


def test_apply_to_leaves_adam_s_averages():
    model, _, masks, _ = started()
    optimizer = torch.optim.AdamW(model.parameters())
    step(model, optimizer, masks, 0)
    name, weight = next(iter(masks.weights.items()))
    assert optimizer.state[weight]["exp_avg"][~masks.masks[name]].ne(0).any()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_pruning_takes_the_smallest_and_growing_keeps_the_number(rate):
    _, _, masks, _ = started()
    before = {name: mask.clone() for name, mask in masks.masks.items()}
    values = {name: weight.detach().clone() for name, weight in masks.weights.items()}
    masks.prune_and_grow(rate)
    for name, mask in masks.masks.items():
        number = ceil(rate * int(before[name].sum()))
        assert mask.sum() == before[name].sum()
        large = (values[name].abs() >= values[name][before[name]].abs().sort().values[number] if rate < 1
                 else torch.zeros_like(mask))
        assert mask[before[name] & large].all()         # the largest stay
        new = mask & ~before[name]
        assert new.any() == (number > 0) and masks.weights[name][new].eq(0).all()
        assert torch.equal(masks.weights[name][mask & before[name]], values[name][mask & before[name]])


def test_the_rate_falls_along_a_cosine():
    assert cosine_rate(0, 100, 0.5) == 0.5
    assert cosine_rate(50, 100, 0.5) == pytest.approx(0.2525)
    assert cosine_rate(100, 100, 0.5) == pytest.approx(0.005)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, 0.005)
    for i in range(100):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine_rate(i, 100, 0.5))
        optimizer.step()
        schedule.step()


def test_resumed_equals_uninterrupted():
    def train(model, optimizer, masks, steps):
        for i in steps:
            step(model, optimizer, masks, i)
            if i % 2:
                masks.prune_and_grow(cosine_rate(i, 8, 0.5))

    model, optimizer, masks, _ = started()
    train(model, optimizer, masks, range(8))
    again, optimizer, first, densities = started()
    train(again, optimizer, first, range(3))
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    weights, moments = {k: v.clone() for k, v in again.state_dict().items()}, optimizer.state_dict()
    resumed = network()
    resumed.load_state_dict(weights)
    later = torch.optim.SGD(resumed.parameters(), lr=0.1, momentum=0.9)
    later.load_state_dict(moments)
    second = Masks(resumed, densities, torch.Generator().manual_seed(77))
    resumed.load_state_dict(weights)        # the other masks had zeroed some of them
    second.load_state_dict(saved)
    train(resumed, later, second, range(3, 8))
    assert all(torch.equal(a, b)
               for a, b in zip(model.state_dict().values(), resumed.state_dict().values(), strict=True))
    assert all(torch.equal(second.masks[name], mask) for name, mask in masks.masks.items())


def test_masks_of_another_network_are_refused():
    _, _, masks, _ = started()
    state = masks.state_dict()
    state["mask.4.weight"] = state["mask.4.weight"][:1]
    with pytest.raises(ValueError, match="another network"):
        masks.load_state_dict(state)
