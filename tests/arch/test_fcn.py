"""FCN: bilinear kernels, alignment of every score map with the image, the classifier slid over the image, staged
training.
"""

import pytest
import torch
import torch.nn.functional as F

import convatlas
from convatlas.arch.fcn import FCN, Scores
from convatlas.parts import bilinear_up, convolution

#   backbone, stride → (pixels per cell, image coordinate of cell 0's centre) of fc7, pool4, pool3
# conv1_1 pads 99 more than it usually does, fc6 begins 3 cells in
VGG16 = ((32, 12.5), (16, 7.5 - 99), (8, 3.5 - 99))
ALEXNET = ((32, 13.0),)                                 # conv1 centre 5 − 100, each pool's 1 cell in, fc6's 2.5
GOOGLENET = ((32, 30.0 - 97),)                          # conv1 pads 97 more than it usually does, four pools' 1 cell in


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (16, 8), (32, 16), (64, 32)])
def test_bilinear_kernels_interpolate(kernel, stride):
    up = bilinear_up(3, kernel, stride, learned=False)
    x = torch.randn(1, 3, 7, 6)
    border = (kernel - stride) // 2
    ours = up(x)[:, :, border:-border, border:-border]
    torchs = F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False)
    # torch repeats the border, a convolution sees zeros
    inner = (..., slice(stride, -stride), slice(stride, -stride))
    torch.testing.assert_close(ours[inner], torchs[inner])


def test_the_odd_kernel_interpolates_too():
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    y = bilinear_up(1, 63, 32, learned=False)(ramp)[0, 0, 100]
    # cell i is centred on 32i + 31
    torch.testing.assert_close(y[31 : 31 + 5 * 32 + 1], torch.arange(0, 5 * 32 + 1) / 32)


def cells(count, step, first):
    """A map (1, 1, count, count) that holds each cell's own column in the image."""
    return (first + step * torch.arange(count, dtype=torch.float64)).expand(1, 1, count, count)


@pytest.mark.parametrize(("spec", "geometry", "counts"), [
    (FCN(), VGG16, (16,)), (FCN(stride=16), VGG16, (16, 44)), (FCN(stride=8), VGG16, (16, 44, 88)),
    (FCN("alexnet"), ALEXNET, (16,)), (FCN("caffenet"), ALEXNET, (16,)), (FCN("googlenet"), GOOGLENET, (21,))],
    ids=["32s", "16s", "8s", "alexnet", "caffenet", "googlenet"])
