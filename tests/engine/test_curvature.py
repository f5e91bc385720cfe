"""Second derivatives against slow ones: finite differences where LeCun's rule is exact, explicit Jacobians where it is
not.
"""

import time

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from convatlas import create_model, run
from convatlas.engine.curvature import estimate
from convatlas.engine.losses import per_image
from convatlas.errors import ConvatlasError
from convatlas.parts import RBF, LocalConv2d, ScaledTanh, Subsample2d, TableConv2d

LABELS = torch.tensor([0, 2, 1])


@pytest.fixture(autouse=True)
def doubles():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def loss_of(name):
    return per_image(run.Loss(name=name), 3)


def finite_differences(net, images, loss, tensor, h=1e-4):
    """∂²(mean loss)/∂w² of each weight of `tensor`, one after the other."""
    result = torch.zeros_like(tensor)
    with torch.no_grad():
        for place in range(tensor.numel()):
            values = []
            for shift in (-h, 0, h):
                tensor.view(-1)[place] += shift
                values.append(loss(net(images), LABELS).mean())
                tensor.view(-1)[place] -= shift
            result.view(-1)[place] = (values[0] - 2 * values[1] + values[2]) / h**2
    return result


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "map"])
def test_of_the_last_layer_it_is_the_hessians_diagonal(loss):
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.randn(3, 1, 2, 2)
    found = estimate(net, [(images, LABELS)], loss_of(loss))
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], finite_differences(net, images, loss_of(loss), parameter),
                                   rtol=1e-4, atol=1e-6)


def test_before_rbf_units_too():
    net, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), RBF(torch.randn(3, 5).sign())), torch.randn(3, 1, 2, 2)
    found = estimate(net, [(images, LABELS)], loss_of("map"))
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], finite_differences(net, images, loss_of("map"), parameter),
                                   rtol=1e-4, atol=1e-6)


class Unshared(nn.Module):
    """One layer of `module` with a weight for each connection: Σ over (unit, input) of u · x, and how many share each
    w.
    """

    def __init__(self, module, shape):
        super().__init__()
        self.matrix = nn.Parameter(jacobian(lambda x: module(x[None])[0].flatten(), torch.zeros(shape)).flatten(1))

    def forward(self, x):
        return x.flatten(1) @ self.matrix.T


def links(module, weight, shape):
    """Which connections have which weight, (outputs, inputs, weights) of 0 and 1: the derivative of the linear map by
    the weights.
    """
    def matrix(values):
        calls = torch.func.functional_call(module, {"weight": values}, (torch.zeros(1, *shape),))
        return jacobian(lambda x: torch.func.functional_call(module, {"weight": values}, (x[None],))[0].flatten(),
                        torch.zeros(shape), create_graph=True).flatten(1) + 0 * calls.sum()

    return jacobian(matrix, weight.detach().clone()).flatten(2)


@pytest.mark.parametrize(
    ("layer", "side"),
    [
        (lambda: nn.Conv2d(2, 1, 2), 3),
        (lambda: TableConv2d(2, ((0,), (0, 1)), 3, 2, 1), 3),
        (lambda: LocalConv2d(2, 1, 3, 2, 1, (2, 2)), 3),
        (lambda: Subsample2d(2), 4),
    ],
)
def test_a_shared_weight_has_the_sum_over_its_connections(layer, side):
    layer, images = layer(), torch.randn(3, 2, side, side)
    net = nn.Sequential(layer, nn.Flatten())
    target = torch.randn(3, net(images).shape[1])

    def squared(scores, labels):
        return 0.5 * (scores - target).square().sum(dim=1)

    found = estimate(net, [(images, LABELS)], squared)
    apart = Unshared(layer, images.shape[1:])
    by_link = finite_differences(apart, images, squared, apart.matrix)      # one second derivative for each connection
    expected = torch.einsum("oi,oiw->w", by_link, links(layer, layer.weight, images.shape[1:]))
    torch.testing.assert_close(found["weight" if "weight" in found else "0.weight"].flatten(), expected,
                               rtol=1e-4, atol=1e-6)
    units = layer(images)[0].numel() / layer.bias.numel()
    torch.testing.assert_close(found["0.bias"], torch.full_like(layer.bias, units))      # ∂²E/∂y² = 1 at each unit


