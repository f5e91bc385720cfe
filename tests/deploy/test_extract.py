"""Maps and hidden vectors by the native kernels, equal to the network's own."""

import pytest
import torch

import convatlas
from convatlas.deploy import extractor
from convatlas.deploy.native import compiler
from laws import build as variant
from laws import images
from parity import randomized

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")


@pytest.mark.parametrize(("name", "size"), [
    ("lenet5", 32), ("nin_cifar10", 32), ("resnet20_cifar", 32), ("preact_resnet18", 64),
    ("densenet_40_12_cifar", 32), ("mobilenet_v2_035", 64), ("mobilenet_v3_small", 64), ("efficientnet_b0", 64),
    ("repvgg_a0", 64), ("convnext_tiny", 64), ("googlenet", 64), ("vgg11", 32)])
def test_maps_and_hidden_vectors_are_the_network_s_own(name, size):
    model = randomized(variant(name, image_size=size))
    x = images(model, 2)
    found = extractor(model, x)
    assert [info["num_chs"] for info in found.feature_info] == [info["num_chs"] for info in model.feature_info]
    with torch.inference_mode():
        last, maps = model.forward_intermediates(x)
        hidden = model.forward_head(last, pre_logits=True).flatten(1)
    given = found(x)
    for ours, exact in zip([*given.maps, given.hidden], [*maps, hidden], strict=True):
        assert ours.shape == exact.shape
        assert (ours - exact).abs().max() <= 1e-4 * exact.abs().max()


def test_some_maps_of_images_of_another_size():
    model = randomized(variant("resnet20_cifar"))
    found = extractor(model, images(model, 1), [0, -1])
    x = torch.randn(3, 3, 40, 24)
    with torch.inference_mode():
        maps = model.forward_intermediates(x, [0, len(model.feature_info) - 1], intermediates_only=True)
    for ours, exact in zip(found(x).maps, maps, strict=True):
        assert (ours - exact).abs().max() <= 1e-4 * exact.abs().max()


def test_what_has_no_hidden_vector_is_refused():
    with pytest.raises(convatlas.ConvatlasError, match="scores pixels"):
        extractor(variant("unet_same").eval(), torch.zeros(1, 1, 32, 32))
    with pytest.raises(convatlas.ConvatlasError, match="training mode"):
        extractor(variant("lenet5").train(), torch.zeros(1, 1, 32, 32))
    with pytest.raises(convatlas.ConvatlasError, match="out_indices"):
        extractor(variant("lenet5").eval(), torch.zeros(1, 1, 32, 32), [9])
