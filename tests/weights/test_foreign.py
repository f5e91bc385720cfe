"""torchvision's and timm's files load into our networks and compute what they computed there; and back."""

import argparse
import json
import os
import pathlib
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import convatlas
from convatlas import ConvatlasError, weights
from convatlas.net import registry
from convatlas.weights import checkpoints, files, foreign, tables
from parity import randomized

LIBRARIES = ("torchvision", "timm")     # releases of others: test_releases.py
PEERS = [(family, peer) for family, library in tables.every() if library in LIBRARIES
         for peer in tables.peers(family, library)]
LIGHT = {"resnet18", "mobilenet_v2", "mobilenetv2_035", "mobilenetv3_small_075", "densenet121", "googlenet",
         "efficientnet_b0", "tf_efficientnet_b0", "repvgg_a0", "mobilenetv1_100", "seresnet18", "resnetv2_18",
         "mobilenet_v3_small"}


def network(peer, **over):
    """The peer's own network with random weights, in double precision."""
    if peer.library == "timm":
        import timm

        return randomized(timm.create_model(peer.name, **{**peer.kwargs, **over}).double())
    from torchvision.models import get_model

    return randomized(get_model(peer.name, weights=None, **{**peer.kwargs, **over}).double())


def label(peer):
    return f"{peer.library}-{peer.name}-{'-'.join(map(str, peer.kwargs.values()))}"


@pytest.mark.parametrize(("family", "peer"), PEERS, ids=[label(peer) for _, peer in PEERS])
def test_every_name_has_one_place(family, peer):
    """On the meta device: each tensor of theirs is one of ours, with the same numbers in it, and none of ours is left.
    """
    ours = weights.blank(lambda: registry.build(peer.ours, peer.fields))
    theirs = weights.blank(lambda: checkpoints._peer(peer, ours)).state_dict()
    ours = ours.state_dict()
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in (theirs, ours)]
    pairs, left = tables.pair(*shapes, tables.rules(family, peer.library, peer.name))
    assert not left
    assert sorted(pairs.values()) == sorted(ours)
    assert all(tables.alike(shapes[0][name], shapes[1][new]) for name, new in pairs.items())


@pytest.mark.parametrize(("family", "peer"), [
    pytest.param(family, peer, marks=[] if peer.name in LIGHT and not peer.kwargs else pytest.mark.slow, id=label(peer))
    for family, peer in PEERS])
def test_loaded_it_computes_the_same_and_goes_back(family, peer, tmp_path):
    theirs = network(peer)
    save_file(theirs.state_dict(), tmp_path / f"{peer.name}.safetensors")
    ours = convatlas.create_model(peer.ours, weights=tmp_path / f"{peer.name}.safetensors", **peer.fields).double()
    convatlas.load_weights(ours, theirs.state_dict())         # in double precision too
    size = max(ours.image_size) if "inception" in family else 64
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.inference_mode():
        expected, scores = theirs(x), ours.eval()(x)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9 * expected.abs().max().item())
    back = foreign.exported(ours, peer, theirs.state_dict(), tables.rules(family, peer.library, peer.name))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back[name], tensor), name


def test_without_a_name_it_is_recognised(resnet):
    model, path = resnet
    ours = convatlas.load(path)
    assert ours.card.provenance.report.network == "resnet18" and "torchvision" in ours.card.provenance.report.source
    assert {row.what for row in ours.card.provenance.report.rows} == {"loaded"}
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), model(x), rtol=1e-4, atol=1e-4)


def test_another_number_of_classes_and_channels(resnet):
    model, path = resnet
    ours = convatlas.create_model("resnet18", weights=path, num_classes=7, in_chans=1)
    report = convatlas.load_weights(ours, path)
    kept = {row.ours: row.why for row in report.rows if row.what == "kept"}
    assert (set(kept) == {"head.classifier.weight", "head.classifier.bias"}
            and "1000 classes" in kept["head.classifier.bias"])
    gray = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        expected = nn.Sequential(*list(model.children())[:-1])(gray.repeat(1, 3, 1, 1)).flatten(1)
        torch.testing.assert_close(ours.eval().forward_head(ours.forward_features(gray), pre_logits=True).flatten(1),
                                   expected, rtol=1e-4, atol=1e-4)
    assert ours(gray).shape == (2, 7)
    four = foreign.channels(model.conv1.weight, 4)
    torch.testing.assert_close(four[:, 3], model.conv1.weight[:, 0] * 0.75)


