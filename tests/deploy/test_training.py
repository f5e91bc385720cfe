"""Depthwise convolutions in training by the native kernels: each operator against torch, its derivatives, and what is
made of layers that use them.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import convatlas
from convatlas.deploy.native import compiler, training
from convatlas.errors import ConvatlasError
from convatlas.run import Run, Train
from convatlas.runs.folder import run_of

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")

CPU = torch.device("cpu")
#         N  C   H   W   kernel    stride
SHAPES = [(2, 33, 14, 14, (27, 27), 1), (1, 16, 40, 40, (31, 31), 1), (2, 20, 13, 9, (5, 51), 1),
          (2, 20, 9, 20, (51, 5), 1), (1, 40, 7, 7, (13, 13), 1), (3, 17, 15, 16, (3, 3), 2),
          (2, 16, 16, 15, (7, 5), 2), (2, 5, 3, 2, (7, 7), 1),
          (9, 64, 8, 8, (3, 3), 1), (2, 16, 1, 1, (3, 3), 2), (1, 30, 17, 33, (1, 1), 1),
          (2, 16, 30, 30, (4, 6), 1)]


def operands(n, c, h, w, kernel, last=False, dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn(n, c, h, w, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    return x, torch.randn(c, 1, *kernel, dtype=dtype), torch.randn(c, dtype=dtype)


def centred(kernel):
    return [(kernel[0] - 1) // 2, (kernel[1] - 1) // 2]


def with_gradients(function, tensors):
    """The result, and the gradients of a sum that weighs its values."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    y = function(*leaves)
    weights = torch.linspace(-1, 1, max(y.numel(), 1), dtype=y.dtype)[: y.numel()].view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_and_gradients_are_those_of_torch_in_double_precision(shape, last):
    *size, kernel, stride = shape
    tensors, padding = operands(*size, kernel, last), centred(kernel)
    wanted = with_gradients(lambda x, w, b: nn.functional.conv2d(x, w, b, stride, padding, groups=size[1]),
                            [tensor.double() for tensor in tensors])
    found = with_gradients(lambda x, w, b: training.depthwise(x, w, b, stride, padding), tensors)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_any_order_in_memory_and_no_images():
    x, weight, _ = operands(2, 20, 12, 12, (5, 7))
    wanted = nn.functional.conv2d(x, weight, None, 1, (2, 3), groups=20)
    turned = x.permute(0, 2, 3, 1).flip(1).flip(1).permute(0, 3, 1, 2)
    for other in (x.repeat(1, 2, 1, 1)[:, ::2], turned, nn.functional.pad(x, (1, 1, 2, 2))[..., 2:-2, 1:-1],
                  x.transpose(2, 3).contiguous().transpose(2, 3)):
        ours = training.depthwise(other, weight, None, 1, (2, 3))
        theirs = nn.functional.conv2d(other, weight, None, 1, (2, 3), groups=20)
        assert torch.allclose(ours, theirs, atol=1e-4)
    assert torch.allclose(training.depthwise(x, weight, None, 1, (2, 3)), wanted, atol=1e-4)
    x = x[:0].requires_grad_()
    y = training.depthwise(x, weight.requires_grad_(), None, 1, (2, 3))
    y.sum().backward()
    assert y.shape == (0, 20, 12, 12) and x.grad.shape == x.shape and not weight.grad.any()


def test_shapes_that_do_not_fit_are_refused():
    x, weight, bias = operands(2, 6, 8, 8, (5, 5))
    for each in ((x, weight[:4], None, 1, (2, 2)), (x, weight, bias[:3], 1, (2, 2)),
                 (x, weight.expand(-1, 2, -1, -1), None, 1, (2, 2))):
        with pytest.raises(ValueError, match="a depthwise convolution of"):
            training.depthwise(*each)
    with pytest.raises(ValueError, match="a depthwise convolution of"):
        training.input_gradient(x, weight, (9, 8), 1, (2, 2))


@pytest.mark.parametrize("shape", SHAPES[:2] + SHAPES[5:6] + SHAPES[8:9], ids=str)
def test_threads_do_not_change_a_bit(shape):
    *size, kernel, stride = shape
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            found.append(with_gradients(lambda x, w, b: training.depthwise(x, w, b, stride, centred(kernel)),
                                        operands(*size, kernel)))
        finally:
            torch.set_num_threads(before)
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


@pytest.mark.filterwarnings("ignore:Input #")       # that single precision may not do, where it does
def test_derivatives_of_the_kernels_and_in_double_precision_of_torch_twice():
    x, weight, bias = (tensor.requires_grad_() for tensor in operands(2, 3, 5, 4, (3, 5)))
    # linear in each tensor, so that a step of one is exact but for rounding
    assert gradcheck(lambda *each: training.depthwise(*each, 2, (1, 2)), (x, weight, bias), eps=1.0, atol=1e-3)
    x, weight, bias = (tensor.requires_grad_() for tensor in operands(1, 2, 4, 3, (3, 3), dtype=torch.float64))
    for stride in (1, 2):
        function = lambda *each, stride=stride: training.depthwise(*each, stride, (1, 1))  # noqa: E731
        assert gradcheck(function, (x, weight, bias)) and gradgradcheck(function, (x, weight, bias))


