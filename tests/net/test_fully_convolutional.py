"""fully_convolutional: the same scores at the native size, a map of them on larger images, and what it refuses."""

import pytest
import torch
from torch import nn

import convatlas
from convatlas import ConvatlasError, fully_convolutional

FC = {"alexnet": (227, {"num_classes": 5}), "vgg16": (224, {"num_classes": 5, "fc": 16}), "lenet1": (28, {}),
      "lenet4": (32, {})}


def networks(name: str, **fields: object) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = convatlas.create_model(name, **fields).eval()
    return model, fully_convolutional(model)


@pytest.mark.parametrize("name", FC)
def test_fully_connected_layers_become_convolutions(name):
    size, fields = FC[name]
    model, dense = networks(name, **fields)
    x = torch.randn(1, model.in_chans, size + 32, size + 64)
    with torch.inference_mode():
        expected, scores = model(x[:, :, :size, :size]), dense(x[:, :, :size, :size])
        larger = dense(x)
    assert not any(isinstance(m, nn.Linear) for m in dense.modules())
    assert scores.shape == (1, model.num_classes, 1, 1) and expected.std() > 0
    torch.testing.assert_close(scores[:, :, 0, 0], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    step = model.feature_info[-1]["reduction"]
    assert larger.shape == (1, model.num_classes, 1 + 32 // step, 1 + 64 // step)


def test_unpadded_networks_score_each_window_as_if_it_were_cut_out():
    model, dense = networks("lenet1")
    x = torch.randn(1, 1, 36, 36)
    with torch.inference_mode():
        scores = dense(x)
        for i in range(3):
            for j in range(3):
                torch.testing.assert_close(scores[:, :, i, j], model(x[:, :, 4 * i:4 * i + 28, 4 * j:4 * j + 28]),
                                           rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, fields", [("nin_cifar10", {}), ("all_cnn_c", {}), ("resnet20_cifar", {}),
                                          ("lenet1", {"image_size": 28, "num_classes": 3})])
def test_the_mean_of_the_map_is_the_networks_score(name, fields):
    model, dense = networks(name, **fields)
    x = torch.randn(2, model.in_chans, *model.image_size)
    with torch.inference_mode():
        scores = dense(x)
        torch.testing.assert_close(scores.mean((2, 3)), model(x), rtol=1e-4, atol=1e-5)
    assert scores.shape[1] == model.num_classes


def test_the_original_is_untouched_and_the_copy_is_its_own():
    model, dense = networks("lenet4")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for parameter in dense.parameters():
        nn.init.zeros_(parameter)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert fully_convolutional(model.train()).training


@pytest.mark.parametrize("name, fields, words", [
    ("lenet5", {}, "RBF"),
    ("vgg16", {"image_size": 64}, "AdaptiveAvgPool2d"),
    ("nin_cifar10", {"num_classes": 0}, "no classifier"),
])
def test_refusals(name, fields, words):
    with torch.device("meta"):
        model = convatlas.create_model(name, **fields)
    with pytest.raises(ConvatlasError, match=words):
        fully_convolutional(model)
