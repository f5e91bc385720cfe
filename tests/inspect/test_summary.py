"""The tree's figures against torch's own counters, and predicted memory against what the allocator gives out."""

import json

import pytest
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import convatlas
from convatlas.cli import main
from convatlas.cli.inspections.summary import size
from convatlas.cli.inspections.summary import summary as command
from convatlas.errors import ConvatlasError
from convatlas.inspect.memory import memory
from convatlas.inspect.summary import stages, summary
from convatlas.run import Optim


def on_meta(name, **fields):
    with torch.device("meta"):
        return convatlas.create_model(name, **fields)


@pytest.mark.parametrize("name", ["lenet5_modern", "alexnet", "googlenet", "resnext50_32x4d", "densenet_40_12_cifar",
                                  "efficientnet_b0", "unet", "convnext_tiny", "slak_tiny"])
def test_multiply_adds_are_half_of_torchs_operations(name):
    model = on_meta(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, model.in_chans, *model.image_size, device="meta"))
    assert 2 * summary(model, 2).macs == counter.get_total_flops()


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "densenet_40_12_cifar", "unet_same"])
def test_what_holds_others_counts_them(name):
    found = summary(on_meta(name), 2)
    assert sum(row.params for row in stages(found)) == found.params
    aux = sum(row.macs for row in stages(found) if row.name.startswith("aux."))
    assert sum(row.macs for row in stages(found)) - aux == found.macs
    # GoogLeNet stacks its three scores
    assert 0.99 * found.made <= sum(row.made for row in stages(found)) <= found.made
    for row in found.rows:
        within = [other for other in found.rows
                  if other.name.startswith(row.name + ".") and other.depth == row.depth + 1]
        assert not within or sum(other.macs for other in within) == row.macs
        assert row.kept <= row.made


def test_rows_of_a_known_network():
    found = summary(on_meta("resnet18"), 1)
    row = found.row("stages.3.1")
    assert row.output == (512, 7, 7) and row.params == 4_720_640 and row.macs == 2 * 9 * 512 * 512 * 49
    assert (row.sight[0].size, row.sight[0].stride, row.sight[0].low) == (435, 32, -217)
    stem = found.row("stem.conv")
    assert stem.made == stem.kept == 64 * 112 * 112 * 4            # BatchNorm's backward pass reads it
    assert found.share(stem)["macs"] == pytest.approx(118_013_952 / 1_814_073_344)
    with pytest.raises(ConvatlasError, match=r"'stages\.3\.1'"):
        found.row("stages.3.11")


# -- memory ----------------------------------------------------------------------------------------------------------

def peak(work):
    """Most bytes that torch's CPU allocator had given out since the beginning, as its profiler heard."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize(("name", "batch", "fields", "optim"), [
    ("lenet5", 64, {}, Optim()),
    ("resnet20_cifar", 16, {}, Optim(momentum=0.0)),
    ("densenet_40_12_cifar", 4, {}, Optim()),
    ("mobilenet_v1", 4, {"image_size": 96}, Optim(name="adamw")),
    ("resnet18", 2, {"image_size": 64}, Optim()),           # more weights than activations
    ("googlenet", 2, {"image_size": 128}, Optim()),
])
def test_peak_memory_is_as_predicted_within_15_percent(name, batch, fields, optim):
    model = convatlas.create_model(name, **fields)
    needs = memory(model, batch, optim=optim)
    images, labels = torch.randn(batch, model.in_chans, *model.image_size), torch.zeros(batch, dtype=torch.long)
    kinds = {"sgd": lambda: torch.optim.SGD(model.parameters(), 0.0, optim.momentum, fused=True),
             "adamw": lambda: torch.optim.AdamW(model.parameters(), 0.0, fused=True)}
    optimizer = kinds[optim.name]()

    def step():
        optimizer.zero_grad()
        scores, sides = model.forward_aux(images) if model.aux else (model(images), {})
        sum(F.cross_entropy(each, labels) for each in (scores, *sides.values())).backward()
        optimizer.step()

    step()                                                          # makes the optimiser's state
    optimizer.zero_grad()
    fixed = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers(), images))
    states = sum(value.nbytes for state in optimizer.state.values() for value in state.values()
                 if torch.is_tensor(value) and value.ndim)
    assert needs.weights + needs.images == fixed and needs.states == states
    assert needs.training == pytest.approx(peak(step) + fixed + states, rel=0.15)
    optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        # small: kernels' own workspace shows
        assert needs.inference == pytest.approx(peak(lambda: model(images)) + fixed, rel=0.2)


@pytest.mark.parametrize("name", ["resnet20_cifar", "mobilenet_v2"])
def test_what_is_kept_is_what_autograd_saves(name):
    fields = {} if "cifar" in name else {"image_size": 64}
    model = convatlas.create_model(name, **fields).train()
    images = torch.randn(4, 3, *model.image_size)
    ours = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), images)}
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = model(images)
    expected = sum(tensor.untyped_storage().nbytes() for pointer, tensor in saved.items() if pointer not in ours)
    assert sum(memory(model, 4).kept.values()) == pytest.approx(expected + scores.nbytes, rel=0.01)


def test_memory_leaves_the_network_as_it_was():
    model = convatlas.create_model("resnet20_cifar").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small, large = memory(model, 8), memory(model, 16)
    assert (not any(module.training for module in model.modules())
            and not any(module._forward_hooks for module in model.modules()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert large.images == 2 * small.images and 1.9 < sum(large.kept.values()) / sum(small.kept.values()) < 2.1
    assert small.gradients == sum(weight.nbytes for weight in model.parameters())


def test_a_batch_that_cannot_be_trained_on_is_told():
    model = on_meta("mobilenet_v1", image_size=32)
    with pytest.raises(ConvatlasError, match=r"batch of 1 image.*32×32"):
        memory(model, 1)
    with pytest.raises(ConvatlasError, match="at least 1"):
        memory(model, 0)
    with pytest.raises(ConvatlasError, match="too small"):
        memory(on_meta("alexnet"), 2, 16)


# -- commands --------------------------------------------------------------------------------------------------------

def test_the_command_tells_all_of_it_as_json(capsys):
    command("resnet20_cifar", batch_size=8, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["params"] == 269_722 and told["batch_size"] == 8 and told["memory"]["training"] > told["memory"]["kept"]
    assert {"name", "output", "params", "macs", "made", "kept", "share", "sees"} <= set(told["layers"][0])
    command("resnet20_cifar", batch_size=8, depth=1)
    text = capsys.readouterr().out
    assert "stages.0" in text and "stages.0.0" not in text and "to train on them" in text


def test_info_has_columns_for_memory_and_receptive_field(capsys):
    assert main(["info", "lenet5", "--memory", "--receptive-field"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("made", "kept", "sees", "stride", "offset", "memory at most"))
    assert main(["info", "lenet5", "--memory", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["memory"]["batch_size"] == 32 and told["layers"][0]["made"] == 32 * 6 * 28 * 28 * 4
            and told["layers"][0]["offset"] == 0)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (5 * 2**20, "5 MiB"),
                                             (3000 * 2**30, "3000 GiB")])
def test_sizes_are_short(count, text):
    assert size(count) == text
