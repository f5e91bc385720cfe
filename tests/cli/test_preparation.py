"""How pictures were prepared for others' weights: beside the names, used, told, and refused where nobody knows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas import ConvatlasError, weights
from convatlas.deploy.bundle import deploy
from convatlas.net import registry
from convatlas.run import Preprocess
from convatlas.weights import foreign, tables
from convatlas.weights.files import Foreign

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RELEASED = [(family, peer) for family, library in tables.every() for peer in tables.peers(family, library)
            if library not in ("torchvision", "timm")]


def test_every_release_says_how_pictures_are_prepared_and_where_that_stands():
    for _, peer in RELEASED:
        assert peer.releases, peer
        for each in peer.releases:
            assert each.preprocess.mean and each.preprocess.std and ", line" in each.source, peer
            assert all(0 <= value <= 1 for value in (*each.preprocess.mean, *each.preprocess.std)), peer


def picture(path, seed=0, side=32):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def akamaster(tmp_path, names=lambda name: name, classes=10):
    """(our network, a file of its tensors as akamaster's code calls them)."""
    ours = convatlas.create_model("resnet20_cifar", shortcut="A_around", num_classes=classes).eval()
    state = {}
    for name, tensor in ours.state_dict().items():
        for a, b in (("stem.conv", "conv1"), ("stem.norm", "bn1"), ("head.classifier", "linear")):
            name = name.replace(a, b)
        if name.startswith("stages."):
            _, stage, block, _, step, kind, leaf = name.split(".")
            name = f"layer{int(stage) + 1}.{block}.{ {'conv': 'conv', 'norm': 'bn'}[kind]}{step[-1]}.{leaf}"
        state[names(name)] = tensor
    torch.save({"state_dict": state}, tmp_path / "resnet20.th")
    return ours, tmp_path / "resnet20.th"


def expected(ours, path, mean, std):
    """Probabilities with the normalisation written out again."""
    pixels = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255
    x = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        return ours(x[None]).softmax(1)[0]


def test_a_release_s_own_normalisation_is_used_and_told(tmp_path, inside):
    ours, path = akamaster(tmp_path, lambda name: f"module.{name}")
    image = picture(tmp_path / "x.png")
    net = convatlas.load(path)
    assert net.card.preprocess == Preprocess(mean=IMAGENET[0], std=IMAGENET[1], crop_pct=1.0)
    assert any("trainer.py" in note for note in net.card.provenance.report.notes)
    found, = convatlas.predict(path, [image], top_k=10)
    wanted = expected(ours, image, *IMAGENET)
    torch.testing.assert_close(torch.tensor(found.probabilities), wanted.sort(descending=True).values)
    done = inside("predict", path, image)
    assert done.returncode == 0 and "akamaster/pytorch_resnet_cifar10, trainer.py" in done.stderr


def test_other_classes_are_somebody_else_s_training_and_asked_for(tmp_path, inside):
    ours, path = akamaster(tmp_path, classes=4)
    image, mean, std = picture(tmp_path / "x.png"), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    folder = tmp_path / "data" / "0"
    folder.mkdir(parents=True)
    picture(folder / "x.png")
    for ask in (lambda **more: convatlas.predict(path, [image], top_k=4, **more),
                lambda **more: convatlas.evaluate(path, str(tmp_path / "data"), split="all", **more)):
        with pytest.raises(ConvatlasError, match=r"not known: give .*--set preprocess\.mean"):
            ask()
        with pytest.raises(ConvatlasError, match="not known"):
            ask(preprocess={"mean": mean})
    with pytest.raises(ConvatlasError, match="not known"):
        convatlas.transforms(convatlas.load(path))
    found, = convatlas.predict(path, [image], top_k=4, preprocess={"mean": mean, "std": std, "crop_pct": 1.0})
    torch.testing.assert_close(torch.tensor(found.probabilities),
                               expected(ours, image, mean, std).sort(descending=True).values)
    for command in (("predict", path, image), ("eval", path, tmp_path / "data")):
        assert (done := inside(*command)).returncode == 2 and "--set preprocess.mean" in done.stderr
    sets = ("--set", "preprocess.mean=0.1,0.2,0.3", "--set", "preprocess.std=0.5,0.6,0.7", "--set",
            "preprocess.crop_pct=1")
    assert (done := inside("eval", path, tmp_path / "data", *sets)).returncode == 0, done.stderr
    done = inside("weights", "convert", path, tmp_path / "ours.safetensors", "--to", "convatlas", *sets)
    assert done.returncode == 0, done.stderr
    assert convatlas.predict(tmp_path / "ours.safetensors", [image], top_k=4)[0].probabilities == found.probabilities
    assert inside("predict", path, image, "--set", "train.epochs=3").returncode == 2


def test_what_is_not_known_stays_so_in_our_files(tmp_path):
    _, path = akamaster(tmp_path, classes=4)
    convatlas.save(convatlas.load(path), tmp_path / "ours.safetensors")
    with pytest.raises(ConvatlasError, match="not known"):
        convatlas.transforms(convatlas.load(tmp_path / "ours.safetensors"))
    with pytest.raises(ConvatlasError, match="not known"):
        deploy(tmp_path / "ours.safetensors", tmp_path / "deployed")


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"mean": (1, 2, 3)}, "has no effect"), ({"fit": "zca"}, "needs what was measured"), ({"mena": 1}, "mena")])
def test_settings_without_effect_are_refused(changes, sentence):
    card = replace(registry.card("resnet20_cifar"), preprocess=Preprocess(fit="channel"),
                   fitted={"mean": torch.zeros(3), "std": torch.ones(3)})
    with pytest.raises(ConvatlasError, match=sentence):
        weights.prepared(card, changes)
    assert weights.prepared(card, {"fit": "none", "mean": (1, 2, 3)}).fitted == {}