def test_second_derivatives_of_the_kernels_are_those_of_torch():
    def penalty(convolve, x, weight):
        gradients = torch.autograd.grad(convolve(x, weight).square().sum(), (x, weight), create_graph=True)
        return sum(each.square().sum() for each in gradients)

    x, weight, _ = operands(2, 5, 6, 7, (5, 3))
    ours = with_gradients(lambda *each: penalty(lambda a, b: training.depthwise(a, b, None, 2, (2, 1)), *each),
                          (x, weight))
    theirs = with_gradients(lambda *each: penalty(
        lambda a, b: nn.functional.conv2d(a, b, None, 2, (2, 1), groups=5), *each), (x.double(), weight.double()))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize("last", [pytest.param(False, marks=pytest.mark.slow), True], ids=["first", "last"])
def test_operators_are_what_torch_asks_of_operators(last):
    x, weight, bias = (tensor.requires_grad_() for tensor in operands(2, 6, 8, 7, (5, 5), last))
    grad = torch.randn(2, 6, 4, 4).requires_grad_()
    if last:
        grad = grad.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    opcheck(training.depthwise, (x, weight, bias, 2, (2, 2)))
    opcheck(training.input_gradient, (grad, weight, (8, 7), 2, (2, 2)))
    opcheck(training.weight_gradient, (x, grad, (5, 5), 2, (2, 2)))


def test_flops_are_counted_as_of_a_convolution():
    x, weight, _ = (tensor.requires_grad_() for tensor in operands(2, 6, 8, 7, (5, 5)))
    counts = []
    for function in (lambda: training.depthwise(x, weight, None, 1, (2, 2)),
                     lambda: nn.functional.conv2d(x, weight, None, 1, (2, 2), groups=6)):
        with FlopCounterMode(display=False) as counter:
            y = function()
        counts.append(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            y.sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[2] == 2 * x.numel() * 25 and counts[1] == 2 * counts[0]


# -- layers ------------------------------------------------------------------------------------------------------------


def small(name="slak_tiny", **fields) -> nn.Module:
    torch.manual_seed(0)
    narrow = {"slak_tiny": {"channels": (16, 24, 32, 40), "blocks": (1, 1, 1, 1), "drop_path_rate": 0.0},
              "replknet_31b": {"channels": (16, 24, 32, 40), "blocks": (1, 1, 1, 1), "drop_path_rate": 0.0},
              "convnext_tiny": {"channels": (16, 24, 32, 40), "blocks": (1, 1, 1, 1), "drop_path_rate": 0.0}}[name]
    return convatlas.create_model(name, image_size=64, num_classes=10, **(narrow | fields))


def kinds(model):
    return [type(module) for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(("name", "layers"), [("slak_tiny", 12), ("replknet_31b", 8), ("convnext_tiny", 4)])
def test_layers_of_large_kernels_are_taken_and_answer_the_same(name, layers):
    plain, model = small(name), training.take(small(name))
    assert kinds(model).count(training.KernelConv2d) == layers
    assert model.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(2, 3, 64, 64)
    ours, theirs = (with_gradients(net, [x]) for net in (model.train(), plain.train()))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-3 * b.abs().max()


def test_other_layers_are_not_taken():
    for layer in (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 7), nn.Conv2d(8, 16, 7, groups=8),
                  nn.Conv2d(8, 8, 7, groups=8, dilation=2), nn.Conv2d(8, 8, 7, stride=3, groups=8),
                  nn.Conv2d(8, 8, 7, groups=8, padding="same"), nn.Conv2d(8, 8, 7, groups=8, padding_mode="circular")):
        assert not training.suits(layer), layer
    assert training.suits(nn.Conv2d(8, 8, (51, 5), padding=(25, 2), groups=8))


def test_autocast_and_double_precision_are_torch_s(monkeypatch):
    layer = training.take(nn.Sequential(nn.Conv2d(8, 8, 7, padding=3, groups=8)))[0]
    used = []
    monkeypatch.setattr(training, "depthwise", lambda *each: used.append(each) or training_depthwise(*each))
    x = torch.randn(1, 8, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16 and not used
    assert layer.double()(x.double()).dtype == torch.float64 and not used
    layer.float()(x)
    assert len(used) == 1


training_depthwise = training.depthwise


def test_exported_networks_have_standard_convolutions():
    model = training.take(small()).eval()
    x = torch.randn(1, 3, 64, 64)
    program = torch.export.export(model, (x,))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert any("conv2d" in name for name in names) and not any("convatlas" in name for name in names)
    assert torch.allclose(program.module()(x), model(x), atol=1e-4)


def test_the_operator_itself_is_exported():
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 1, 5, 5))

        def forward(self, x: Tensor) -> Tensor:
            return training.depthwise(x, self.weight, None, 1, (2, 2)).relu()

    layer, x = Layer(), torch.randn(2, 6, 8, 8)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    assert any("convatlas.depthwise" in str(node.target) for node in program.graph.nodes)
    larger = torch.randn(5, 6, 8, 8)
    assert torch.equal(program.module()(larger), layer(larger))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_file_of_a_taken_network_has_standard_convolutions(tmp_path):
    onnx, engine = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model, x = training.take(small()).eval(), torch.randn(1, 3, 64, 64)
    for dynamo in (True, False):
        path = tmp_path / f"{dynamo}.onnx"
        torch.onnx.export(model, (x,), str(path), dynamo=dynamo, input_names=["x"])
        assert {node.domain for node in onnx.load(path).graph.node} == {""}
        (y,) = engine.InferenceSession(str(path)).run(None, {"x": x.numpy()})
        assert abs(torch.from_numpy(y) - model(x)).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_block_computes_the_same(backend):
    model = training.take(small("convnext_tiny")).train().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    plain, (ours, gradient) = with_gradients(model, [x]), with_gradients(torch.compile(model, backend=backend), [x])
    assert torch.allclose(ours, plain[0], atol=1e-4) and torch.allclose(gradient, plain[1], atol=1e-4)


