"""U-Net on encoders: any size, which trunks it takes, weights from a trained classifier, the decoder written out again.
"""

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.arch.unet_encoder import OnEncoder
from parity import randomized, transplant

LIGHT = {"encoder": "mobilenet_v2", "encoder_fields": (("width", 0.25),), "decoder_widths": (12, 10, 8, 6, 4)}


def light(**fields):
    torch.manual_seed(0)
    return randomized(convatlas.create_model("unet_mobilenet_v2", **{**LIGHT, **fields}).double())


def test_scores_are_as_large_as_any_image():
    net = light()
    x = torch.randn(1, 3, 71, 45, dtype=torch.float64)
    with torch.inference_mode():
        scores = net(x)
        padded = net(F.pad(x, [0, 19, 0, 25], mode="replicate"))
    assert scores.shape == (1, 2, 71, 45) == (1, 2, *net.output_size(71, 45))
    torch.testing.assert_close(scores, padded[:, :, :71, :45], rtol=0, atol=1e-12)


def test_the_decoder_is_five_doublings_with_the_encoders_maps():
    net = light()
    x, state = torch.randn(2, 3, 64, 96, dtype=torch.float64), net.state_dict()

    def conv(y, name):
        norm = [state[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(F.conv2d(y, state[f"{name}.conv.weight"], padding=1), *norm))

    with torch.inference_mode():
        *skips, y = net.features(x)
        assert [skip.shape[2] for skip in skips] == [32, 16, 8, 4]
        for i, skip in enumerate([*reversed(skips), None]):
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
            y = y if skip is None else torch.cat([y, skip], 1)
            for j in (0, 1):
                y = conv(y, f"head.hidden.levels.{i}.convs.{j}")
        expected = F.conv2d(y, state["head.classifier.weight"], state["head.classifier.bias"], padding=1)
        torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("encoder", "reductions"), [
    ("resnet20_cifar", [1, 2, 4]),
    ("vgg11_bn", [1, 2, 4, 8, 16, 32]), ("densenet121", [2, 4, 8, 16, 32]), ("convnext_tiny", [4, 8, 16, 32])])
def test_many_trunks(encoder, reductions):
    with torch.device("meta"):
        net = convatlas.create_model("unet_resnet34", encoder=encoder)
        assert [info["reduction"] for info in net.feature_info] == reductions
        assert net(torch.empty(1, 3, 50, 70)).shape == (1, 2, 50, 70)


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"encoder": "resnet35"}, "or 'resnet34'"), ({"encoder": "inception_v3"}, "'inception_v3' is refused"),
    ({"encoder": "lecun1989_net1", "in_chans": 1}, "'lecun1989_net1' is refused"),
    ({"decoder_widths": (32, 16)}, "too few: resnet34 halves the image 5 times"),
    ({"encoder_fields": (("wdith", 2),)}, "no field 'wdith'")])
def test_what_cannot_be_built_is_explained(fields, sentence):
    with pytest.raises(convatlas.ConvatlasError) as caught, torch.device("meta"):
        convatlas.create_model("unet_resnet34", **fields)
    assert sentence in str(caught.value)


def test_a_trained_classifier_becomes_the_encoder():
    net, trained = light(), convatlas.create_model("mobilenet_v2", width=0.25, num_classes=7).double()
    before = net.head.classifier.weight.clone()
    assert isinstance(net, OnEncoder)
    net.load_encoder(trained)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.equal(net.eval().features(x)[-1], trained.eval().features(x)[-1])
    assert torch.equal(net.head.classifier.weight, before)
    with pytest.raises(convatlas.ConvatlasError, match="not the encoder of this"):
        net.load_encoder(convatlas.create_model("mobilenet_v2", width=0.5))


def test_equal_to_the_peers_unet():
    """The same scores from segmentation_models_pytorch's network, layer by layer with its weights."""
    peer = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = randomized(peer.Unet("resnet34", encoder_weights=None, classes=2).double())
    ours = convatlas.create_model("unet_resnet34").double().eval()
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    transplant(theirs, ours, x)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
