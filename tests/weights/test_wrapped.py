"""What trainers really write around and beside a network's tensors is seen through and told, or refused."""

import argparse
import datetime
import gzip
import json
import pickle
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import convatlas
from convatlas import ConvatlasError, weights
from convatlas.weights import files


class Tiny(nn.Module):
    """Names as a network's are."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)


STATE = {name: tensor.detach() for name, tensor in Tiny().state_dict().items()}
OTHER = {name: torch.ones_like(tensor) for name, tensor in STATE.items()}


def under(prefix, state=STATE):
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def sgd():
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


def generators():
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(),
            "pcg": np.random.default_rng(0).bit_generator.state, "cuda": [torch.get_rng_state()]}


TRAINERS = {
    "pytorch_examples": {"epoch": 3, "arch": "resnet50", "state_dict": under("module"),
                         "best_acc1": torch.tensor(71.2), "optimizer": sgd(), "scheduler": {"last_epoch": 3}},
    "flat_with_counters": {**STATE, "best_acc1": torch.tensor(3.0), "epoch": torch.tensor(3),
                           "rng_state": torch.get_rng_state(), "loss_history": torch.rand(9)},
    "lightning": {"epoch": 1, "global_step": 9, "pytorch-lightning_version": "2.4.0", "loops": {"fit_loop": {}},
                  "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
                  "optimizer_states": [sgd()], "lr_schedulers": [], "hyper_parameters": {"lr": 0.1},
                  "state_dict": {**under("model"), "criterion.weight": torch.ones(2),
                                 "train_acc.tp": torch.zeros(2, dtype=torch.int64),
                                 "val_confusion.confmat": torch.zeros(2, 2, dtype=torch.int64)}},
    "timm": {"epoch": 3, "arch": "tiny", "state_dict": OTHER, "state_dict_ema": STATE, "version": 2,
             "args": argparse.Namespace(lr=0.1, when=datetime.datetime(2026, 1, 1)), "metric": np.float64(81.5)},
    "averaged_model": {"n_averaged": torch.tensor(7), **under("module")},
    "swa_beside": {"model": OTHER, "swa_model": {"n_averaged": torch.tensor(7), **under("module")}},
    "thop": {**STATE, "total_ops": torch.zeros(1), "total_params": torch.zeros(1), "conv1.total_ops": torch.zeros(1),
             "conv1.total_params": torch.zeros(1)},
    "moco": {"state_dict": {**under("module.encoder_q"), **under("module.encoder_k", OTHER),
                            "module.queue": torch.rand(128, 64), "module.queue_ptr": torch.zeros(1).long()}},
    "dino": {"student": under("module.backbone", OTHER) | {"module.head.mlp.0.weight": torch.rand(8, 4)},
             "teacher": under("backbone") | {"head.mlp.0.weight": torch.rand(8, 4)}, "epoch": 3},
    "byol": {"online_network_state_dict": STATE, "target_network_state_dict": OTHER, "optimizer_state_dict": sgd()},
    "distilled": {"student": STATE, "teacher": {"conv1.weight": torch.rand(9, 3, 3, 3)}},
    "parameters_averaged_alone": {"model": STATE, "shadow": {"conv1.weight": torch.rand(4, 3, 3, 3)}},
    "lucidrains": {**under("online_model", OTHER), **under("ema_model"), "initted": torch.tensor(True),
                   "step": torch.tensor(9)},
    "basicsr": {"params": OTHER, "params_ema": STATE},
    "nested_ema": {"model": OTHER, "ema": {"decay": 0.99, "shadow": STATE}},
    "a_list": [STATE, 3, {"lr": 0.1}],
    "a_tuple": (3, under("_orig_mod")),
    "deepspeed": {"module": STATE, "buffer_names": ["x"], "optimizer": None, "ds_config": {"lr": 1}},
    "fairseq": {"args": None, "cfg": {"model": {"arch": "x"}}, "model": STATE, "optimizer_history": [{}],
                "last_optimizer_state": sgd()},
    "mmcv": {"meta": {"epoch": 3, "time": "x"}, "optimizer": sgd(),
             "state_dict": {**{f"backbone.{name}": STATE[name] for name in STATE if "fc" not in name},
                            "head.fc.weight": STATE["fc.weight"], "head.fc.bias": STATE["fc.bias"]}},
    "compiled_inside": {name.replace("bn1.", "bn1._orig_mod."): tensor for name, tensor in STATE.items()},
    "arrays": {name: tensor.numpy() for name, tensor in STATE.items()},
    "states_of_generators": {"model": STATE, **generators(), "name": np.str_("x"), "names": np.array(["a", "bc"])},
}


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_trainer_s_file_gives_the_network(tmp_path, name, legacy):
    torch.save(TRAINERS[name], tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    found = files.read(tmp_path / "x.pth")
    assert found.tensors.keys() == STATE.keys()
    assert all(torch.equal(tensor, STATE[key]) for key, tensor in found.tensors.items())
    assert found.notes or name == "arrays"
    assert sum("not those under" in note for note in found.notes) == (name in (
        "timm", "swa_beside", "moco", "dino", "byol", "distilled", "parameters_averaged_alone", "lucidrains", "basicsr",
        "nested_ema"))


@pytest.mark.parametrize("tree", [
    {"generator": STATE, "discriminator": OTHER},
    {**STATE, "state_dict": OTHER},
    {"model": STATE, "net": OTHER},
    {"ema": STATE, "swa_model": OTHER},
    [STATE, OTHER],
])
def test_where_several_may_be_meant_none_is_chosen(tmp_path, tree):
    torch.save(tree, tmp_path / "x.pth")
    with pytest.raises(ConvatlasError, match=r"x\.pth holds several networks, under .* and .*which is meant"):
        files.read(tmp_path / "x.pth")


@pytest.mark.parametrize("tree", [{"a": 1}, [1, 2], 3, {}, {"optimizer": sgd()}, generators()])
def test_what_holds_no_network_is_told(tmp_path, tree):
    torch.save(tree, tmp_path / "x.pth")
    with pytest.raises(ConvatlasError, match=r"x\.pth holds no tensors by name"):
        files.read(tmp_path / "x.pth")


def test_several_files_are_read_by_their_index(tmp_path):
    names = list(STATE)
    parts = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for part, own in parts.items():
        save_file({name: STATE[name] for name in own}, tmp_path / part)
    index = {"metadata": {"total_size": 1}, "weight_map": {name: part for part, own in parts.items() for name in own}}
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    found = files.read(path)
    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()} and "2 files" in found.notes[0]
    assert weights.find(tmp_path) == path       # as the folder's own
    path.write_text(json.dumps({"weight_map": {"x": "../model.safetensors"}}))
    with pytest.raises(ConvatlasError, match="no file beside it"):
        files.read(path)
    path.write_text(json.dumps({"weight_map": {"x": "gone.bin"}}))
    with pytest.raises(ConvatlasError, match=r"needs 'gone\.bin' beside it"):
        files.read(path)


HEADS = {
    "page.pth": (b"\n<!DOCTYPE html><html>404", "web page"),
    "pointer.bin": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "empty.pth": (b"", "it is empty"),
    "packed.pth": (gzip.compress(b"x"), "gzip: unpack it"),
    "text.ckpt": (b"these are notes", "cannot be read as a PyTorch file"),
    "plain.pkl": (pickle.dumps({"x": 1}, 2), r"torch\.save did not write it"),
    "protocol4.pkl": (pickle.dumps({"x": 1}, 4), "of protocol 4, and only"),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_is_called_weights_and_is_none(tmp_path, name):
    content, said = HEADS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConvatlasError, match=said) as caught:
        files.read(tmp_path / name)
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


def test_archives_that_torch_save_did_not_write(tmp_path):
    with tarfile.open(tmp_path / "old.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(Path(__file__), "pickle")
    torch.jit.script(nn.ReLU()).save(str(tmp_path / "script.pt"))
    torch.save(STATE, tmp_path / "new.pth", pickle_protocol=4)
    for name, said in (("old.tar", "tar archive"), ("script.pt", "TorchScript"), ("new.pth", "PyTorch file")):
        with pytest.raises(ConvatlasError, match=said) as caught:
            files.read(tmp_path / name)
        assert "weights_only" not in str(caught.value)
    save_file(STATE, tmp_path / "pytorch_model.bin")        # as some programs do
    np.savez(tmp_path / "x.npz", **{name: tensor.numpy() for name, tensor in STATE.items()})
    (tmp_path / "x.npz").rename(tmp_path / "x.pth")
    assert files.read(tmp_path / "pytorch_model.bin").format == "safetensors"
    assert files.read(tmp_path / "x.pth").tensors.keys() == STATE.keys()


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_numbers_of_eight_bits_are_named(tmp_path, kind):
    state = {**STATE, "fc.weight": STATE["fc.weight"].to(torch.float8_e4m3fn)}
    (torch.save if kind == "pth" else save_file)(state, tmp_path / f"x.{kind}")
    with pytest.raises(ConvatlasError, match=r"'fc\.weight' is stored as (F8_E4M3|float8_e4m3fn), 8-bit floats"):
        files.read(tmp_path / f"x.{kind}")


def test_shared_memory_is_taken_apart_and_strides_are_put_in_order(tmp_path):
    model = convatlas.create_model("lenet5_modern").to(memory_format=torch.channels_last)
    state = model.state_dict()
    kernels = [name for name, tensor in state.items() if tensor.ndim == 4]
    flat = torch.cat([tensor.flatten().float() for tensor in state.values()])
    views, at = {}, 0
    for name, tensor in state.items():
        views[name], at = flat[at:at + tensor.numel()].view(tensor.shape), at + tensor.numel()
    torch.save(views, tmp_path / "flat.pth")
    loaded = convatlas.create_model("lenet5_modern", weights=tmp_path / "flat.pth")
    places = [p.untyped_storage().data_ptr() for p in loaded.parameters()]
    assert len({*places}) == len(places)
    torch.save(state, tmp_path / "strided.pth")
    found = files.read(tmp_path / "strided.pth").tensors
    assert kernels and all(found[name].is_contiguous() and torch.equal(found[name], state[name]) for name in kernels)
    convatlas.save(convatlas.load(tmp_path / "strided.pth", "lenet5_modern"), tmp_path / "out.safetensors")
    assert torch.equal(load_file(tmp_path / "out.safetensors")[kernels[0]], state[kernels[0]])
