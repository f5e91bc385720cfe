"""Our networks under timm's roof."""

import pytest
import timm
import torch

import convatlas
import convatlas.integrations.timm
from convatlas import ConvatlasError


def test_timm_builds_them_by_name():
    model = timm.create_model("convatlas_resnet18", num_classes=3, in_chans=1)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    assert {f"convatlas_{name}" for name in convatlas.list_models()} == set(timm.list_models("convatlas_*"))


def test_maps_as_timm_gives_them():
    model = timm.create_model("convatlas_resnet18", features_only=True, out_indices=(1, 3))
    peer = timm.create_model("resnet18", features_only=True, out_indices=(1, 3))
    assert model.feature_info.channels() == peer.feature_info.channels()
    assert model.feature_info.reduction() == peer.feature_info.reduction()
    assert [tuple(each.shape) for each in model(torch.zeros(1, 3, 64, 64))] == [(1, 64, 16, 16), (1, 256, 4, 4)]


def test_pretrained_names_no_weights(resnet):
    with pytest.raises(ConvatlasError, match="names no weights"):
        timm.create_model("convatlas_resnet18", pretrained=True)
    model, path = resnet
    assert torch.equal(timm.create_model("convatlas_resnet18", weights=str(path)).head.classifier.bias, model.fc.bias)
