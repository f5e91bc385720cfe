"""Networks that segment begin from trained classifiers and from coarser networks: files of ours and of others."""

from dataclasses import replace

import pytest
import torch

import convatlas
from convatlas.net.registry import VARIANTS
from convatlas.net.segmenter import Segmenter
from convatlas.run import Preprocess
from parity import randomized

SMALL = {"encoder": "resnet20_cifar", "decoder_widths": (8, 6)}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A small network with weights, of 7 classes, and its file."""
    torch.manual_seed(1)
    net = randomized(convatlas.create_model("resnet20_cifar", num_classes=7))
    net.card = replace(net.card, preprocess=Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)))
    return net, convatlas.save(net, tmp_path_factory.mktemp("begin") / "resnet.safetensors")


def test_a_file_of_ours_fills_the_encoder(classifier):
    trained, path = classifier
    net = convatlas.create_model("unet_resnet34", path, num_classes=3, **SMALL)
    x = torch.randn(1, 3, 36, 28)
    with torch.inference_mode():
        for ours, theirs in zip(net.features(x), trained.eval().features(x), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert net.num_classes == 3 and net(x).shape == (1, 3, 36, 28) and net.card.preprocess == trained.card.preprocess
    gray = convatlas.create_model("unet_resnet34", path, in_chans=1, **SMALL)
    torch.testing.assert_close(gray.stem.state_dict()["conv.weight"],
                               net.stem.state_dict()["conv.weight"].sum(1, keepdim=True))


def test_a_file_of_another_library_fills_it_too(resnet):
    theirs, path = resnet
    net = convatlas.create_model("unet_resnet34", path, encoder="resnet18")
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        y = theirs.eval().maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        torch.testing.assert_close(net.features(x)[-1], expected, rtol=1e-4, atol=1e-4)
    assert str(path) in net.card.provenance.report.brief()[0]


def test_a_coarser_network_hands_on_what_it_has(tmp_path):
    """As FCN-16s begins from FCN-32s; their names differ, and so may their classes."""
    coarse = randomized(convatlas.create_model("unet", widths=(3, 4, 5), num_classes=4))
    coarse.card = replace(coarse.card, classes=("a", "b", "c", "d"))
    path = convatlas.save(coarse, tmp_path / "coarse.safetensors")
    fine = convatlas.create_model("unet_same", path, widths=(3, 4, 5), norm="none", in_chans=1)
    assert fine.num_classes == 4 and fine.card.classes == coarse.card.classes
    assert all(torch.equal(tensor, coarse.state_dict()[name]) for name, tensor in fine.state_dict().items())
    again = convatlas.create_model("unet", path)
    assert again.spec == coarse.spec and torch.equal(again.head.classifier.weight, coarse.head.classifier.weight)


def test_what_does_not_fit_is_told(classifier, tmp_path):
    path = classifier[1]
    with pytest.raises(convatlas.ConvatlasError, match="resnet20_cifar is not the encoder of this unet_resnet34"):
        convatlas.create_model("unet_resnet34", path, encoder="resnet32_cifar")
    with pytest.raises(convatlas.ConvatlasError, match="unet cannot begin from resnet20_cifar: there is no "
                       "classifier inside it"):
        convatlas.create_model("unet", path)
    with pytest.raises(convatlas.ConvatlasError, match=r"fcn32s_alexnet cannot begin .*: inside it is alexnet "
                       r"for 3 channels"):
        convatlas.create_model("fcn32s_alexnet", path)
    coarse = convatlas.save(convatlas.create_model("unet", widths=(3, 4)), tmp_path / "coarse.safetensors")
    with pytest.raises(convatlas.ConvatlasError, match="has 5 classes, unet 2"):
        convatlas.create_model("unet_same", coarse, widths=(3, 4), norm="none", in_chans=1, num_classes=5)
    torch.save({"odd.weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(convatlas.ConvatlasError, match="does not hold"):
        convatlas.create_model("unet_resnet34", tmp_path / "odd.pth")


def test_all_networks_that_segment_are_trained_as_such():
    for name in ("unet", "unet_same", "unet_resnet34", "unet_mobilenet_v2", "fcn8s_vgg16", "lenet5"):
        with torch.device("meta"):
            assert isinstance(convatlas.create_model(name), Segmenter) == VARIANTS[name].segments, name
