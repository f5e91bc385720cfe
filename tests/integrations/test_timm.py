"""Our networks under timm's roof."""

from dataclasses import replace

import pytest
import timm
import torch

import convatlas
import convatlas.integrations.timm
from convatlas import ConvatlasError
from convatlas.run import Preprocess


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


def test_its_record_says_what_timm_reads(caplog):
    model = timm.create_model("convatlas_resnet20_cifar", in_chans=1)
    config = timm.data.resolve_data_config({}, model=model)
    assert (config["input_size"], config["mean"], config["std"]) == ((1, 32, 32), (0.5,), (0.5,))
    layers = dict(model.named_modules())
    assert layers[model.pretrained_cfg["first_conv"]].in_channels == 1
    assert layers[model.pretrained_cfg["classifier"]] is model.get_classifier()
    assert caplog.messages == []


def test_what_was_measured_is_told_with_weights(caplog, tmp_path):
    model = convatlas.create_model("resnet20_cifar")
    model.card = replace(model.card, preprocess=Preprocess(fit="pixel_mean"), fitted={"mean": torch.zeros(3, 32, 32)})
    file = convatlas.save(model, tmp_path / "model.safetensors")
    timm.create_model("convatlas_resnet20_cifar", weights=str(file))
    assert any("use convatlas.transforms(model)" in message for message in caplog.messages)


def test_a_stride_of_32_is_no_dilation():
    assert timm.create_model("convatlas_lenet5", output_stride=32).name == "lenet5"
    with pytest.raises(ConvatlasError, match="cannot be dilated"):
        timm.create_model("convatlas_lenet5", output_stride=16)
    with pytest.raises(ConvatlasError, match="goes with features_only"):
        timm.create_model("convatlas_lenet5", out_indices=(1,))
