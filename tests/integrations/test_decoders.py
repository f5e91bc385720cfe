"""Decoders of segmentation_models.pytorch on our networks: `pip install segmentation-models-pytorch`, then -m slow."""

import pytest
import torch

import convatlas.integrations.timm
from convatlas import ConvatlasError

smp = pytest.importorskip("segmentation_models_pytorch")
pytestmark = pytest.mark.slow

DECODERS = ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "UPerNet", "Segformer")
DILATED = ("DeepLabV3", "DeepLabV3Plus", "PAN")
NETWORKS = {        # and whether it can be dilated
    "resnet18": True, "resnext50_32x4d": True, "se_resnet18": True, "preact_resnet18": True, "wide_resnet50_2": True,
    "mobilenet_v1_025": True, "mobilenet_v2_035": True, "mobilenet_v3_small": True, "efficientnet_b0": True,
    "repvgg_a0": True, "convnext_tiny": True, "vgg11_bn": False, "densenet121": False, "googlenet": False,
    "bn_inception": False,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("decoder", DECODERS + DILATED)
def test_a_decoder_of_others_takes_our_maps(decoder, name):
    def build() -> torch.nn.Module:
        return getattr(smp, decoder)(f"tu-{convatlas.integrations.timm.PREFIX}{name}", encoder_weights=None, classes=2)

    if decoder in DILATED and not NETWORKS[name]:
        with pytest.raises(ConvatlasError, match="cannot be dilated"):
            build()
        return
    with torch.no_grad():
        scores = build().eval()(torch.randn(1, 3, 128, 160))
    assert scores.shape == (1, 2, 128, 160) and scores.isfinite().all()
