"""Our checkpoints: what they say of themselves, and what is refused."""

import json
import struct
from dataclasses import replace

import pytest
import torch

import convatlas
from convatlas import ConvatlasError, weights
from convatlas.net import registry
from convatlas.net.card import Provenance
from convatlas.run import Loss, Preprocess


@pytest.fixture
def saved(tmp_path):
    model = convatlas.create_model("lenet5_modern", num_classes=3)
    card = replace(model.card, classes=("a", "b", "ü"), preprocess=Preprocess(crop_pct=1.0), loss=Loss(name="mse"),
                   provenance=Provenance("letters", {"val_top1": 0.5}))
    weights.save(tmp_path / "model.safetensors", model.state_dict(), card)
    return tmp_path, model


def test_a_file_comes_back_whole(saved):
    folder, model = saved
    for source in (folder, folder / "model.safetensors", str(folder)):
        back = convatlas.load(source)
        assert (back.name, back.num_classes, back.card.classes) == ("lenet5_modern", 3, ("a", "b", "ü"))
        assert (back.card.preprocess == Preprocess(crop_pct=1.0) and back.card.loss == Loss(name="mse")
                and not back.training)
        x = torch.randn(2, 1, 32, 32)
        assert torch.equal(back(x), model.eval()(x))
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors"]        # nothing half-written left behind
    (folder / "plain").touch()
    assert (folder / "model.safetensors").stat().st_mode == (folder / "plain").stat().st_mode


def test_create_model_with_weights_takes_over_their_fields(saved):
    folder, _ = saved
    assert convatlas.create_model("lenet5_modern", weights=folder).num_classes == 3


def test_another_network_is_refused(saved):
    with pytest.raises(ConvatlasError, match="holds a 'lenet5_modern', not a 'lenet5'"):
        convatlas.create_model("lenet5", weights=saved[0])


def test_other_classes_and_channels_are_adapted_and_told(saved):
    folder, trained = saved
    model = convatlas.create_model("lenet5_modern", weights=folder, num_classes=4, in_chans=3)
    done = {row.ours: (row.what, row.why) for row in model.card.provenance.report.rows}
    assert done["head.classifier.weight"] == ("kept", "the file has 3 classes, the network 4; it is newly initialised")
    adapted = [name for name, (what, _) in done.items() if what == "adapted"]
    assert len(adapted) == 1 and model.card.classes == ()
    first, kernel = trained.state_dict()[adapted[0]], model.state_dict()[adapted[0]]
    # a grey picture on three channels gives what it gave
    torch.testing.assert_close(kernel.sum(1, keepdim=True), first)


@pytest.mark.parametrize(("drop", "more", "sentence"),
                         [(1, {}, "is missing"), (0, {"more": torch.zeros(1)}, "more is not in the network")])
def test_tensors_of_another_network_under_our_name_are_refused(saved, tmp_path, drop, more, sentence):
    _, model = saved
    tensors = dict(list(model.state_dict().items())[drop:]) | more
    weights.save(tmp_path / "odd.safetensors", tensors, model.card)
    with pytest.raises(ConvatlasError, match=f"holds another network.*{sentence}"):
        convatlas.load(tmp_path / "odd.safetensors")


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "not a readable safetensors file"),
    (b"\x80\x04\x95pickle", "not a readable safetensors file"),
    (header(b"{}"), "holds no tensors by name"),
    (header(json.dumps({"x": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()),
     "not a readable"),
    (header(json.dumps({"__metadata__": {"convatlas": "{"}}).encode()), "does not understand"),
    (header(json.dumps({"__metadata__": {"convatlas": '{"model": "lenet5", "surprise": 1}'}}).encode()),
     "does not understand"),
])
def test_malformed_files_are_refused(tmp_path, content, sentence):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConvatlasError, match=r"model\.safetensors") as caught:
        convatlas.load(path)
    assert sentence in str(caught.value)


def test_a_truncated_file_is_refused(saved):
    path = saved[0] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConvatlasError, match="not a readable safetensors file"):
        convatlas.load(path)


def test_missing_places_are_told_apart(tmp_path):
    with pytest.raises(ConvatlasError, match="there is no run folder"):
        convatlas.load(tmp_path / "nowhere")
    with pytest.raises(ConvatlasError, match="is not a run folder"):
        convatlas.load(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ConvatlasError, match=r"has no model\.safetensors yet"):
        convatlas.load(tmp_path)


def test_an_unwritable_place_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConvatlasError, match="cannot write"):
        weights.save(tmp_path / "file" / "model.safetensors", {"x": torch.zeros(1)}, registry.card("lenet5"))


def test_what_was_fitted_travels_beside_the_network(saved):
    folder, model = saved
    fitted = {"mean": torch.rand(4), "whitening": torch.rand(4, 4).T}
    weights.save(folder / "with.safetensors", model.state_dict(), replace(model.card, fitted=fitted))
    back = weights.read_card(folder / "with.safetensors").fitted
    assert back.keys() == fitted.keys() and all(torch.equal(back[name], fitted[name]) for name in fitted)
    x = torch.randn(2, 1, 32, 32)
    # the network gets its own tensors only
    assert torch.equal(convatlas.load(folder / "with.safetensors")(x), model.eval()(x))
    assert weights.read_card(folder).fitted == {}


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickle", header(b"{}"),
                                     header(b'{"__metadata__": {"convatlas": "{"}}')])
def test_malformed_files_have_no_card(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ConvatlasError, match=r"model\.safetensors"):
        weights.read_card(tmp_path)


@pytest.mark.parametrize("fields", [{"num_classes": 5}, {"num_classes": 10**9}, {"num_classes": 3, "in_chans": 3}])
def test_a_file_that_is_not_what_it_says_of_itself(saved, fields):
    """An edited description must not get a classifier that nobody trained, nor memory without end."""
    _, model = saved
    path = saved[0] / "edited.safetensors"
    weights.save(path, model.state_dict(), registry.card("lenet5_modern", fields))
    with pytest.raises(ConvatlasError, match=r"is not what it says of itself \(lenet5_modern with"):
        convatlas.load(path)