def test_every_score_lands_on_its_pixel(spec, geometry, counts):
    """Maps that hold their cells' image coordinates must give each pixel its own coordinate, once per map."""
    scores = Scores(spec, 0, 1).double()
    for score in scores.score.values():
        score.weight = torch.nn.Parameter(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    maps = [cells(count, *where) for count, where in zip(counts, geometry, strict=False)]
    y = scores(maps, (500, 500))
    assert y.shape == (1, 1, 500, 500)
    expected = len(maps) * torch.arange(500, dtype=torch.float64)
    torch.testing.assert_close(y[0, 0, 250, 64:436], expected[64:436])
    torch.testing.assert_close(scores([m.mT for m in maps], (500, 500))[0, 0, 64:436, 250], expected[64:436])


def test_at_once_scales_the_finer_maps():
    staged, at_once = Scores(FCN(stride=8), 0, 1), Scores(FCN(stride=8, fusion="at_once"), 0, 1)
    sums = {}
    for name in ("fc7", "pool4", "pool3"):
        for scores in (staged, at_once):
            for key, score in scores.score.items():
                torch.nn.init.constant_(score.weight, float(key == name))
        maps = [torch.ones(1, c, n, n) for c, n in ((4096, 16), (512, 44), (256, 88))]
        sums[name] = (at_once(maps, (500, 500)).sum() / staged(maps, (500, 500)).sum()).item()
    assert sums == pytest.approx({"fc7": 1, "pool4": 0.01, "pool3": 0.0001}, rel=1e-4)


def test_a_fully_connected_layer_is_a_convolution():
    fc = torch.nn.Linear(8 * 9, 5)
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(convolution(fc, 8)(x).flatten(1), fc(x.flatten(1)))


@pytest.mark.parametrize(("name", "backbone", "size", "pad"), [
    ("fcn32s_alexnet", "alexnet", 27, 100), pytest.param("fcn8s_vgg16", "vgg16", 26, 99, marks=pytest.mark.slow)])
def test_on_one_window_it_is_the_classifier(name, backbone, size, pad):
    """An image that is one window with its padding gives the classifier's fc7."""
    net = convatlas.create_model(name, num_classes=0).eval()
    single = convatlas.create_model(backbone, num_classes=0).eval()
    net.load_encoder(single)
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        fc7, expected = net(x), single(F.pad(x, (pad,) * 4))
    assert fc7.shape == (2, 4096, 1, 1) and expected.std() > 0
    torch.testing.assert_close(fc7.flatten(1), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_googlenet_is_slid_without_its_mean_and_its_side_classifiers():
    """From a classifier with them; the maps of a padded image are the classifier's own."""
    net = convatlas.create_model("fcn32s_googlenet").eval()
    single = convatlas.create_model("googlenet", num_classes=7).eval()
    net.load_encoder(single)
    x = torch.randn(1, 3, 48, 60)
    with torch.inference_mode():
        maps, expected = net.forward_features(x), single.forward_features(F.pad(x, (97,) * 4))
    assert maps.shape == expected.shape and expected.std() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    assert not any("aux" in name for name in net.state_dict()) and net.stages[-1].drop.p == 0.4


def test_caffenet_pools_before_it_normalises():
    with torch.device("meta"):
        net = convatlas.create_model("fcn32s_caffenet")
    order = [name for stage in (net.stem, *net.stages[:4]) for name, _ in stage.named_children()]
    assert order == ["conv1", "act1", "pool1", "norm1", "conv2", "act2", "pool2", "norm2", "conv3", "act3", "conv4",
                     "act4", "conv5", "act5"]
    norm = net.stages[1].norm1
    assert (norm.size, norm.alpha, norm.beta, norm.k) == (5, 1e-4 / 5, 0.75, 1.0)


@pytest.mark.parametrize("name", ["fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16", "fcn32s_alexnet", "fcn32s_caffenet",
                                  "fcn32s_googlenet"])
def test_scores_are_as_large_as_the_image(name):
    with torch.device("meta"):
        net = convatlas.create_model(name)
    for size in ((1, 1), (27, 33), (500, 499), (224, 641)):
        assert net.output_size(*size) == size


def test_which_upsampling_is_trained():
    def trained(upsampling):
        with torch.device("meta"):
            net = convatlas.create_model("fcn8s_vgg16", upsampling=upsampling)
        return [name for name, up in net.head.classifier.up.items() if up.weight.requires_grad]

    assert (trained("fixed"), trained("paper"), trained("learned")) == ([], ["pool4", "pool3"],
                                                                        ["pool4", "pool3", "image"])


def test_layers_are_initialised_and_pooled_as_published():
    net = convatlas.create_model("fcn32s_alexnet", drop_rate=0.2)
    assert all(m.ceil_mode for m in net.modules() if isinstance(m, torch.nn.MaxPool2d))
    assert {m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    score = net.get_classifier().score["fc7"]
    assert not score.weight.any() and not score.bias.any()
    net.reset_classifier(4)
    assert net(torch.randn(1, 3, 40, 50)).shape == (1, 4, 40, 50)
    assert net.get_classifier().up["image"].weight.shape == (4, 4, 63, 63)
    with pytest.raises(ValueError, match="published for vgg16 only"):
        convatlas.create_model("fcn32s_alexnet", stride=8)


@pytest.mark.slow
def test_stages_of_training_hand_on_what_was_learned():
    coarse = convatlas.create_model("fcn32s_vgg16").eval()
    torch.nn.init.normal_(coarse.get_classifier().score["fc7"].weight)
    fine = convatlas.create_model("fcn16s_vgg16").eval()
    fine.load_coarser(coarse)
    assert torch.equal(fine.stages[8].fc6.weight, coarse.stages[8].fc6.weight)
    scores = fine.get_classifier()
    assert torch.equal(scores.score["fc7"].weight, coarse.get_classifier().score["fc7"].weight)
    assert not scores.score["pool4"].weight.any() and scores.up["image"].weight.shape[-1] == 32
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():    # until pool4 has learned, the scores are the coarse network's, smoothed another way
        ours, theirs = fine(x).flatten(), coarse(x).flatten()
    assert torch.corrcoef(torch.stack((ours, theirs)))[0, 1] > 0.99
    with pytest.raises(convatlas.ConvatlasError, match="cannot begin from fcn32s_alexnet"):
        fine.load_coarser(convatlas.create_model("fcn32s_alexnet"))
