"""Every protocol against a slow, explicit reference: Pillow resizes and cuts, the network sees one view at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import ConvatlasError
from convatlas.evaluation.protocol import PROTOCOLS, Protocol, changed, named
from convatlas.evaluation.views import views, whole_pictures
from convatlas.run import Preprocess
from convatlas.zoo import transforms

NETS = {"crops": ("lenet1", {"in_chans": 3}), "pooled": ("resnet20_cifar", {"num_classes": 5})}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photographs of noise that grows brighter to one side: upright, wide and square, in two classes."""
    folder, dice = tmp_path_factory.mktemp("data") / "noise", np.random.default_rng(0)
    for name, sizes in (("a", [(40, 61), (55, 38)]), ("b", [(44, 44), (70, 39)])):
        (folder / name).mkdir(parents=True)
        for i, (h, w) in enumerate(sizes):
            smooth = Image.fromarray(dice.integers(0, 256, (6, 6, 3),
                                                   dtype=np.uint8)).resize((w, h), Image.Resampling.BICUBIC)
            smooth.save(folder / name / f"{i}.png")
    return folder


def files(folder):
    return [Image.open(path).convert("RGB") for path in sorted(folder.rglob("*.png"))]


def network(kind):
    torch.manual_seed(1)
    name, fields = NETS[kind]
    net = convatlas.create_model(name, **fields)
    net.card = replace(net.card, preprocess=Preprocess(crop_pct=1.0))
    with torch.no_grad():
        # so that pictures differ in what is said of them
        net.head.classifier.weight.mul_(40 if kind == "crops" else 0.5)
    return net.eval()


