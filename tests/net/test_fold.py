"""Folding: every rule of it alone; whole networks are in the registry-wide laws."""

import pytest
import torch
from torch import nn

import convatlas
from convatlas.net.fold import _fold
from convatlas.parts import Parallel, conv_norm, fold_after, fold_before
from parity import randomized


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * b.abs().max().item())


@pytest.mark.parametrize("groups", [1, 2])
def test_a_norm_goes_into_the_convolution_on_either_side(groups):
    conv, first, last = nn.Conv2d(4, 6, 1, groups=groups), nn.BatchNorm2d(4), nn.BatchNorm2d(6)
    chain = randomized(nn.Sequential(first, conv, last).double())
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        expected = chain(x)
        close(fold_after(fold_before(first, conv), last)(x), expected)
        folded = _fold(chain)
        close(folded(x), expected)
    assert [type(m) for m in folded] == [nn.Identity, nn.Conv2d, nn.Identity]


def test_a_norm_before_a_padded_convolution_stays():
    chain = randomized(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)).double())
    x = torch.randn(1, 3, 6, 6, dtype=torch.float64)
    expected = chain(x)
    assert isinstance(_fold(chain)[0], nn.BatchNorm2d)
    close(chain(x), expected)


def test_what_stands_between_keeps_them_apart():
    chain = randomized(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    assert [type(m) for m in _fold(chain)] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]


def test_parallel_pointwise_paths_become_one():
    paths = Parallel({"a": conv_norm(8, 4, 1), "pool": nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_norm(8, 3, 1)),
                      "b": nn.Sequential(conv_norm(8, 5, 1), conv_norm(5, 6, 3))})
    randomized(paths.double())
    x = torch.randn(2, 8, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = paths(x)
        folded = _fold(nn.Sequential(paths))
        close(folded(x), expected)
    assert sorted(m.out_channels for m in folded.modules() if isinstance(m, nn.Conv2d)) == [3, 6, 9]
    with torch.no_grad():
        close(torch.fx.symbolic_trace(folded)(x), expected)


def test_training_mode_is_refused_and_the_original_untouched():
    model = convatlas.create_model("resnet20_cifar")
    with pytest.raises(convatlas.ConvatlasError, match=r"resnet20_cifar is in training mode.*model\.eval\(\)"):
        convatlas.fold(model)
    small = convatlas.fold(randomized(model))
    assert (any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
            and not any(isinstance(m, nn.BatchNorm2d) for m in small.modules()))
    assert (small.card.folded.relative < 1e-4 and small.card.folded.layers[1] < small.card.folded.layers[0]
            and model.card.folded is None)


def test_a_folded_repvgg_is_plain_and_can_be_read_again(tmp_path):
    model = randomized(convatlas.create_model("repvgg_a0", num_classes=3, image_size=32))
    small = convatlas.fold(model)
    assert {m.kernel_size for m in small.modules() if isinstance(m, nn.Conv2d)} == {(3, 3)}
    again = convatlas.load(convatlas.save(small, tmp_path / "small.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(x), small(x))
