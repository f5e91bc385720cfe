"""Convolutions with what follows them in one call: the same result, and what is left alone."""

import pytest
import torch
from torch import Tensor, nn

from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.backends.base import order_of
from convatlas.deploy.graph.fused import ConvReLU, can_fuse, conv_relu, fuse
from convatlas.deploy.graph.rewrite import rewrite
from laws import build, images
from parity import randomized

GPU = torch.device("cuda", 0)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Block(nn.Module):
    """Two convolutions and a sum; `twist` changes what must then not be fused."""

    def __init__(self, twist: str = "", **options: int) -> None:
        super().__init__()
        self.one, self.two, self.twist = nn.Conv2d(4, 4, 3, padding=1, **options), nn.Conv2d(4, 4, 1, bias=False), twist

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        z = self.two(torch.relu(y))
        if self.twist == "read twice":
            z = z + y
        if self.twist == "broadcast":
            return torch.relu(z.mean((2, 3), keepdim=True) + self.two(z))
        if self.twist == "two convolutions":
            return torch.relu(self.two(x) + self.one(z))
        return torch.relu(z + x)


@pytest.mark.parametrize(("net", "fused"), [
    (Block(), 2), (Block("read twice"), 0), (Block("broadcast"), 1), (Block("two convolutions"), 2),
    (Block(groups=2), 1),
    (nn.Sequential(nn.Conv2d(4, 6, 3, (1, 2), (0, 1)), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.SiLU()), 1),
    (nn.Sequential(nn.Conv2d(4, 6, 3, dilation=2), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
                   nn.ReLU()), 0),
])
def test_the_same_result_from_fewer_layers(net, fused):
    x = torch.randn(2, 4, 9, 8)
    with torch.inference_mode():
        expected, made = net(x), fuse(net, x)
        assert sum(isinstance(module, ConvReLU) for module in made.modules()) == fused
        torch.testing.assert_close(made(x), expected)
        torch.testing.assert_close(made(x[:1]), expected[:1])


def test_residuals_of_whole_networks_are_fused():
    model = randomized(build("resnet20_cifar"))
    x = images(model, 2)
    with torch.inference_mode():
        fused = fuse(rewrite(model, join=True), x)
        torch.testing.assert_close(fused(x), model(x), rtol=0, atol=1e-4 * model(x).abs().max().item())
    # all but the three shortcuts and the head
    assert sum(isinstance(module, ConvReLU) for module in fused.modules()) == 19


def test_what_cannot_be_traced_stays():
    class Moody(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    net = Moody()
    assert fuse(net, torch.ones(1, 1)) is net


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, on_a_gpu])])
def test_the_operator_is_what_torch_takes_it_for(where, other):
    x, weight, bias = torch.randn(2, 8, 9, 8), torch.randn(16, 8, 3, 3), torch.randn(16)
    rest = torch.randn(2, 16, 5, 4) if other else None
    dtype = torch.float32 if where == "cpu" else torch.bfloat16
    given = [each if each is None else each.to(where, dtype) for each in (x, weight, bias, rest)]
    given = [each.contiguous(memory_format=torch.channels_last) if each is not None and each.ndim == 4 else each
             for each in given]
    torch.library.opcheck(conv_relu, (*given, [2, 2], [1, 1]), test_utils=("test_schema", "test_faketensor"))
    expected = nn.functional.conv2d(given[0].float(), given[1].float(), given[2].float(), 2, 1)
    expected = torch.relu(expected if rest is None else expected + given[3].float())
    close = 1e-5 if where == "cpu" else 0.02
    torch.testing.assert_close(conv_relu(*given, [2, 2], [1, 1]).float(), expected, rtol=close,
                               atol=close * expected.max().item())


def test_the_cpu_and_full_precision_go_on_without():
    assert not can_fuse(torch.device("cpu"), torch.bfloat16)
    assert not can_fuse(torch.device("cuda"), torch.float32)


def test_maps_of_large_depthwise_kernels_lie_channel_by_channel_on_a_gpu():
    large, small = (nn.Sequential(nn.Conv2d(8, 8, side, groups=8)) for side in (31, 7))
    plain = nn.Sequential(nn.Conv2d(8, 8, 11))
    orders = [order_of(net, torch.device(where)) for net in (large, small, plain) for where in ("cuda", "cpu")]
    assert orders == [torch.contiguous_format] + 5 * [torch.channels_last]


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_compiled_network_answers_on_a_gpu(precision, tmp_path):
    model = randomized(build("resnet20_cifar")).to(GPU)
    x = images(model, 4).to(GPU)
    scores, _ = BACKENDS["compile"].build(model, x, precision, tmp_path)
    with torch.inference_mode():
        expected = model(x)
    for _ in range(3):
        torch.testing.assert_close(scores(x), expected, rtol=0, atol=0.1 * expected.abs().max().item())