def test_blue_first_is_turned_round():
    """Keras's VGG takes values to 255, blue, green, red, less a mean: the same scores come from a picture as it is."""
    theirs = convatlas.create_model("resnet20_cifar").eval()
    vgg = next(peer for peer in tables.peers("vgg", "keras") if peer.name == "VGG16")
    peer = replace(vgg, ours="resnet20_cifar")
    state = theirs.state_dict()
    known = foreign.Recognized(peer, {name: name for name in state}, (), 10, 3, ())
    ours = convatlas.create_model("resnet20_cifar").eval()
    report = foreign.load(ours, Foreign("x", "keras", state), known)
    assert [row.ours for row in report.rows if "blue, green, red" in row.why] == ["stem.conv.weight"]
    picture = torch.randint(0, 256, (1, 3, 32, 32)).float()
    caffe = picture.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    here = vgg.releases[0].preprocess
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (here.mean, here.std))
    with torch.inference_mode():
        torch.testing.assert_close(ours((picture / 255 - mean) / std), theirs(caffe), rtol=1e-4, atol=1e-4)
    assert {each.library for _, each in RELEASED if each.bgr} == {"caffe", "keras", "pytorch-fcn"}


def test_order_alone_is_asked_for_on_the_command_line(tmp_path, inside):
    ours = convatlas.create_model("lenet5_modern")
    state = {f"part{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(ours.state_dict().items())}
    torch.save(state, tmp_path / "x.pth")
    words = ("weights", "explain", tmp_path / "x.pth", "--model", "lenet5_modern")
    assert (done := inside(*words)).returncode == 2 and "--by-order" in done.stderr
    assert "tell nothing of constants" in inside(*words, "--by-order").stdout.replace("\n", " ")
    out = tmp_path / "ours.safetensors"
    convert = ("weights", "convert", tmp_path / "x.pth", out, "--to", "convatlas", "--model", "lenet5_modern")
    assert inside(*convert).returncode == 2 and inside(*convert, "--by-order").returncode == 0
    assert convatlas.load(out).name == "lenet5_modern"
