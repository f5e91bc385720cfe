import math

import pytest
import timm.optim
import torch
from torch import nn

from convatlas import create_model, run
from convatlas.engine.optim import optimizer
from convatlas.errors import ConvatlasError


def steps(make, gradients, lrs=None, start=(1.0, -2.0)):
    """The weight after each step with these gradients, (steps, 2)."""
    weight = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optim = make([weight])
    path = []
    for number, gradient in enumerate(gradients):
        if lrs is not None:
            optim.param_groups[0]["lr"] = lrs[number]
        weight.grad = gradient.clone()
        optim.step()
        path.append(weight.detach().clone())
    return torch.stack(path)


def ours(**settings):
    class One(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

    return lambda weights: optimizer(One(weights[0]), run.Optim(**settings))


GRADIENTS = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_torchs_kinds(name, kind):
    made = optimizer(nn.Linear(2, 2), run.Optim(name=name, lr=0.3, momentum=0.8, weight_decay=0.1))
    assert type(made) is kind
    group = made.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.1)
    assert (group["betas"][0] if "betas" in group else group["momentum"]) == 0.8


def test_mean_squares_decay_and_epsilon():
    def group(**settings):
        return optimizer(nn.Linear(2, 2), run.Optim(**settings)).param_groups[0]

    assert group(name="adam")["betas"][1] == 0.999 and group(name="adamw", rho=0.95)["betas"][1] == 0.95
    assert group(name="rmsprop")["alpha"] == 0.9 and group(name="rmsprop", eps=1.0)["eps"] == 1.0
    assert group(name="rmsprop")["eps"] == group(name="adam")["eps"] == 1e-8
    assert (group(name="rmsprop_tf")["rho"], group(name="rmsprop_tf")["eps"]) == (0.9, 1e-3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_caffes_momentum_by_the_book(nesterov):
    rates, mu, decay = [0.1] * 10 + [0.01] * 10, 0.9, 0.05
    path = steps(ours(name="sgd_caffe", momentum=mu, weight_decay=decay, nesterov=nesterov), GRADIENTS, rates)
    for column, start in enumerate((1.0, -2.0)):
        weight, velocity = start, 0.0
        for number, rate in enumerate(rates):
            before = velocity
            velocity = mu * velocity + rate * (float(GRADIENTS[number, column]) + decay * weight)
            weight -= (1 + mu) * velocity - mu * before if nesterov else velocity
            assert float(path[number, column]) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_caffes_momentum_is_torchs_until_the_rate_falls(nesterov):
    rates = [0.1] * 10 + [0.01] * 10
    settings = {"momentum": 0.9, "weight_decay": 0.05, "nesterov": nesterov}
    caffe, torchs = (steps(ours(name=name, **settings), GRADIENTS, rates) for name in ("sgd_caffe", "sgd"))
    torch.testing.assert_close(caffe[:10], torchs[:10], rtol=1e-12, atol=0)
    assert (caffe[10] - torchs[10]).abs().min() > 0.01


def test_tensorflows_rmsprop_by_the_book():
    rho, eps, mu, rate, decay = 0.9, 1e-3, 0.9, 0.05, 0.02
    path = steps(ours(name="rmsprop_tf", lr=rate, momentum=mu, weight_decay=decay), GRADIENTS)
    weight, square, velocity = 1.0, 1.0, 0.0
    for number, gradient in enumerate(GRADIENTS[:, 0].tolist()):
        gradient += decay * weight
        square = rho * square + (1 - rho) * gradient**2
        velocity = mu * velocity + rate * gradient / math.sqrt(square + eps)
        weight -= velocity
        assert float(path[number, 0]) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize(("eps", "momentum"), [(1.0, 0.9), (1e-3, 0.9), (1e-3, 0.0)])
def test_tensorflows_rmsprop_is_timms(eps, momentum):
    rates = torch.linspace(0.1, 0.01, 20).tolist()
    settings = {"lr": 0.1, "eps": eps, "momentum": momentum, "weight_decay": 0.01}
    peer = steps(lambda weights: timm.optim.RMSpropTF(weights, alpha=0.9, **settings), GRADIENTS, rates)
    torch.testing.assert_close(steps(ours(name="rmsprop_tf", **settings), GRADIENTS, rates), peer, rtol=1e-10, atol=0)


def test_levenberg_marquardt_divides_by_the_curvature():
    net = nn.Linear(2, 1)
    optim = optimizer(net, run.Optim(name="lm", lr=0.1, momentum=0, mu=0.02))
    optim.set_curvature(net, {"weight": torch.tensor([[0.0, 0.48]]), "bias": torch.tensor([9.98])})
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    net.weight.grad, net.bias.grad = torch.tensor([[1.0, 1.0]]), torch.tensor([2.0])
    optim.step()
    torch.testing.assert_close(before["weight"] - net.weight.detach(), torch.tensor([[5.0, 0.2]]))
    torch.testing.assert_close(before["bias"] - net.bias.detach(), torch.tensor([0.02]))


def test_biases_and_norms_can_be_spared_from_decay():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    groups = optimizer(net, run.Optim(weight_decay=0.1, decay_bias=False)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [sorted({parameter.ndim for parameter in group["params"]}) for group in groups] == [[2, 4], [1]]
    assert sum(len(group["params"]) for group in groups) == 6


def test_groups_of_the_first_pattern_that_matches():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    rules = (run.Group(names="1", lr=0.1), run.Group(names="*.bias", lr=2, weight_decay=0))
    optim = optimizer(net, run.Optim(lr=0.5, weight_decay=0.1, decay_bias=False, groups=rules))
    names = {parameter: name for name, parameter in net.named_parameters()}
    found = {names[parameter]: group for group in optim.param_groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in optim.param_groups) == len(found) == 6
    assert {name: (group["lr_scale"], group["lr"], group["weight_decay"]) for name, group in found.items()} == {
        "0.weight": (1, 0.5, 0.1), "0.bias": (2, 1.0, 0), "1.weight": (0.1, 0.05, 0.1),
        "1.bias": (0.1, 0.05, 0), "2.weight": (1, 0.5, 0.1), "2.bias": (2, 1.0, 0),
    }


def test_what_moves_later_is_there_from_the_start():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)
    groups = optimizer(net, run.Optim(), moving={"1.weight", "1.bias"}).param_groups
    assert [id(parameter) for parameter in groups[0]["params"]] == [id(parameter) for parameter in net[1].parameters()]


def test_what_cannot_be_trained_is_said():
    net = nn.Linear(2, 2)
    with pytest.raises(ConvatlasError, match="unfreeze"):
        optimizer(nn.Linear(2, 2).requires_grad_(False), run.Optim())
    with pytest.raises(ConvatlasError, match="nesterov needs sgd"):
        optimizer(net, run.Optim(name="adam", nesterov=True))
    with pytest.raises(ConvatlasError, match=r"optim.groups: no parameter .* 'wieght'; did you mean 'weight'"):
        optimizer(net, run.Optim(groups=(run.Group(names="wieght"),)))
    with pytest.raises(ConvatlasError, match=r"optim.momentum is 0.9; set optim.momentum=0"):
        optimizer(net, run.Optim(name="lm"))


def test_biases_of_any_shape_are_spared():
    """LeCun's nets have one for every unit, (C, H, W)."""
    net = create_model("lecun1989_zipcode")
    groups = optimizer(net, run.Optim(weight_decay=0.1, decay_bias=False)).param_groups
    decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    assert {name for name, parameter in net.named_parameters() if id(parameter) not in decayed} == {
        name for name, parameter in net.named_parameters() if name.endswith("bias")}
