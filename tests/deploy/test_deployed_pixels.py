"""Deployed folders of networks that score pixels: images of any size, `segment`, and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas.deploy import bundle, choose
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.backends.native import SIZES, Sizes
from convatlas.deploy.bundle import deploy, deployed
from convatlas.deploy.native import compiler
from convatlas.net.segmenter import Segmenter
from convatlas.segment.run import segment
from parity import randomized

NAMES = [pytest.param("eager"), pytest.param("native"), pytest.param("onnxruntime", marks=pytest.mark.slow),
         pytest.param("openvino", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def in_a_moment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "optimize_in", partial(choose.optimize_in, seconds=0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = randomized(convatlas.create_model("unet", widths=(4, 9, 16), image_size=60)).eval()
    made.card = replace(made.card, classes=("ground", "cell"), preprocess=convatlas.run.Preprocess())
    return made


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_answers_images_of_any_size(name, model, tmp_path):
    if BACKENDS[name].missing():
        pytest.skip(BACKENDS[name].missing())
    deploy(model, tmp_path / "net", name)
    net = deployed(tmp_path / "net")
    assert isinstance(net, Segmenter) and net.card.classes == model.card.classes and net.engine is not None
    for shape in ((1, 1, 60, 60), (3, 1, 60, 60), (2, 1, 44, 92)):
        x = torch.randn(shape)
        with torch.inference_mode():
            close(net(x), model(x))
    with pytest.raises(convatlas.ConvatlasError, match=r"unet takes images with sides of 44, 48"):
        net(torch.randn(1, 1, 61, 60))
    with pytest.raises(convatlas.ConvatlasError, match="gives scores for pixels, not for images"):
        convatlas.predict(tmp_path / "net", ["a.png"])


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")
def test_tiles_of_a_deployed_network_are_those_of_the_network(model, tmp_path):
    deploy(model, tmp_path / "net", "native")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (70, 83), dtype=np.uint8)).save("a.png")
    shares = []
    for net, out in ((model, "ours"), (deployed(tmp_path / "net"), "fast")):
        (found,) = segment(net, ["a.png"], out, tile=76, probabilities=True)
        shares.append((np.load(found.probabilities), np.asarray(Image.open(found.labels))))
    (ours, labels), (fast, again) = shares
    assert ours.shape == (2, 70, 83) and len(np.unique(labels)) == 2
    assert np.abs(ours - fast).max() < 1e-5 and np.mean(labels != again) < 1e-3


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler here: install g++")
def test_sizes_share_weights_and_memory_and_are_not_kept_for_ever(model):
    sizes = Sizes(convatlas.deploy.rewrite(model), 1)
    first = sizes.of(torch.zeros(1, 1, 60, 60))
    first.tune(np.zeros((1, 1, 60, 60), np.float32))
    wanted = {key for key in first.choices if key.startswith("conv")}
    for side in range(44, 44 + 4 * (SIZES + 3), 4):
        x = torch.randn(1, 1, side, 60)
        with torch.inference_mode():
            close(sizes(x), model(x))
    last = sizes.of(x)
    assert len(sizes.networks) == SIZES and next(iter(sizes.networks.values())) is first
    assert last.weights is first.weights and last.arenas is first.arenas and last.lock is first.lock
    assert wanted and last.alike.keys() == {engine_key(key) for key in first.choices}


def engine_key(key: str) -> str:
    kind, shape = key.split(" ", 1)
    return f"{kind} {shape.split('×', 3)[3]}"


def test_what_takes_one_size_is_refused(model, tmp_path):
    with pytest.raises(convatlas.ConvatlasError, match=r"images of any size, and compile is made for one: take eager"):
        deploy(model, tmp_path / "net", "compile")
    with pytest.raises(convatlas.ConvatlasError, match="int8 is made and judged for networks that classify"):
        deploy(model, tmp_path / "net", precision="int8")


@pytest.mark.slow       # the tests above have its parts
def test_deploy_and_segment_by_the_command_line(model, tmp_path):
    convatlas.save(model, tmp_path / "net.safetensors")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 83), dtype=np.uint8)).save("a.png")

    def run(*args: str) -> str:
        done = subprocess.run([sys.executable, *args], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-m", "convatlas", "deploy", "net.safetensors", "--out", "fast", "--backend", "native")
    assert json.loads((tmp_path / "fast" / "deploy.json").read_text())["segments"] is True
    for which in ("net.safetensors", "fast"):
        run("-m", "convatlas", "segment", which, "a.png", "--out", f"out-{which}", "--tile", "76")
    page = (tmp_path / "fast" / "README.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("\n```")[0].replace('deployed(".")', 'deployed("fast")')
    run("-c", program, "a.png")
    ours, fast, by_page = (np.asarray(Image.open(next((tmp_path / folder).glob("a*labels*"))))
                           for folder in ("out-net.safetensors", "out-fast", "labels"))
    assert np.mean(ours != fast) < 1e-3 and np.mean(ours != by_page) < 1e-3
