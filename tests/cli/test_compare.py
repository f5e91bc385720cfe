"""`convatlas compare` and `convatlas facts --errata`."""

import json

import pytest

from convatlas.cli import main


def test_networks_side_by_side(capsys: pytest.CaptureFixture[str]):
    assert main(["compare", "resnet50", "resnet50_v1", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["params"] == second["params"] == 25_557_032 and first["macs"] > second["macs"]
    assert first["depth"] == second["depth"] == 54          # the shortcuts' four projections included
    assert (first["receptive field"], second["receptive field"]) == (427, 483)
    assert first["spec"] == {"stride_on": "3x3"} and second["spec"] == {"stride_on": "1x1"}


def test_the_table_names_what_differs(capsys: pytest.CaptureFixture[str]):
    assert main(["compare", "lenet5", "lenet5_modern", "resnet20_cifar"]) == 0
    out = capsys.readouterr().out
    assert "relu" in out and "subsample" in out and "269 722" in out


def test_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]):
    assert main(["compare", "resnet50", "resnet5O"]) == 2
    assert "resnet50" in capsys.readouterr().err


def test_errata(capsys: pytest.CaptureFixture[str]):
    assert main(["facts", "--errata", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert len(known) > 10 and all(set(erratum) == {"where", "printed", "found", "built"} for erratum in known)
    assert main(["facts", "--errata"]) == 0
    assert "Krizhevsky" in capsys.readouterr().out
