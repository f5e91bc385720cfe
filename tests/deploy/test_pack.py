"""Prepacking: the same result from fewer calls, and what is left alone."""

import pytest
import torch
from torch import Tensor, fx, nn

import convatlas
from convatlas.deploy.graph.pack import PackedConv, PackedConvAdd, PackedLinear, can_pack, pack
from convatlas.deploy.graph.rewrite import rewrite
from convatlas.parts.dense import DenseBlock
from parity import randomized

pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN")


class Block(nn.Module):
    """Two convolutions, a residual and a head; `twist` changes what must then not be fused."""

    def __init__(self, twist: str = "") -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.SiLU()
        self.head, self.twist = nn.Linear(4, 3), twist

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        z = self.two(self.act(y))
        if self.twist == "read twice":
            z = z + y
        if self.twist == "broadcast":
            return self.head(torch.relu(z.mean((2, 3), keepdim=True) + self.one(z)).mean((2, 3)))
        return self.head(torch.relu(z + x).mean((2, 3)))


def kinds(packed: nn.Module) -> list[str]:
    assert isinstance(packed, fx.GraphModule)
    return [type(packed.get_submodule(str(n.target))).__name__ if n.op == "call_module" else n.name
            for n in packed.graph.nodes if n.op.startswith("call")]


@pytest.mark.parametrize(("twist", "expected"), [
    ("", ["PackedConv", "PackedConvAdd", "mean", "PackedLinear"]),
    ("read twice", ["PackedConv", "SiLU", "PackedConvAdd", "add_1", "relu", "mean", "PackedLinear"]),
    ("broadcast", ["PackedConv", "PackedConv", "mean", "PackedConv", "add", "relu", "mean_1", "PackedLinear"])])
def test_activation_and_addition_go_into_the_kernel_where_nothing_else_reads_them(twist, expected):
    model = randomized(Block(twist))
    with torch.inference_mode():
        x = torch.randn(2, 4, 8, 8)
        packed = pack(model, x)
        assert kinds(packed) == expected
        for images in (x, torch.randn(3, 4, 5, 7)):         # also what it was not packed for
            wanted = model(images)
            torch.testing.assert_close(packed(images), wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_one_block_after_the_other_keeps_its_additions_in_the_kernels():
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for conv in self.convs:
                x = torch.relu(conv(x) + x)
            return x

    model, x = randomized(Chain()), torch.randn(1, 4, 6, 6)
    with torch.inference_mode():
        packed = pack(model, x)
        assert kinds(packed) == ["PackedConvAdd"] * 3
        torch.testing.assert_close(packed(x), model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "rest"), [("resnet18", {"MaxPool2d", "mean"}), ("mobilenet_v2", {"mean"})])
def test_nothing_stands_between_the_layers_of_a_rewritten_network(name, rest):
    model = randomized(convatlas.create_model(name, num_classes=5, image_size=64))
    found = kinds(pack(rewrite(model), torch.randn(1, 3, 64, 64)))
    assert set(found) - {"PackedConv", "PackedConvAdd", "PackedLinear"} <= rest
    assert sum(kind == "PackedConvAdd" for kind in found) == (8 if name == "resnet18" else 10)


@pytest.mark.parametrize("name", ["densenet121", "densenet_40_12_cifar"])
def test_a_dense_block_fills_one_map(name):
    model = randomized(convatlas.create_model(name, num_classes=5, image_size=64))
    x = torch.randn(2, 3, 64, 64)
    packed = pack(rewrite(model), x[:1])
    found = kinds(packed)
    blocks = [block for block in model.modules() if isinstance(block, DenseBlock)]
    assert not any(kind.startswith(("cat", "relu", "ReLU")) for kind in found)
    assert sum(kind.startswith("_room") for kind in found) == len(blocks)
    assert sum(kind.startswith("_put")
               for kind in found) == found.count("Affine") == len(blocks) + sum(map(len, blocks))
    with torch.inference_mode():
        for images in (x, x[:, :, :32, :48]):           # also what it was not packed for
            wanted = model(images)
            torch.testing.assert_close(packed(images), wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_concatenations_that_something_else_reads_stay():
    class Grown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norms = nn.Conv2d(4, 4, 1), nn.ModuleList(nn.BatchNorm2d(channels) for channels in (8, 12))

        def forward(self, x: Tensor) -> Tensor:
            maps = [x, self.conv(x)]
            for norm in self.norms:
                joined = torch.cat(maps, 1)
                maps.append(self.conv(norm(joined)[:, :4]) + joined[:, :4])
            return torch.cat(maps, 1)

    model, x = randomized(Grown()).eval(), torch.randn(1, 4, 6, 6)
    with torch.inference_mode():
        packed = pack(model, x)
        assert sum(kind.startswith("cat") for kind in kinds(packed)) == 3
        torch.testing.assert_close(packed(x), model(x), rtol=0, atol=1e-5)


def test_convnext_moves_no_map():
    """Its permutes are other views of maps that lie channels last: none is copied to be normalised or multiplied."""
    model = randomized(convatlas.create_model("convnext_tiny", num_classes=5, image_size=64))
    x = torch.randn(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    packed = pack(rewrite(model).to(memory_format=torch.channels_last), x)
    with torch.inference_mode(), torch.profiler.profile(record_shapes=True) as seen:
        packed(x)
    maps = {event.name for event in seen.events() if event.input_shapes and len(event.input_shapes[0]) == 4}
    assert "aten::permute" in maps and not maps & {"aten::copy_", "aten::clone", "aten::contiguous"}


def test_what_cannot_be_traced_comes_back():
    class Choosing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    model = Choosing().eval()
    assert pack(model, torch.ones(1)) is model


def test_the_layers_say_what_they_compute():
    conv, linear = PackedConv(nn.Conv2d(4, 6, (3, 1), groups=2), (1, 4, 8, 8)), PackedLinear(nn.Linear(5, 2), (3, 5))
    assert (conv.kernel, conv.inputs, conv.geometry[3], linear.inputs) == ((3, 1), 4, 2, 5)
    assert PackedConvAdd(conv, relu=True).then == "relu"