def resized(picture, short):
    w, h = picture.size
    size = (short, short * h // w) if w < h else (short * w // h, short)
    return picture.resize(size, Image.Resampling.BILINEAR)


def square(picture, where=0.5):
    """The square at a share of the way along the long side."""
    w, h = picture.size
    side, left, top = min(w, h), round((w - min(w, h)) * where), round((h - min(w, h)) * where)
    return picture.crop((left, top, left + side, top + side))


def five(picture, side):
    s = picture.size[0]
    far, middle = s - side, round((s - side) / 2)
    return [picture.crop((x, y, x + side, y + side))
            for x, y in ((0, 0), (far, 0), (0, far), (far, far), (middle, middle))]


def mirrored(pictures):
    return [each for picture in pictures for each in (picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]


def tensor(net, picture):
    """Normalised by hand."""
    t = transforms(net)
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    return (values - torch.tensor(t.mean).view(-1, 1, 1)) / torch.tensor(t.std).view(-1, 1, 1)


def scores(net, picture):
    with torch.inference_mode():
        return net(tensor(net, picture)[None])[0]


def posteriors(net, pictures):
    return torch.stack([scores(net, picture).softmax(0) for picture in pictures]).mean(0)


def windows(net, picture, step):
    """What a convolution with the network as its kernel gives: the mean score of all windows, `step` pixels apart."""
    side, (w, h) = net.image_size[0], picture.size
    found = [scores(net, picture.crop((x, y, x + side, y + side)))
             for y in range(0, h - side + 1, step) for x in range(0, w - side + 1, step)]
    return torch.stack(found).mean(0)


def judged(net, folder, protocol, **options):
    found = convatlas.evaluate(net, str(folder), protocol=protocol, **options)
    assert found.evaluation.count == 4 and found.evaluation.indices.tolist() == [0, 1, 2, 3]
    return found


def close(found, expected):
    """Pillow and torchvision round a resized pixel differently now and then: far less than what tells the pictures
    apart.
    """
    apart = torch.stack(expected).std(0).max().item()
    assert apart > 0.02
    torch.testing.assert_close(found.probabilities, torch.stack(expected), atol=0.03 * apart, rtol=0)


def test_alexnet(pictures):
    net = network("crops")                      # crop_pct = 1 leaves no margin: 32 = 28 / 0.875
    expected = [posteriors(net, mirrored(five(square(resized(picture, 32)), 28))) for picture in files(pictures)]
    found = judged(net, pictures, "alexnet-10crop", batch_size=3)
    assert found.protocol.views == 10 and found.protocol.scales == (32,)
    close(found, expected)


def test_googlenet(pictures):
    net, expected = network("crops"), []
    for picture in files(pictures):
        seen = []
        for short in (32, 36, 40, 44):
            for where in (0, 0.5, 1):
                field = square(resized(picture, short), where)
                seen += [*five(field, 28), field.resize((28, 28), Image.Resampling.BILINEAR)]
        expected.append(posteriors(net, mirrored(seen)))
    found = judged(net, pictures, "googlenet-144crop", batch_size=50)
    assert found.protocol.views == 144 and found.protocol.scales == (32, 36, 40, 44)
    close(found, expected)


def test_vgg(pictures):
    net = network("crops")
    expected = [torch.stack([windows(net, each, 4).softmax(0) for short in (28, 32, 36)
                             for each in mirrored([resized(picture, short)])]).mean(0) for picture in files(pictures)]
    found = judged(net, pictures, "vgg-dense", batch_size=2)
    assert found.protocol.views == 6 and found.protocol.scales == (28, 32, 36)
    close(found, expected)


def test_resnet(pictures):
    net = network("pooled")
    sides = tuple(round(scale * 32 / 224) for scale in (224, 256, 384, 480, 640))
    expected = [torch.stack([scores(net, resized(picture, short)) for short in sides]).mean(0).softmax(0)
                for picture in files(pictures)]
    found = judged(net, pictures, "resnet-multiscale", batch_size=4)
    assert found.protocol.scales == sides
    close(found, expected)


def center(picture, side):
    (w, h) = picture.size
    left, top = round((w - side) / 2), round((h - side) / 2)
    return picture.crop((left, top, left + side, top + side))


def test_parts(pictures):
    net = network("crops")
    once = [center(resized(picture, 35), 28) for picture in files(pictures)]
    close(judged(net, pictures, Protocol(crop_pct=0.8)), [posteriors(net, [view]) for view in once])
    close(judged(net, pictures, Protocol(scales=(35,))), [posteriors(net, [view]) for view in once])
    close(judged(net, pictures, Protocol(crop_pct=0.8, flip=True)),
          [posteriors(net, mirrored([view])) for view in once])
    scales = [posteriors(net, [center(resized(picture, short), 28) for short in (30, 41)])
              for picture in files(pictures)]
    close(judged(net, pictures, Protocol(scales=(30, 41))), scales)


def test_another_input_size(pictures):
    net = network("pooled")
    expected = [posteriors(net, [five(square(resized(picture, 38)), 38)[4]]) for picture in files(pictures)]
    close(judged(net, pictures, Protocol(image_size=(38, 38))), expected)
    with pytest.raises(ConvatlasError, match="exactly 16×16, not 38×38"):
        judged(convatlas.create_model("lecun1989_net5"), pictures, Protocol(image_size=(38, 38)))


def test_the_loss_is_that_of_the_averaged_probabilities(pictures):
    found = judged(network("crops"), pictures, "alexnet-10crop")
    labels = torch.tensor([0, 0, 1, 1])
    expected = -found.probabilities[torch.arange(4), labels].log().mean()
    assert found.evaluation.loss == pytest.approx(float(expected), rel=1e-5) == pytest.approx(found.log_loss, rel=1e-5)


@pytest.mark.parametrize("protocol", ["alexnet-10crop", "vgg-dense"])
def test_sub_batches_and_workers_change_nothing(pictures, protocol):
    net = network("crops")
    whole = judged(net, pictures, protocol, batch_size=256).evaluation.scores
    torch.testing.assert_close(judged(net, pictures, protocol, batch_size=1).evaluation.scores, whole,
                               atol=1e-5, rtol=1e-5)
    assert torch.equal(judged(net, pictures, protocol, batch_size=256, workers=1).evaluation.scores, whole)


def test_a_mean_picture_is_taken_off_every_crop(pictures):
    mean = torch.rand(3, 28, 28)
    transform = replace(transforms(network("crops")), fit="pixel_mean", std=(1.0,) * 3, fitted={"mean": mean})
    picture = torch.from_numpy(np.array(files(pictures)[0])).permute(2, 0, 1)
    plain = replace(transform, fit="none", mean=(0.0,) * 3)
    plan = named("alexnet-10crop").resolved((28, 28), 0.875)
    for a, b in zip(views(picture, transform, plan), views(picture, plain, plan), strict=True):
        torch.testing.assert_close(a, b - mean)


def test_a_mean_picture_becomes_a_mean_colour_for_whole_pictures():
    mean = torch.rand(3, 28, 28)
    transform = replace(transforms(network("crops")), fit="pixel_mean", std=(0.5,) * 3, fitted={"mean": mean})
    picture = torch.randint(0, 256, (3, 30, 50), dtype=torch.uint8)
    (view,) = views(picture, whole_pictures(transform), Protocol(scales=(30,), dense=True).resolved((28, 28), 1.0))
    torch.testing.assert_close(view, (picture / 255 - mean.mean((1, 2))[:, None, None]) / 0.5)
    with pytest.raises(ConvatlasError, match="whitened"):
        whole_pictures(replace(transform, fit="zca"))


def test_shards_are_read_too(pictures, tmp_path):
    from convatlas.data.shards.writer import write_shards

    write_shards(pictures, tmp_path / "shards", shard_bytes=2**20, val_fraction=0, seed=0,
                 report=lambda done, total: None)
    net = network("crops")
    found = convatlas.evaluate(net, str(tmp_path / "shards"), protocol="alexnet-10crop")
    # in the folder's order; the shards have a shuffled one
    expected = judged(net, pictures, "alexnet-10crop").probabilities
    torch.testing.assert_close(*(each[each[:, 0].argsort()] for each in (found.probabilities, expected)))


def test_crops_larger_than_the_picture_are_black_around_it(pictures):
    net = network("crops")
    found = views(torch.full((3, 40, 40), 255, dtype=torch.uint8), transforms(net),
                  Protocol(scales=(20,), crops=6).resolved((28, 28), 1.0))
    black = tensor(net, Image.new("RGB", (1, 1)))[:, 0, 0]
    assert len(found) == 6
    for view in found:
        torch.testing.assert_close(view[:, 0, 0], black)
        assert view[0, 14, 14] > black[0]


def test_an_unreadable_picture_is_left_out(pictures, tmp_path):
    for path in pictures.rglob("*.png"):
        copy = tmp_path / path.relative_to(pictures)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    net = network("crops")
    for protocol in ("centre", "alexnet-10crop"):
        found = convatlas.evaluate(net, str(tmp_path), protocol=protocol, batch_size=1)
        assert (found.evaluation.count, found.evaluation.skipped) == (3, 1)
        assert found.evaluation.indices.tolist() == [1, 2, 3]
        with pytest.raises(ConvatlasError, match=r"0\.png"):
            convatlas.evaluate(net, str(tmp_path), protocol=protocol, strict=True)


def test_what_does_not_fit_is_told(pictures):
    with pytest.raises(ConvatlasError, match="did you mean 'vgg-dense'"):
        named("vgg-dens")
    with pytest.raises(ConvatlasError, match="without crops"):
        changed(named("alexnet-10crop"), {"dense": True})
    with pytest.raises(ConvatlasError, match="give one of them"):
        changed(Protocol(), {"scales": (32,), "crop_pct": 0.9})
    with pytest.raises(ConvatlasError, match="crops = 7"):
        changed(Protocol(), {"crops": 7})
    with pytest.raises(ConvatlasError, match="at least 1 pixel"):
        changed(Protocol(), {"scales": (0,)})
    with pytest.raises(ConvatlasError, match="short side of 20 is too small for lenet1"):
        judged(network("crops"), pictures, Protocol(scales=(20,), dense=True))


def test_a_protocol_reads_as_a_sentence():
    said = {name: str(protocol.resolved((224, 224), 0.875)) for name, protocol in PROTOCOLS.items()}
    assert said["centre"] == "short side 256: the centre (224×224)"
    assert said["alexnet-10crop"] == ("short side 256: the four corners and the centre of the central square "
                                      "(224×224), each also mirrored; probabilities of 10 views averaged")
    assert "256, 288, 320, 352" in said["googlenet-144crop"] and "144 views" in said["googlenet-144crop"]
    assert said["vgg-dense"].startswith("short side 224, 256, 288: the whole picture, each also mirrored")
    assert said["resnet-multiscale"].endswith("scores of 5 views averaged")
    with pytest.raises(ValueError, match="frozen"):
        Protocol().flip = True