# -- runs --------------------------------------------------------------------------------------------------------------


def decided(train, model, macs=10**9, going=False, device=CPU):
    told: list[str] = []
    return training.decide(train, model, macs, device, told.append, going), told


def test_what_computes_is_decided_by_network_device_precision_and_size():
    large, plain = small(), nn.Conv2d(3, 8, 3)
    assert decided(Train(), large)[0] == "native"
    assert decided(Train(depthwise="torch"), large)[0] == "torch"
    assert decided(Train(), plain)[0] == "auto"
    assert decided(Train(amp="bf16"), large)[0] == "torch"
    assert decided(Train(), large, macs=1000)[0] == "torch"
    assert decided(Train(), large, device=torch.device("cuda"))[0] == "torch"
    assert decided(Train(depthwise="native"), large, macs=1000)[0] == "native"
    assert decided(Train(), large, going=True)[0] == "torch"        # began before the setting existed


def test_missing_kernels_are_told_once_and_refused_where_they_were_asked_for(monkeypatch):
    def none():
        raise ConvatlasError("native needs a C++ compiler")

    monkeypatch.setattr(training, "kernels", none)
    found, told = decided(Train(), small())
    assert found == "torch" and len(told) == 1 and "native needs a C++ compiler" in told[0]
    with pytest.raises(ConvatlasError, match=r"train\.depthwise = native: native needs a C\+\+ compiler"):
        decided(Train(depthwise="native"), small())
    found, told = decided(Train(depthwise="native"), small(), going=True)
    assert found == "torch" and "last bits" in told[0]


def a_run(depthwise="auto", epochs=2) -> Run:
    fields = {"channels": (8, 12, 16, 20), "blocks": (1, 1, 1, 1), "image_size": 32, "in_chans": 1}
    return Run().change("model.name", "slak_tiny", "model.fields", fields, "data.batch_size", 256, "optim.name",
                        "adamw", "optim.lr", 0.002, "train.epochs", epochs, "train.depthwise", depthwise)


def losses(folder):
    lines = (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    return [{name: float(cell) for name, cell in zip(names, line.split(","), strict=True)} for line in lines[1:]]


@pytest.mark.slow
def test_curves_are_equal_and_a_resumed_run_is_so_bit_for_bit(tmp_path):
    for name, depthwise, epochs in (("torch", "torch", 2), ("native", "auto", 2), ("half", "auto", 1)):
        convatlas.train(a_run(depthwise, epochs), out=tmp_path / name)
    for ours, theirs in zip(losses(tmp_path / "native"), losses(tmp_path / "torch"), strict=True):
        assert abs(ours["train_loss"] - theirs["train_loss"]) < 1e-3 * theirs["train_loss"]
        assert abs(ours["val_loss"] - theirs["val_loss"]) < 1e-2 * theirs["val_loss"]
    assert run_of(tmp_path / "native").train.depthwise == "native"
    assert run_of(tmp_path / "torch").train.depthwise == "torch"
    convatlas.train(run_of(tmp_path / "half").change("train.epochs", 2), resume=tmp_path / "half")
    for a, b in zip(losses(tmp_path / "half"), losses(tmp_path / "native"), strict=True):
        assert {**a, "seconds": 0, "images_per_second": 0} == {**b, "seconds": 0, "images_per_second": 0}
    ours, theirs = (convatlas.load(tmp_path / name).state_dict() for name in ("half", "native"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
