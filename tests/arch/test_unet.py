"""U-Net: Figure 1 written out again, the overlap-tile law, which sizes it takes, its initialisation."""

from math import sqrt

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.net.segmenter import Segmenter
from parity import randomized

TINY = (2, 3, 4, 5, 6)


def tiny(name="unet", **fields):
    torch.manual_seed(0)
    return randomized(convatlas.create_model(name, widths=TINY, **fields).double())


def figure_1(state, x, valid, batch_norm):
    """The U from its tensors alone."""

    def conv(x, name):
        x = F.conv2d(x, state[f"{name}.conv.weight"], state.get(f"{name}.conv.bias"), padding=0 if valid else 1)
        if batch_norm:
            mean, var = state[f"{name}.norm.running_mean"], state[f"{name}.norm.running_var"]
            x = F.batch_norm(x, mean, var, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"])
        return F.relu(x)

    maps = [conv(conv(x, "stem.0"), "stem.1")]
    for i in range(4):
        maps.append(conv(conv(F.max_pool2d(maps[-1], 2), f"stages.{i}.convs.0"), f"stages.{i}.convs.1"))
    y = maps.pop()
    for i in range(4):
        up, across = f"head.hidden.levels.{i}.up.conv", maps.pop()
        y = F.conv_transpose2d(y, state[f"{up}.weight"], state[f"{up}.bias"], stride=2)
        rows, columns = across.shape[2] - y.shape[2], across.shape[3] - y.shape[3]
        if valid:
            across = across[:, :, rows // 2 : across.shape[2] - rows // 2,
                            columns // 2 : across.shape[3] - columns // 2]
        else:
            y = F.pad(y, (0, columns, 0, rows))
        y = conv(conv(torch.cat((y, across), 1), f"head.hidden.levels.{i}.convs.0"), f"head.hidden.levels.{i}.convs.1")
    return F.conv2d(y, state["head.classifier.weight"], state["head.classifier.bias"])


@pytest.mark.parametrize(("name", "size"), [("unet", (188, 220)), ("unet_same", (37, 50)), ("unet_same", (31, 32))])
def test_forward_is_figure_1(name, size):
    net = tiny(name)
    x = torch.randn(2, net.in_chans, *size, dtype=torch.float64)
    with torch.inference_mode():
        scores = net(x)
        torch.testing.assert_close(scores, figure_1(net.state_dict(), x, name == "unet", name == "unet_same"),
                                   rtol=1e-10, atol=1e-10)
    assert scores.shape[2:] == net.output_size(*size) == ((4, 36) if name == "unet" else size)
    assert scores.std() > 0


def test_tiles_fit_together_without_a_seam():
    """Figure 2: what a tile gives is what the large image gives there (steps of 16 keep the pools in phase)."""
    net = tiny()
    x = torch.randn(1, 1, 220, 236, dtype=torch.float64)
    with torch.inference_mode():
        whole = net(x)
        for top, left in ((0, 0), (16, 48), (32, 16)):
            tile = net(x[:, :, top : top + 188, left : left + 188])
            torch.testing.assert_close(tile, whole[:, :, top : top + 4, left : left + 4], rtol=1e-10, atol=1e-10)


def test_sizes_are_those_that_halve_evenly():
    with torch.device("meta"):
        net = convatlas.create_model("unet", widths=TINY)
    assert [net.output_size(side, side) for side in (188, 204, 572)] == [(4, 4), (20, 20), (388, 388)]
    assert [side for side in range(150, 240) if net.accepts((side, side))] == [188, 204, 220, 236]
    for attempt in (lambda: net.output_size(580, 572), lambda: net(torch.empty(1, 1, 580, 572, device="meta"))):
        with pytest.raises(convatlas.ConvatlasError, match=r"188, 204, 220, … pixels, not 580×572: .* "
                           r"572×572 or 588×572"):
            attempt()
    with pytest.raises(convatlas.ConvatlasError, match=r"nearest, 188×188$"):
        net.check_image_size((20, 20))
    with torch.device("meta"):
        padded = convatlas.create_model("unet_same", widths=TINY)
    with pytest.raises(convatlas.ConvatlasError, match="the least is 16×16"):
        padded.output_size(15, 15)


def test_initialisation_and_dropout():
    net = convatlas.create_model("unet", widths=(16, 32, 48, 64, 96), drop_rate=0.3)
    layers = [(m, m.in_channels * (1 if isinstance(m, torch.nn.ConvTranspose2d) else m.kernel_size[0] ** 2))
              for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert len(layers) == 23
    for layer, incoming in layers:
        assert layer.bias.abs().max() == 0
        assert layer.weight.std().item() == pytest.approx(sqrt(2 / incoming), rel=5 / sqrt(2 * layer.weight.numel()))
    dropouts = {name: m.p for name, m in net.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert dropouts == {"stages.2.drop": 0.3, "stages.3.drop": 0.3}


def test_the_released_network_keeps_channels_and_rectifies():
    net = tiny(up="release")
    last = net.head.hidden.levels[-1].up
    assert (last.conv.in_channels, last.conv.out_channels) == (3, 3)
    assert all(isinstance(level.up.act, torch.nn.ReLU) for level in net.head.hidden.levels)
    assert net(torch.randn(1, 1, 188, 188, dtype=torch.float64)).shape == (1, 2, 4, 4)


def test_contract_of_segmenters():
    net = tiny()
    x = torch.randn(1, 1, 188, 188, dtype=torch.float64)
    assert isinstance(net, Segmenter) and net.get_classifier() is net.head.classifier
    assert net.forward_features(x).shape[1] == net.num_features == TINY[-1] and net.head_hidden_size == TINY[0]
    net.reset_classifier(5)
    assert net(x).shape == (1, 5, 4, 4) and net.get_classifier().weight.dtype == torch.float64
    with pytest.raises(convatlas.ConvatlasError, match="maps of all its stages"):
        net.forward_head(net.forward_features(x))
    before = net.head.hidden(list(net._maps(x)))
    net.reset_classifier(0)
    assert torch.equal(net(x), before)
    with pytest.raises(convatlas.ConvatlasError, match=r"takes 1 channel\(s\)"):
        net(torch.randn(1, 3, 188, 188, dtype=torch.float64))


def test_a_network_begins_from_another():
    first, second = tiny(), tiny(up="release")
    second.load_coarser(first)
    assert torch.equal(second.stages[3].convs[1].conv.weight, first.stages[3].convs[1].conv.weight)
    with pytest.raises(convatlas.ConvatlasError, match="stages differ"):
        tiny("unet_same").load_coarser(first)
    with pytest.raises(convatlas.ConvatlasError, match="num_classes=2"):
        tiny(num_classes=4).load_coarser(first)


@pytest.mark.parametrize("name", ["unet", "unet_same"])
def test_traced_exported_folded(name):
    net = tiny(name)
    x = torch.randn(2, net.in_chans, 188, 220, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x)
        traced = torch.fx.symbolic_trace(net)
        assert torch.equal(traced(x), expected)
        assert traced(x[:, :, :, 16:204]).shape == (2, 2, *net.output_size(188, 188)), "sizes are traced, not frozen"
        program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},))
        torch.testing.assert_close(program.module()(x[:1]), expected[:1])
        torch.testing.assert_close(convatlas.fold(net)(x), expected)


def test_an_outline_is_learned_by_heart():
    torch.manual_seed(0)
    net = convatlas.create_model("unet_same", widths=(8, 16, 32, 64, 128), drop_rate=0.0)
    image = torch.randn(2, 3, 32, 48)
    inside = (F.avg_pool2d(image[:, 0], 5, 1, 2) > 0).long()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(image), inside).backward()
        optimizer.step()
    assert (net(image).argmax(1) == inside).float().mean() > 0.98
