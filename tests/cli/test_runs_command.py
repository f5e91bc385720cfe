"""`convatlas runs`, on folders as training leaves them."""

import json

import pytest
from typer.testing import CliRunner

from convatlas.cli import console
from convatlas.cli.runs import runs
from convatlas.run import Optim, Run, Train


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name, lr, accuracies in (("a", 0.1, (0.5, 0.75)), ("b", 0.2, (0.6, 0.875))):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(Run(optim=Optim(lr=lr), train=Train(epochs=2)).to_yaml())
        rows = [f"{e},{e * 10},{1 / e},{1 / e},{accuracy},99,{e * 60}\n" for e, accuracy in enumerate(accuracies, 1)]
        (folder / "metrics.csv").write_text("epoch,step,train_loss,val_loss,val_top1,images_per_second,seconds\n"
                                            + "".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(capsys, monkeypatch, *words):
    """What the command prints on stdout."""
    monkeypatch.setattr(console, "out", console.Console(width=200, highlight=False))
    runner = CliRunner()
    result = runner.invoke(runs, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list(home, capsys, monkeypatch):
    lines = [line.split() for line in say(capsys, monkeypatch, "list", "--sort", "val_top1").splitlines()]
    rows = [line for line in lines if line and line[0] in "ab"]
    assert [row[0] for row in rows] == ["b", "a"]
    assert "87.50" in rows[0] and "2/2" in rows[0] and "2:00" in rows[0] and "done" in rows[0]
    assert (" a " in say(capsys, monkeypatch)
            and " b " not in say(capsys, monkeypatch, "list", "--where", "optim.lr=0.1"))


def test_json(home, capsys, monkeypatch):
    found = json.loads(say(capsys, monkeypatch, "list", "--json", "--sort", "name"))
    assert [(run["name"], run["best"]["val_top1"], run["config"]["optim"]["lr"]) for run in found] == [
        ("a", 0.75, 0.1), ("b", 0.875, 0.2)]
    side = json.loads(say(capsys, monkeypatch, "compare", "a", "b", "--json"))
    assert side["fields"] == {"optim.lr": [0.1, 0.2]} and side["best"]["val_top1"] == [1]
    assert json.loads(say(capsys, monkeypatch, "show", "b", "--json"))["changes"]["optim.lr"]["here"] == 0.2


def test_show_and_compare(home, capsys, monkeypatch):
    shown = say(capsys, monkeypatch, "show", "a")
    assert "the defaults" in shown and "75.00 %" in shown and "metrics.csv" in shown
    row = next(line for line in say(capsys, monkeypatch, "compare", "a", "b").splitlines() if "val_top1" in line)
    assert row.split() == ["val_top1", "75.00", "%", "★", "87.50", "%"]


def test_plot(home, capsys, monkeypatch):
    assert "written: c.svg" in say(capsys, monkeypatch, "plot", "a", "b", "--out", "c.svg", "--metric", "val_top1")
    text = (home / "c.svg").read_text()
    assert "a  25 %" in text and "b  12.5 %" in text
    found = json.loads(say(capsys, monkeypatch, "plot", "a", "b", "--out", "c.svg", "--metric", "val_top1", "--json"))
    assert found == {"written": "c.svg", "x": "epoch", "curves": {
        "a": {"epoch": [1, 2], "val_top1": [0.5, 0.75]}, "b": {"epoch": [1, 2], "val_top1": [0.6, 0.875]}}}


def test_nothing_fits(home, capsys, monkeypatch):
    result = CliRunner().invoke(runs, ["list", "--model", "alex*"])
    assert result.exit_code == 1
