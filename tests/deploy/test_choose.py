"""Choosing a backend: what is measured, refused, remembered."""

from dataclasses import replace

import pytest
import torch

import convatlas
from convatlas.deploy import backends, choose
from convatlas.deploy.backends import BACKENDS
from laws import build, images
from parity import randomized


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model():
    return randomized(build("resnet20_cifar"))


SLOW = ("compile", "aot")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
                                  for name in BACKENDS])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_backend_gives_the_network_s_scores_for_any_batch(name, precision, model):
    if BACKENDS[name].missing():
        pytest.skip(BACKENDS[name].missing())
    x = images(model, 3)
    if precision not in BACKENDS[name].precisions:
        with pytest.raises(convatlas.ConvatlasError, match=f"{name} has no {precision}"):
            choose.optimize(model, x, name, precision)
        return
    fast = choose.optimize(model, x, name, precision, seconds=0)
    tolerance = choose.TOLERANCE[precision]
    with torch.inference_mode():
        for batch in (x, x[:1], torch.cat([x, x])):
            expected = model(batch)
            found = fast(batch)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())
    (row,) = fast.report.candidates
    assert row.name == fast.report.chosen == name and row.latency > 0 and row.error <= tolerance and row.setup > 0
    assert (row.size is None) == (name in ("eager", "compile"))


def test_auto_takes_the_fastest_and_remembers_it(model):
    x = images(model, 1)
    first = choose.optimize(model, x, candidates=("eager", "onnxruntime"), seconds=0.2).report
    fastest = min((c for c in first.candidates if c.refused is None), key=lambda c: c.latency)
    assert first.chosen == fastest.name and not first.cached and "taken" in str(first)
    again = choose.optimize(model, x, candidates=("eager", "onnxruntime"))
    assert again.report == replace(first, cached=True)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert not choose.optimize(model, x, candidates=("eager",), seconds=0).report.cached


def test_wrong_scores_failures_and_absent_packages_are_refused_with_their_reason(model, monkeypatch):
    class Wrong(backends.Backend):
        name, file = "wrong", "none"

        def build(self, model, example, precision, folder, tell):
            return lambda x: model(x) * 1.01, None

        def write(self, model, example, precision, folder): ...
        def open(self, folder, example, precision): ...

    class Broken(Wrong):
        name = "broken"

        def build(self, model, example, precision, folder, tell):
            raise RuntimeError("no such operator")

    class Absent(Wrong):
        name, requires, extra = "absent", ("no_such_engine",), "engine"

    for each in (Wrong(), Broken(), Absent()):
        monkeypatch.setitem(BACKENDS, each.name, each)
    x = images(model, 1)
    report = choose.optimize(model, x, candidates=("wrong", "eager", "broken", "absent"), seconds=0, cache=False).report
    reasons = {c.name: c.refused for c in report.candidates}
    assert (report.chosen == "eager" and "differs by 1.0e-02" in reasons["wrong"]
            and "no such operator" in reasons["broken"])
    assert "pip install 'convatlas[engine]'" in reasons["absent"]
    with pytest.raises(convatlas.ConvatlasError, match=r"no backend runs resnet20_cifar.*wrong: differs"):
        choose.optimize(model, x, candidates=("wrong", "broken"), cache=False)


def test_what_cannot_be_is_said(model):
    x = images(model, 1)
    with pytest.raises(convatlas.ConvatlasError, match=r"'onxruntime' is unknown.*did you mean 'onnxruntime'"):
        choose.optimize(model, x, "onxruntime")
    with pytest.raises(convatlas.ConvatlasError, match="fp16 is for GPUs"):
        choose.optimize(model, x, "eager", "fp16")
    with pytest.raises(convatlas.ConvatlasError, match=r"training mode.*model\.eval"):
        choose.optimize(model.train(), x)


@pytest.mark.parametrize("name", SLOW)
def test_what_needs_a_compiler_says_so_before_it_is_set_up(name, model, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    told: list[str] = []
    (tmp_path / "work").mkdir()
    report = choose.optimize_in(tmp_path / "work", model, images(model, 1), candidates=("eager", name), cache=False,
                                seconds=0, tell=told.append).report
    assert f"{name} needs a C++ compiler: install" in (report.candidates[1].refused or "")
    assert told[0] == "eager is set up" and f"{name} is set up" not in told
