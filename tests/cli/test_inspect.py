"""`convatlas inspect` as a user runs it: what does not fit is told in one sentence, pictures of any size and mode are
taken.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas

MODES = ("RGB", "L", "RGBA", "P", "LA", "1")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A file of weights whose network knows 'Cat', 'dog' and 'bird'."""
    torch.manual_seed(0)
    model = convatlas.create_model("resnet20_cifar", n=1, num_classes=3, excite={"reduction": 4}).eval()
    model.card = replace(model.card, classes=("Cat", "dog", "bird"))
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    convatlas.save(model, path)
    return path


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Pictures of every mode, no two of one size, in 'cat', 'dog' and 'wolf'."""
    folder, dice = tmp_path_factory.mktemp("data") / "pets", np.random.default_rng(0)
    for name in ("cat", "dog", "wolf"):
        (folder / name).mkdir(parents=True)
        for i, mode in enumerate(MODES):
            pixels = dice.integers(0, 256, (20 + 7 * i, 61 - 5 * i, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{mode}.png")
    return folder


def told(done):
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(("words", "said"), [
    (["gates", "lenet5", "digits"],
     "lenet5 has no squeeze-and-excitation, so there are no gates to look at; networks that have: se_"),
    (["gates", "NET", "PETS", "--layer", "stages.0.0.branch.exite"], "did you mean 'stages.0.0.branch.excite'"),
    (["gates", "NET", "PETS", "--class", "catt"], "no class 'catt'; did you mean 'cat'"),
    (["dense", "lenet5"], "lenet5 has no dense blocks"),
    (["same-as-fc", "lenet5"], "lenet5 has no 1×1 convolution"),
    (["activations", "NET", "PETS/cat/L.png", "--layer", "stage.0"],
     "no layer 'stage.0' in resnet20_cifar; did you mean 'stages.0'"),
    (["filters", "NET", "--layer", "stem.cnov"], "did you mean 'stem.conv'"),
    (["filters", "NET", "--layer", "stem.act"], "which has no kernels"),
    (["receptive-field", "NET", "--layer", "stages.7"], "did you mean 'stages.2'"),
    (["activations", "NET", "PETS/cat/none.png"], "cannot read the image"),
    (["residuals", "NET", "--data", "PETS/cat"], "no class folders"),
    (["summary", "lenet55"], "there is no model 'lenet55'; did you mean 'lenet5'"),
    (["summary", "lenet5", "--image-size", "3"], "too small"),
    (["diagram", "lenet5", "--out", "net.bmp"], "ends in .png, .svg, .pdf"),
    (["costs", "--cin", "100"], "groups = 32 is refused"),
    (["upsampling", "--side", "20"], "too many to draw"),
])
def test_what_does_not_fit_is_told(inside, net, pets, tmp_path, words, said):
    words = [word.replace("NET", str(net)).replace("PETS", str(pets)) for word in words]
    done = inside("inspect", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in told(done) and not done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_layer_for_saliency_that_does_not_exist(inside, net, pets, tmp_path):
    pytest.importorskip("captum")
    done = inside("inspect", "saliency", net, pets / "cat" / "P.png", "--layer", "stages.22",
                  "--out", tmp_path / "x.png")
    assert done.returncode == 2 and "did you mean 'stages.2'" in told(done)


def test_pictures_of_mixed_sizes_and_modes(inside, net, pets, tmp_path):
    done = inside("inspect", "residuals", net, "--data", pets, "--out", tmp_path / "r.svg", "--json")
    assert done.returncode == 0 and min(json.loads(done.stdout)["networks"]["net.safetensors"].values()) > 0
    done = inside("inspect", "gates", net, pets, "--out", tmp_path / "g.png", "--json")
    assert [row["images"] for row in json.loads(done.stdout)["layers"][0]["classes"]] == [6, 6, 6]
    done = inside("inspect", "receptive-field", net, "--data", pets, "--images", 18,
                  "--out", tmp_path / "f.png", "--json")
    assert json.loads(done.stdout)[0]["image"] == [32, 32]
    assert "<svg" in (tmp_path / "r.svg").read_text() and (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


def test_eval_takes_mixed_pictures_and_says_which_classes_it_does_not_know(inside, net, pets):
    done = inside("eval", net, pets, "--json")
    found = json.loads(done.stdout)
    assert (found["count"] == 12
            and {row["class"]: row["count"] for row in found["classes"] if row["count"]} == {"Cat": 6, "dog": 6})
    for said in ("'cat' is taken for the model's 'Cat'", "6 of 18 images are left out: the model does not know 'wolf'"):
        assert said in told(done)
    done = inside("eval", net, pets, "--strict")
    assert (done.returncode == 2
            and "classes that the model does not know: 'wolf'; it knows 'Cat', 'dog', 'bird'" in told(done))


def test_eval_of_a_folder_of_one_image(inside, net, pets, tmp_path):
    (tmp_path / "one" / "dog").mkdir(parents=True)
    (tmp_path / "one" / "dog" / "1.png").write_bytes((pets / "dog" / "RGB.png").read_bytes())
    done = inside("eval", net, tmp_path / "one", "--json")
    found = json.loads(done.stdout)
    # one image says little
    assert found["count"] == 1 and found["top1_interval"][1] - found["top1_interval"][0] > 0.75


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_diagram_in_every_format(inside, tmp_path, suffix, begins):
    done = inside("inspect", "diagram", "lenet5", "--out", tmp_path / f"net.{suffix}", "--json")
    assert json.loads(done.stdout)["macs"] == 325_680 and json.loads(done.stdout)["units"][0]["channels"] == 6
    assert done.returncode == 0 and f"net.{suffix}" in done.stderr
    assert (tmp_path / f"net.{suffix}").read_bytes().startswith(begins)
