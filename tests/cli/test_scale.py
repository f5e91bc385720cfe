"""`convatlas scale budget`: what is typed, what is shown, what `train` takes."""

import json

import pytest
import typer

import convatlas
from convatlas.cli import main
from convatlas.cli.configuration import configured
from convatlas.cli.scaling.budget import phis
from convatlas.cli.scaling.common import Macs, MemoryBudget
from convatlas.net import registry
from convatlas.net.layers import macs
from convatlas.net.meta import blank
from convatlas.scale.compound import PAPER, keep, point


def read(kind, text):
    return kind.__metadata__[0].parser(text)


@pytest.mark.parametrize(("kind", "text", "value"), [
    (Macs, "2G", 2e9), (Macs, "0.5g", 5e8), (Macs, "300 M", 3e8), (Macs, "1200", 1200), (Macs, "3e8", 3e8),
    (MemoryBudget, "200MB", 2e8), (MemoryBudget, "1MiB", 2**20), (MemoryBudget, "64kB", 64000)])
def test_budgets_as_they_are_typed(kind, text, value):
    assert read(kind, text) == value


@pytest.mark.parametrize(("kind", "text"), [(Macs, "2X"), (Macs, "G"), (Macs, "-1M"), (Macs, "nan"), (Macs, "infG"),
                                            (MemoryBudget, "200"), (MemoryBudget, "2G")])
def test_no_budgets(kind, text):
    with pytest.raises(typer.BadParameter):
        read(kind, text)


@pytest.mark.parametrize(("text", "values"), [("1", [1]), ("0,0.5,-1", [0, 0.5, -1]), ("0..3", [0, 1, 2, 3]),
                                              ("0.5..2", [0.5, 1.5])])
def test_phis(text, values):
    assert phis(text) == values


@pytest.mark.parametrize("text", ["", "a", "3..0", "0..99", "1,", "nan", "99", "0..inf"])
def test_no_phis(text):
    with pytest.raises(convatlas.ConvatlasError, match="--phi"):
        phis(text)


def test_a_network_of_the_rule_is_written_as_train_takes_it(tmp_path, capsys):
    out = tmp_path / "scaled.yaml"
    assert main(["scale", "budget", "resnet20_cifar", "--phi", "1", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found, = told["networks"]
    expected = point(registry.variant("resnet20_cifar").spec, PAPER, 1).spec
    assert found["spec"] == registry.plain(expected) and found["macs"] == macs(blank(expected.build))
    assert told["coefficients"]["product"] == pytest.approx(1.92027) and told["published"] == []
    run, _ = configured([("model.name", "resnet20_cifar")], recipe="resnet_cifar", config=out, sets=())
    assert run.model.fields == {"n": 4, "width": 1.1, "image_size": 37}
    assert registry.card(run.model.name, run.model.fields).spec == expected


def test_coefficients_of_a_search_and_a_budget(tmp_path, capsys):
    keep(tmp_path, convatlas.scale.compound.Coefficients(1.0, 1.5, 1.0))
    words = ["scale", "budget", "resnet20_cifar", "--params", "600k", "--found", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "β = 1.5" in said and "12.5 % above 2" in said and "params: 600.0k wanted" in said


@pytest.mark.parametrize(("words", "says"), [
    (["resnet20_cifar"], "give exactly one"), (["resnet20_cifar", "--phi", "1", "--macs", "1G"], "give exactly one"),
    (["lenet5", "--phi", "1"], "LeNet5 has no rule"),
    (["resnet20_cifar", "--phi", "1", "--alpha", "0.5"], "alpha = 0.5"),
    (["resnet20_cifar", "--phi", "1", "--out", "scaled.txt"], "ends in .yaml"),
    (["resnet20_cifar", "--phi", "1", "--found", "nowhere"], "has no coefficients.json"),
    (["resnet20_cifar", "--phi", "1", "--found", "nowhere", "--beta", "1.1"], "one place")])
def test_what_is_refused(words, says, capsys):
    assert main(["scale", "budget", *words]) != 0
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_efficientnet_as_published_beside_the_rule(capsys):
    assert main(["scale", "budget", "efficientnet_b0", "--phi", "0..2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    b1 = told["published"][0]
    assert b1["image_size"] == 240 and told["networks"][1]["image_size"] == 258
    assert told["networks"][0]["macs"] == 385_814_752 and told["networks"][1]["growth"]["together"][1] > 2.5


@pytest.mark.slow
def test_a_latency_is_measured_and_met(capsys):
    words = ["scale", "budget", "resnet20_cifar", "--latency", "4ms", "--backend", "eager", "--json"]
    assert main(words) == 0
    found, = json.loads(capsys.readouterr().out)["networks"]
    assert found["latency"]["backend"] == "eager" and found["latency"]["low"] <= found["latency"]["high"]
