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
    with pytest.raises(convatlas.ConvatlasError, match="out_indices"):
        extractor(convatlas.create_model("lenet5", features_only=True).eval(),   # type: ignore[arg-type]
                  torch.zeros(1, 1, 32, 32))
    with pytest.raises(convatlas.ConvatlasError, match="global_pool = 'none'"):
        unpooled = variant("resnet20_cifar").eval()
        unpooled.reset_classifier(0, "")
        extractor(unpooled.eval(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(convatlas.ConvatlasError, match="one image at least"):
        extractor(variant("lenet5").eval(), torch.zeros(0, 1, 32, 32))


@pytest.mark.parametrize("name", ["lenet1", "lecun1989_net2", "lecun1989_net5"])
def test_a_flattened_map_and_a_network_without_maps_give_their_hidden_vector(name):
    model = randomized(variant(name))
    x = images(model, 2)
    given = extractor(model, x)(x)
    with torch.inference_mode():
        exact = model.forward_head(model.forward_features(x), pre_logits=True)
    assert len(given.maps) == len(model.feature_info)
    assert given.hidden.shape == exact.shape == (2, model.head_hidden_size)
    assert (given.hidden - exact).abs().max() <= 1e-4 * exact.abs().max()


@pytest.mark.parametrize(("shape", "dtype"), [
    ((1, 3, 32, 32), torch.uint8), ((1, 4, 32, 32), torch.float32), ((3, 32, 32), torch.float32),
    ((1, 3, 4, 4), torch.float32)])
def test_images_that_the_network_refuses_are_refused_in_its_words(shape, dtype):
    model = randomized(variant("alexnet_cifar"))
    x = torch.ones(shape, dtype=dtype)
    found = extractor(model, images(model, 1))
    with pytest.raises(convatlas.ConvatlasError) as exact:
        model(x)
    for call in (lambda: found(x), lambda: extractor(model, x)):
        with pytest.raises(convatlas.ConvatlasError) as ours:
            call()
        assert str(ours.value) == str(exact.value)


def test_a_size_is_checked_when_it_first_comes_only(monkeypatch):
    model = randomized(variant("resnet20_cifar"))
    x = images(model, 1)
    found = extractor(model, x)
    asked = []
    accepts = type(model).accepts
    monkeypatch.setattr(type(model), "accepts", lambda net, size: asked.append(size) or accepts(net, size))
    for side in (32, 32, 40, 40, 32):
        found(torch.randn(1, 3, side, side))
    assert asked == [(40, 40)]


def test_what_was_given_holds_after_later_calls():
    model = randomized(variant("densenet_40_12_cifar"))
    x = images(model, 2)
    found = extractor(model, x)
    given = found(x)
    kept = [each.clone() for each in [*given.maps, given.hidden]]
    for other in (images(model, 5), torch.randn(2, 3, 40, 24)):
        found(other)
    for now, then in zip([*given.maps, given.hidden], kept, strict=True):
        assert torch.equal(now, then)
