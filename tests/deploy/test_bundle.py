"""Deployed folders: the same scores by the folder, by its page's program, and by convatlas.predict."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import convatlas
from convatlas.deploy.backends import BACKENDS
from convatlas.deploy.bundle import deploy, deployed, is_deployed
from laws import build, images
from parity import randomized

pytestmark = pytest.mark.usefixtures("own_cache")
SLOW = ("compile", "aot")
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
         for name in BACKENDS if name != "wasm"]        # whose page is for browsers: test_wasm.py


@pytest.fixture
def model():
    made = randomized(build("resnet20_cifar"))
    made.card = replace(made.card, classes=tuple(f"class {i}" for i in range(made.num_classes)),
                        preprocess=convatlas.run.Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), crop_pct=0.8))
    return made


def picture(path, size):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_folder_page_and_predict_agree(name, model, tmp_path):
    if BACKENDS[name].missing():
        pytest.skip(BACKENDS[name].missing())
    report = deploy(model, tmp_path / "net", name, batch=2)
    assert report.chosen == name and is_deployed(tmp_path / "net")
    net, x = deployed(tmp_path / "net"), images(model, 5)
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    assert (net.card.classes == model.card.classes and net.card.preprocess == model.card.preprocess
            and net.image_size == model.image_size)
    photo = picture(tmp_path / "photo.png", (90, 61))
    ours, theirs = convatlas.predict(model, [photo])[0], convatlas.predict(net, [photo])[0]
    assert ours.classes == theirs.classes and np.allclose(ours.probabilities, theirs.probabilities, atol=1e-4)
    printed = page(tmp_path / "net", photo)
    if name in ("eager", "native", "compile"):
        assert [label for label, _ in printed] == list(ours.classes)
        return
    with torch.inference_mode():
        scores = model(convatlas.transforms(model)(Image.open(photo))[None])[0]
    best = scores.topk(5)
    assert [label for label, _ in printed] == [model.card.classes[i] for i in best.indices]
    # Pillow and torchvision round a resized pixel to neighbouring bytes at times
    largest = scores.abs().max().item()
    assert np.allclose([score for _, score in printed], best.values, atol=5e-3 * largest)


def page(folder, photo) -> list[tuple[str, float]]:
    """What the program on the folder's page prints, run by itself in the folder."""
    program = re.search(r"```python\n(.*?)\n```", (folder / "README.md").read_text(encoding="utf-8"), re.S)[1]
    told = subprocess.run([sys.executable, "-c", program, str(photo)], cwd=folder, capture_output=True,
                          text=True, timeout=200)
    assert told.returncode == 0, told.stderr
    return [(label, float(score)) for score, label in (line.split(" ", 1) for line in told.stdout.splitlines())]


def test_the_engine_is_written_once_and_leaves_nothing_of_the_network_before(model, tmp_path, monkeypatch):
    engine, written = BACKENDS["onnxruntime"], []
    if engine.missing():
        pytest.skip(engine.missing())
    write = engine.write
    monkeypatch.setattr(engine, "write", lambda *given: written.append(given[-1]) or write(*given))
    torch.set_num_threads(2)        # a batch that is cut leaves parts.json
    try:
        for batch, files in ((4, {"parts.json"}), (1, set())):
            deploy(model, tmp_path / "net", "onnxruntime", batch=batch, force=True)
            assert {path.name for path in (tmp_path / "net").iterdir()} == {"model.onnx", "deploy.json",
                                                                            "README.md"} | files
    finally:
        torch.set_num_threads(1)
    assert len(written) == 2


def test_bad_folders_and_sizes_are_refused(model, tmp_path):
    deploy(model, tmp_path / "net", "eager")
    with pytest.raises(convatlas.ConvatlasError, match="holds a deployed network already"):
        deploy(model, tmp_path / "net", "eager")
    deploy(model, tmp_path / "net", "eager", image_size=48, force=True)
    net = deployed(tmp_path / "net")
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 48, 48)).shape == (1, 10)
    with pytest.raises(convatlas.ConvatlasError, match=r"for images \(N, 3, 48, 48\), not \(1, 3, 32, 32\)"):
        net(torch.zeros(1, 3, 32, 32))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(convatlas.ConvatlasError, match="holds other things"):
        deploy(model, tmp_path / "other", "eager", force=True)
    with pytest.raises(convatlas.ConvatlasError, match="holds no deployed network"):
        deployed(tmp_path / "other")
    about = json.loads((tmp_path / "net" / "deploy.json").read_text())
    (tmp_path / "net" / "deploy.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(convatlas.ConvatlasError, match=r"format 99, .* update convatlas"):
        deployed(tmp_path / "net")


def test_what_was_measured_on_the_training_images_goes_along(model, tmp_path):
    model.card = replace(model.card, preprocess=convatlas.run.Preprocess(fit="pixel_mean", crop_pct=1),
                         fitted={"mean": torch.rand(3, 32, 32)})
    deploy(model, tmp_path / "net", "onnxruntime")
    net, photo = deployed(tmp_path / "net"), picture(tmp_path / "photo.png", (40, 40))
    assert net.card.fitted.keys() == model.card.fitted.keys()
    assert np.allclose(convatlas.predict(net, [photo])[0].probabilities,
                       convatlas.predict(model, [photo])[0].probabilities, atol=1e-5)


def test_several_crops_are_judged_as_of_the_network(model, tmp_path):
    for name in ("class 0", "class 1"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        picture(tmp_path / "pets" / name / "a.png", (50, 40))
    deploy(model, tmp_path / "net", "onnxruntime" if not BACKENDS["onnxruntime"].missing() else "eager")
    ours, theirs = (convatlas.evaluate(net, str(tmp_path / "pets"), protocol="alexnet-10crop").evaluation.scores
                    for net in (model, tmp_path / "net"))
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    with pytest.raises(convatlas.ConvatlasError, match="is deployed and cannot be made convolutional"):
        convatlas.evaluate(tmp_path / "net", str(tmp_path / "pets"), protocol="vgg-dense")


@pytest.mark.parametrize("name", ["eager", "native"])
@pytest.mark.parametrize("network", ["lenet5_modern", "unet_same"])
def test_a_picture_s_bytes_are_refused_as_by_the_network(name, network, tmp_path):
    """They would be taken for values from 0 to 255, and scored."""
    if reason := BACKENDS[name].missing():
        pytest.skip(reason)
    model = randomized(build(network, image_size=32))
    x = images(model, 2)
    deploy(model, tmp_path / "net", name)
    for answer in (model, deployed(tmp_path / "net"), convatlas.deploy.optimize(model, x, name, seconds=0)):
        assert answer(x).is_floating_point()
        with pytest.raises(convatlas.ConvatlasError, match=r"takes floating-point images, not torch\.uint8"):
            answer(x.to(torch.uint8))
