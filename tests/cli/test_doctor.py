"""`convatlas doctor`."""

import json

import pytest
import torch

from convatlas.cli import main
from convatlas.deploy import doctor, native
from convatlas.deploy.backends import BACKENDS


@pytest.fixture(autouse=True)
def soon(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "SECONDS", 0.0)
    monkeypatch.setattr(doctor, "COPIED", 2**20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_it_says_what_is_here_and_measures(capsys, tmp_path):
    (tmp_path / "convatlas/deploy").mkdir(parents=True)
    (tmp_path / "convatlas/deploy/choice.json").write_bytes(bytes(1234))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["bytes"] for each in found["caches"]] == [1234, 1234]
    assert found["matrix"] > 0 and found["bandwidth"] > 0
    assert {*found["backends"]} == {*BACKENDS} and found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert (found["kernels"]["missing"] is None) == (native.missing() is None)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "eager: ready" in said and "GFLOP/s" in said and str(tmp_path / "convatlas") in said


def test_it_names_what_is_missing_and_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setattr("convatlas.deploy.native.build.shipped", lambda: None)
    monkeypatch.setattr("convatlas.deploy.native.build.compiler", lambda: None)
    monkeypatch.setattr("convatlas.deploy.backends.base.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "kernels    native needs a C++ compiler: install g++ or clang++" in said
    assert "compile: compile needs a C++ compiler" in said and "uv pip install -e '.[openvino]'" in said
