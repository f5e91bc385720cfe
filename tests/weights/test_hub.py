"""Weights by name, from a cache on disk as the hub's own library lays it out; no test needs a network."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import convatlas
from convatlas import ConvatlasError
from convatlas.weights import catalog


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub and of torchvision."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("CONVATLAS_DOWNLOAD", raising=False)
    return tmp_path


def repository(cache: Path, name: str) -> Path:
    """The folder of a repository's one snapshot."""
    home = cache / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_timm_s_weights_come_with_their_preprocessing(cache, resnet):
    model, _ = resnet
    snapshot = repository(cache, "timm/resnet18.a1_in1k")
    save_file(model.state_dict(), snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps({
        "architecture": "resnet18", "num_classes": 1000,
        "pretrained_cfg": {"tag": "a1_in1k", "input_size": [3, 224, 224]}}))
    for name in ("timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"):
        ours = convatlas.create_model("resnet18", weights=name)
        assert torch.equal(ours.head.classifier.bias, model.fc.bias)
        assert ours.card.preprocess.interpolation == "bicubic" and ours.card.preprocess.crop_pct == 0.95
        assert len(ours.card.classes) == 1000 and ours.card.classes[0] == "tench"
    tuned = convatlas.create_model("resnet18", weights="timm/resnet18.a1_in1k", num_classes=5)
    assert tuned.card.classes == () and tuned.card.preprocess.crop_pct == 0.95


def test_a_repository_that_convatlas_published(cache, tmp_path):
    model = convatlas.create_model("lenet5_modern", num_classes=3)
    convatlas.save(model, tmp_path / "model.safetensors")
    convatlas.publish(tmp_path / "model.safetensors", tmp_path / "out")
    snapshot = repository(cache, "someone/letters")
    for file in (tmp_path / "out").iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(convatlas.load("hf-hub:someone/letters")(x), model.eval()(x))


def test_torchvision_s_file_is_known_by_its_name(cache, resnet):
    kept = cache / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    torch.save(resnet[0].state_dict(), kept)
    for source in ("torchvision/IMAGENET1K_V1", kept):
        ours = convatlas.create_model("resnet18", weights=source)
        assert ours.card.preprocess.crop_pct == 0.875 and ours.card.classes[999] == "toilet tissue"


@pytest.mark.parametrize(("name", "sentence"), [
    ("hf-hub:someone/nothing", "not in the cache, and nothing is downloaded unasked"),
    ("timm/resnet18", "lack the tag"),
    ("hf-hub:not a name", "cannot be fetched"),
    ("torchvision/IMAGENET1K_V1", "says whose weights, not which network's"),
])
def test_what_is_not_there_is_a_sentence(cache, name, sentence):
    with pytest.raises(ConvatlasError, match=sentence):
        convatlas.load(name)


def test_an_unreachable_hub_is_a_sentence(cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)         # between the hub's own attempts
    with pytest.raises(ConvatlasError, match=r"hub cannot be reached|cannot be fetched"):
        convatlas.load("hf-hub:someone/nothing", download=True)


def test_the_catalog_names_networks_that_exist():
    rows = catalog()
    assert len(rows) > 150 and len({(each.id, each.ours) for each in rows}) == len(rows)
    assert {each.ours for each in rows} <= set(convatlas.list_models())
    for each in rows:
        assert 0.5 < each.preprocess.crop_pct <= 1 and each.image_size > 0 and each.classes > 0 and each.licence