@pytest.mark.parametrize("wrap", [
    lambda state: {"state_dict": state, "epoch": 3, "arch": "resnet18"},
    lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
    lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    lambda state: {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
                   "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("x")), "best": np.float64(0.5)},
    lambda state: {"model": {name: torch.zeros_like(tensor) for name, tensor in state.items()}, "model_ema": state},
])
def test_wrappers_are_seen_through(resnet, tmp_path, wrap):
    model, _ = resnet
    torch.save(wrap(model.state_dict()), tmp_path / "wrapped.pth.tar")
    loaded = convatlas.create_model("resnet18", weights=tmp_path / "wrapped.pth.tar")
    assert torch.equal(loaded.stem[0].weight if isinstance(loaded.stem, nn.Sequential) else loaded.stem.conv.weight,
                       model.conv1.weight)
    assert files.read(tmp_path / "wrapped.pth.tar").notes


def test_an_npz(resnet, tmp_path):
    model, _ = resnet
    np.savez(tmp_path / "w.npz", **{name: tensor.numpy() for name, tensor in model.state_dict().items()})
    assert torch.equal(convatlas.load(tmp_path / "w.npz", "resnet18").head.classifier.weight, model.fc.weight)


def test_networks_that_differ_in_constants_only_are_never_guessed(tmp_path):
    import timm

    state = timm.create_model("efficientnet_b0").state_dict()
    save_file(state, tmp_path / "mystery.safetensors")
    with pytest.raises(ConvatlasError, match=r"several networks.*norm_eps=1e-05.*padding='same'"):
        convatlas.create_model("efficientnet_b0", weights=tmp_path / "mystery.safetensors")
    named = tmp_path / "tf_efficientnet_b0_ns-123.safetensors"
    save_file(state, named)
    loaded = convatlas.create_model("efficientnet_b0", weights=named)
    assert loaded.spec.padding == "same"
    assert any("same tensors" in note for note in convatlas.explain_weights(named, "efficientnet_b0").notes)
    assert convatlas.create_model("efficientnet_b0", weights=tmp_path / "mystery.safetensors",
                                  padding="same").spec.padding == "same"
    plain = convatlas.create_model("efficientnet_b0")
    with pytest.raises(ConvatlasError, match="padding = 'same'"):
        convatlas.load_weights(plain, named)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_what_was_loaded_can_be_saved_over(resnet, tmp_path, kind):
    """Writers empty a file before they fill it: tensors that were mapped from it would end the process here."""
    path, write = tmp_path / f"same.{kind}", torch.save if kind == "pth" else save_file
    write(resnet[0].state_dict(), path)
    model = convatlas.create_model("resnet18", weights=path)
    write(model.state_dict(), path)
    read = torch.load(path, weights_only=True) if kind == "pth" else load_file(path)
    assert torch.equal(read["head.classifier.weight"], resnet[0].fc.weight)


def test_another_network_s_file_is_told_so(resnet):
    with pytest.raises(ConvatlasError, match="they are those of torchvision's resnet18, which is resnet18 here"):
        convatlas.create_model("resnet50", weights=resnet[1])
    with pytest.raises(ConvatlasError, match="no weights file"):
        convatlas.create_model("resnet50", weights="nowhere.pth")


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_a_pickle_of_more_than_tensors_is_refused(resnet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": resnet[0].state_dict(), "extra": Evil()}, "evil.pth")
    Path("legacy.pth").write_bytes(pickle.dumps(Evil()))
    torch.save(resnet[0], "whole.pth")
    for name in ("evil.pth", "legacy.pth", "whole.pth"):
        with pytest.raises(ConvatlasError, match=r"pickle of more than plain tensors.*state_dict"):
            convatlas.load(name)
    assert not Path("pwned").exists()


def test_a_shape_of_terabytes_is_refused(resnet, tmp_path):
    state = dict(resnet[0].state_dict())
    torch.save({**state, "fc.weight": torch.zeros(1).expand(2**40, 512)}, tmp_path / "huge.pth")
    with pytest.raises(ConvatlasError, match=r"fc\.weight.*1099511627776×512.*refused"):
        convatlas.load(tmp_path / "huge.pth")


def hostile(header, body=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("data", [
    b"", b"abc", struct.pack("<Q", 2**60), struct.pack("<Q", 10) + b"{", hostile(b"[]"), hostile({"a": 1}),
    hostile({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    hostile({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
    hostile({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    hostile({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
             "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}, bytes(6)),
])
def test_hostile_safetensors_give_a_sentence(tmp_path, data):
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(ConvatlasError, match=r"bad\.safetensors"):
        convatlas.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("kind", ["safetensors", "pth", "npz"])
def test_a_file_with_changed_bytes_loads_or_is_refused_in_a_sentence(tmp_path, kind):
    """Nothing but a network or ConvatlasError comes of it, whichever bytes of the head, the pickle or the directory are
    wrong.
    """
    model, path = convatlas.create_model("lenet5_modern", num_classes=2), tmp_path / f"fuzz.{kind}"
    tensors = model.state_dict()
    write = {"safetensors": lambda: save_file(tensors, path), "pth": lambda: torch.save(tensors, path),
             "npz": lambda: np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})}
    write[kind]()
    whole, draw = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        at = draw.choice([draw.randrange(min(len(data), 700)), len(data) - 1 - draw.randrange(1200),
                          draw.randrange(len(data))])
        data[at:at + draw.choice([0, 1, 1, 8])] = draw.randbytes(draw.choice([0, 1, 1, 8]))
        path.write_bytes(data)
        try:
            assert files.read(path).tensors
        except ConvatlasError as error:
            assert "fuzz" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20


def test_damaged_files_of_other_kinds(resnet, tmp_path):
    whole = resnet[1].read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.pt").write_bytes(os.urandom(1000))
    (tmp_path / "noise.npz").write_bytes(os.urandom(1000))
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "empty.pth")
    (tmp_path / "x.h5").write_bytes(b"")
    (tmp_path / "x.caffemodel").write_bytes(b"")
    for name in ("cut.pth", "noise.pt", "noise.npz", "list.pth", "empty.pth", "x.h5", "x.caffemodel"):
        with pytest.raises(ConvatlasError, match=name.replace(".", r"\.")):
            convatlas.load(tmp_path / name)


@pytest.mark.parametrize(("name", "value"), [("layer1.0.conv1.weight", torch.nan), ("bn1.running_mean", torch.inf),
                                             ("layer4.1.bn2.running_var", -1.0)])
def test_numbers_that_make_every_score_nan_are_refused_by_name(resnet, tmp_path, name, value):
    state = {name: tensor.clone() for name, tensor in resnet[0].state_dict().items()}
    state[name][0] = value
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ConvatlasError, match=rf"not finite, or variances below zero, in 1 of 122 tensors \('{name}'\)"):
        convatlas.load(tmp_path / "nan.pth")


def test_unknown_names_are_paired_by_order_if_asked_and_told_or_refused(resnet, tmp_path):
    ours = convatlas.create_model("resnet18", num_classes=5)
    odd = {f"part{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(ours.state_dict().items())}
    torch.save({f"module.{name}": tensor for name, tensor in odd.items()}, tmp_path / "odd.pth")
    other = convatlas.create_model("resnet18", num_classes=5)
    with pytest.raises(ConvatlasError, match=r"tell nothing of constants.*--by-order"):
        convatlas.load_weights(other, tmp_path / "odd.pth")
    report = convatlas.load_weights(other, tmp_path / "odd.pth", by_order=True)
    assert any("nothing of constants" in note for note in report.notes) and "unknown origin" in report.source
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), other.state_dict().values(), strict=True))
    assert convatlas.create_model("resnet18", weights=tmp_path / "odd.pth", by_order=True).num_classes == 5
    save_file(odd, tmp_path / "odd.safetensors")        # whose order is not the network's
    swapped = dict(reversed(odd.items()))
    torch.save(swapped, tmp_path / "swapped.pth")
    torch.save({name.replace("running_var", "spread"): tensor for name, tensor in odd.items()}, tmp_path / "spread.pth")
    for name in ("odd.safetensors", "swapped.pth", "spread.pth"):
        with pytest.raises(ConvatlasError, match="under names that are known") as caught:
            convatlas.create_model("resnet18", weights=tmp_path / name, by_order=True)
        assert "by-order" not in str(caught.value)
    with pytest.raises(ConvatlasError, match="a network that is known here"):
        convatlas.load(tmp_path / "odd.pth")
    torch.save(ours.state_dict(), tmp_path / "ours.pth")
    with pytest.raises(ConvatlasError, match=r"the state dict of one of ours.*--model"):
        convatlas.load(tmp_path / "ours.pth")


def test_folded_networks_take_whole_weights_and_not_the_reverse(resnet, tmp_path):
    model, path = resnet
    folded = convatlas.fold(convatlas.create_model("resnet18").eval())
    convatlas.load_weights(folded, path)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-3, atol=1e-3)
    convatlas.save(folded, tmp_path / "folded.safetensors")
    convatlas.load_weights(folded, tmp_path / "folded.safetensors")
    with pytest.raises(ConvatlasError, match="cannot be undone"):
        convatlas.load_weights(convatlas.create_model("resnet18"), tmp_path / "folded.safetensors")
    with pytest.raises(ConvatlasError, match="is folded, and torchvision's resnet18 is not"):
        convatlas.convert_weights(tmp_path / "folded.safetensors", tmp_path / "x.pth", "torchvision")