def test_a_border_is_an_input():
    layer = TableConv2d(1, ((0,),), 3, 1, 1, border=-3.0)
    image = torch.full((1, 1, 1, 1), 2.0)
    found = estimate(nn.Sequential(layer, nn.Flatten()), [(image, LABELS[:1])],
                     lambda scores, _: 0.5 * scores.square().sum(dim=1))
    expected = torch.full((1, 3, 3), 9.0)
    expected[0, 1, 1] = 4
    torch.testing.assert_close(found["0.weight"], expected)


def test_layer_by_layer_with_explicit_jacobians():
    layers = [nn.Conv2d(1, 2, 3), ScaledTanh(), Subsample2d(2), ScaledTanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
              nn.Linear(2, 4), ScaledTanh(), nn.Linear(4, 3)]
    net, images = nn.Sequential(*layers), torch.randn(3, 1, 6, 6)
    found = estimate(net, [(images[:2], LABELS[:2]), (images[2:], LABELS[2:])], loss_of("cross_entropy"))

    expected = {"8.weight": 0, "6.weight": 0, "2.bias": 0, "0.bias": 0}
    for image in images:
        states = [image[None]]
        for layer in layers:
            states.append(layer(states[-1]).detach())
        p = states[-1].softmax(dim=1)
        second = p * (1 - p)
        for number in reversed(range(len(layers))):
            x = states[number]
            if f"{number}.weight" in expected:
                expected[f"{number}.weight"] += second.T * x.square() / 3
            if f"{number}.bias" in expected:
                expected[f"{number}.bias"] += second.sum(dim=(0, 2, 3)).view_as(layers[number].bias) / 3
            slopes = jacobian(layers[number], x).reshape(second.numel(), x.numel())
            second = (slopes.square().T @ second.flatten()).view_as(x)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.5)).train()
    images = torch.randn(3, 1, 2, 2)
    first, second = (estimate(net, [(images, LABELS)], loss_of("mse")) for _ in range(2))
    assert torch.equal(first["1.weight"], second["1.weight"])
    assert net.training and net[2].training and all(parameter.grad is None for parameter in net.parameters())
    torch.manual_seed(1)
    assert (net(torch.ones(8, 1, 2, 2)) == 0).any()           # no hook is left that would answer for the layers


def test_a_layer_it_does_not_know():
    with pytest.raises(ConvatlasError, match="not of BatchNorm2d"):
        estimate(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()), [(torch.randn(3, 1, 2, 2), LABELS)], loss_of("mse"))
    with pytest.raises(ConvatlasError, match="at least one image"):
        estimate(nn.Linear(2, 3), [], loss_of("mse"))


@pytest.mark.parametrize(("name", "loss"), [
    ("lenet5", "map"), ("lenet1", "mse"), ("lenet4", "mse"), ("lecun1989_zipcode", "mse"), ("lecun1989_net4", "mse"),
    ("lenet5_modern", "cross_entropy"),
])
def test_lecuns_networks(name, loss):
    torch.set_default_dtype(torch.float32)
    net = create_model(name)
    images, labels = torch.rand(500, 1, *net.image_size), torch.randint(0, 10, (500,))
    began = time.perf_counter()
    found = estimate(net, [(images, labels)], per_image(run.Loss(name=loss), 10))
    assert time.perf_counter() - began < 10
    assert {name: value.shape for name, value in found.items()} == {name: value.shape
                                                                    for name, value in net.named_parameters()}
    assert all(bool((value >= 0).all()) and float(value.max()) > 0 for value in found.values())
