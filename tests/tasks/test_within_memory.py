"""A step is made to fit into the memory that is free, or refused; what was chosen is kept, and told."""

import pytest
import torch

import convatlas
from convatlas import ConvatlasError
from convatlas.engine.distributed import World
from convatlas.run import Run
from convatlas.runs.folder import run_of
from convatlas.tasks import within_memory as module
from convatlas.tasks.within_memory import within_memory

HERE = World(0, 1, torch.device("cpu"))


def chosen(monkeypatch, gib, name="resnet20_cifar", *changes, **how):
    monkeypatch.setattr(module, "free_bytes", lambda device: int(gib * 2**30))
    told, run = [], Run().change("model.name", name, "data.batch_size", 512, *changes)
    with torch.device("meta"):
        net = convatlas.create_model(name)
    run = within_memory(run, net, HERE, told.append, **how)
    assert not net.grad_checkpointing
    return run.train.accumulate, run.train.grad_checkpointing, " ".join(told)


def test_with_batchnorm_recomputing_comes_first(monkeypatch):
    assert chosen(monkeypatch, 0) == (1, False, "")         # nothing says what is free
    parts, recompute, told = chosen(monkeypatch, 1.4)
    assert (parts, recompute) == (1, True) and "changes nothing but time" in told and "parts" not in told
    parts, recompute, told = chosen(monkeypatch, 0.9)
    assert (parts, recompute) == (2, True) and "in 2 parts, each with BatchNorm's statistics of its 256" in told


def test_without_it_parts_come_first(monkeypatch):
    parts, recompute, told = chosen(monkeypatch, 1, "all_cnn_c")
    assert parts in (2, 4, 8) and not recompute and "whose gradients add up to the same (train.accumulate)" in told


def test_a_step_that_cannot_fit_is_refused(monkeypatch):
    with pytest.raises(ConvatlasError, match=r"a step of alexnet on 1 image of 227×227 is predicted to take 1\.1 GiB, "
                       r"recomputed and in parts, and 0\.4 GiB are free: set a smaller --image-size .*--accumulate 2 "
                       r"tries it"):
        chosen(monkeypatch, 0.4, "alexnet", "data.batch_size", 2)


def test_a_number_that_is_given_or_kept_stays(monkeypatch):
    parts, recompute, told = chosen(monkeypatch, 0.2, "resnet20_cifar", "train.accumulate", 2)
    assert (parts, recompute) == (2, False) and "in 2 part(s)" in told and "stays as it is given" in told
    assert chosen(monkeypatch, 0.01, "resnet20_cifar", "train.accumulate", 4, going=True)[:2] == (4, False)
    assert chosen(monkeypatch, 64, "resnet20_cifar", "train.accumulate", 4) == (4, False, "")


def test_nothing_is_predicted_where_there_is_plenty(monkeypatch):
    monkeypatch.setattr(module, "memory", lambda *_, **__: pytest.fail("predicted"))
    assert chosen(monkeypatch, 64) == (1, False, "")


@pytest.mark.parametrize("name", ["mobilenet_v2_035", "alexnet", "googlenet"])
def test_the_rough_bound_is_above_the_prediction(name):
    with torch.device("meta"):
        net = convatlas.create_model(name)
    assert module._roughly(net, 2) > 1.2 * module.memory(net, 2).training


@pytest.mark.slow
def test_the_run_keeps_the_number_of_parts_and_learns_as_the_whole_does(monkeypatch, tmp_path):
    run = convatlas.recipe("lenet5").change("data.source", "digits", "data.batch_size", 64, "train.epochs", 1)
    whole = convatlas.train(run, out=tmp_path / "whole").outcome.best
    monkeypatch.setattr(module, "free_bytes", lambda device: 300 * 2**20)
    monkeypatch.setattr(module, "_roughly", lambda *_: float("inf"))
    trained = convatlas.train(run, out=tmp_path / "parts")
    assert run_of(tmp_path / "whole").train.accumulate == 1 and run_of(trained.folder).train.accumulate == 64
    assert trained.outcome.best["val_loss"] == pytest.approx(whole["val_loss"], rel=1e-3)
