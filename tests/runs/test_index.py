"""Runs on disk: what is read of half-written folders, the index, conditions, comparison."""

import os
import sqlite3
import subprocess
import sys

import pytest

from convatlas.errors import ConvatlasError
from convatlas.run import Optim, Run, Train
from convatlas.runs.index import INDEX, at, changes, compare, files, find, flat, list_runs, read, rows_of

HEADER = "epoch,step,lr,train_loss,val_loss,val_top1,images_per_second,seconds,a_new_column\n"


def make(home, name, accuracies=(0.5, 0.9), *, epochs=None, lr=0.1, checkpoint=None, began=1_700_000_000):
    folder = home / name
    (folder / "tb").mkdir(parents=True)
    (folder / "tb" / f"events.out.tfevents.{began}.host.1.0").touch()
    run = Run(optim=Optim(lr=lr), train=Train(epochs=epochs or len(accuracies), checkpoint_minutes=1))
    (folder / "config.yaml").write_text(run.to_yaml())
    lines = [f"{e},{10 * e},0.1,{2 / e},{1 / e},{accuracy},{100 * e},{7 * e},3\n"
             for e, accuracy in enumerate(accuracies, 1)]
    (folder / "metrics.csv").write_text(HEADER + "".join(lines))
    if checkpoint is not None:
        (folder / "checkpoints" / f"step-{checkpoint:08d}").mkdir(parents=True)
    return folder


def written(folder, metrics, checkpoint=None):
    """Set when the files were written, in Unix seconds."""
    for path in (folder / "config.yaml", folder / "metrics.csv"):
        os.utime(path, (metrics, metrics))
    for path in (folder / "checkpoints").glob("*"):
        os.utime(path, (checkpoint, checkpoint))


def names(runs):
    return [run.name for run in runs]


def test_a_run_is_read_with_whatever_columns_it_has(tmp_path):
    run = read(make(tmp_path, "a", (0.5, 0.9, 0.8)))
    assert (run.name, run.epochs, run.wanted, run.rate, run.began) == ("a", 3, 3, 200, 1_700_000_000)
    assert run.best["epoch"] == 2 and run.best["val_top1"] == 0.9 and run.last["a_new_column"] == 3
    assert run.state() == "done" and run.problem == ""


def test_a_row_cut_short_is_left_out(tmp_path):
    folder = make(tmp_path, "a")
    with (folder / "metrics.csv").open("a") as file:
        # damaged; and no end of line: 3 may be the head of 37
        file.write("3,30,x,1,1,1,1,1,1\n4,40,0.1,1,1,0.99,1,1,3")
    assert [row["epoch"] for row in rows_of(folder)] == [1, 2]


@pytest.mark.parametrize("text", ["", "train: [", "train: {epochs: 3, of_another_version: 1}", "\x00\xff"])
def test_a_damaged_configuration_is_a_problem_not_an_error(tmp_path, text):
    make(tmp_path, "good")
    folder = make(tmp_path, "bad")
    (folder / "config.yaml").write_bytes(text.encode("latin-1"))
    (folder / "metrics.csv").unlink()
    runs = {run.name: run for run in list_runs([tmp_path])}
    assert set(runs) == {"good", "bad"} and runs["good"].state() == "done"
    assert bool(runs["bad"].problem) == bool(text)
    assert runs["bad"].epochs == 0


def test_states(tmp_path):
    folder = make(tmp_path, "a", epochs=5, checkpoint=25, began=1000)
    written(folder, 1000, 1030)
    assert read(folder).state(1040) == "interrupted", "a checkpoint within an epoch, before one was due"
    written(folder, 1000, 1070)
    assert read(folder).state(1080) == "running?", "a checkpoint that was due"
    assert read(folder).state(9999) == "interrupted"
    written(folder, 1050, 1030)
    assert read(folder).state(1060) == "running?", "resumed: metrics.csv was written anew"
    bare = make(tmp_path, "b", epochs=5, began=1000)
    written(bare, 1000)
    assert (read(bare).state(1010), read(bare).state(9999)) == ("running?", "failed")
    written(folder, 9_000_000, 9_000_070)
    assert read(folder).state(5000) == "interrupted", "written when the clock was far ahead: nobody knows of it today"


def test_the_index_follows_the_folders(tmp_path):
    folder = make(tmp_path, "a")
    make(tmp_path, "deep/er/b")
    make(tmp_path, "a/inside")          # what lies in a run is no other run
    assert sorted(names(list_runs([tmp_path]))) == ["a", "b"]
    with sqlite3.connect(tmp_path / INDEX) as book:
        assert {place for (place,) in book.execute("SELECT place FROM runs")} == {"a", "deep/er/b"}
        book.execute("UPDATE runs SET stored = replace(stored, '0.9', '0.7')")
    assert list_runs([tmp_path])[0].best["val_top1"] == 0.7, "what has not changed comes from the index"
    with (folder / "metrics.csv").open("a") as file:
        file.write("3,30,0.1,1,1,0.95,1,1,3\n")
    (tmp_path / "deep/er/b").rename(tmp_path / "c")
    assert {run.name: run.best["val_top1"] for run in list_runs([tmp_path])} == {"a": 0.95, "c": 0.9}
    with sqlite3.connect(tmp_path / INDEX) as book:
        assert {place for (place,) in book.execute("SELECT place FROM runs")} == {"a", "c"}


def test_a_damaged_index_is_made_anew(tmp_path, caplog):
    make(tmp_path, "a")
    (tmp_path / INDEX).write_text("no database at all, " * 300)
    assert names(list_runs([tmp_path])) == ["a"]
    assert "damaged" in caplog.text
    caplog.clear()
    assert names(list_runs([tmp_path])) == ["a"] and not caplog.text


def test_an_index_that_cannot_be_used_is_ignored_with_a_word(tmp_path, caplog):
    make(tmp_path, "a")
    (tmp_path / INDEX).mkdir()
    assert names(list_runs([tmp_path])) == ["a"]
    assert "cannot be used" in caplog.text


def test_sorting_puts_the_best_first_and_the_unknown_last(tmp_path):
    for name, accuracies, began in (("a", (0.7,), 3), ("b", (0.9, 0.8), 2), ("c", (), 1), ("d", (0.8, 0.8, 0.8), 4)):
        make(tmp_path, name, accuracies, epochs=3, began=began)
    orders = {"val_top1": "bdac", "val_loss": "dabc", "name": "abcd", "started": "dabc"}
    # 1/3, then 1 and 1 (b's best epoch is its first) in the order they were found
    orders["val_loss"] = "d" + "ab" + "c"
    for field, order in orders.items():
        assert "".join(names(list_runs([tmp_path], sort=field))) == order, field
    assert "".join(names(list_runs([tmp_path], sort="val_top1", reverse=True))) == "adbc"


@pytest.mark.parametrize(("condition", "wanted"), [
    ("optim.lr=0.1", "a"), ("optim.lr=1e-3", "b"), ("optim.lr!=0.1", "b"), ("val_top1>=0.9", "a"),
    ("val_top1<0.9", "b"),
    ("name=a*", "a"), ("name!=a*", "b"), ("model=lenet*", "ab"), ("data.download=false", "ab"),
    ("train.ema=null", "ab"),
])
def test_conditions(tmp_path, condition, wanted):
    make(tmp_path, "a", lr=0.1)
    make(tmp_path, "b", (0.6,), lr=0.001)
    assert sorted(names(list_runs([tmp_path], where=[condition]))) == list(wanted)


@pytest.mark.parametrize(("condition", "said"), [
    ("optim.lrr=0.1", "did you mean 'optim.lr'"), ("optim.lr", "FIELD=VALUE"), ("name>abc", "compares numbers")])
def test_conditions_that_make_no_sense(tmp_path, condition, said):
    make(tmp_path, "a")
    with pytest.raises(ConvatlasError, match=said):
        list_runs([tmp_path], where=[condition])


def test_places_that_are_not_there(tmp_path, monkeypatch):
    make(tmp_path / "runs", "first-run")
    monkeypatch.chdir(tmp_path)
    assert find("first-run").name == find(tmp_path / "runs/first-run").name == "first-run"
    with pytest.raises(ConvatlasError, match="did you mean 'first-run'"):
        find("first-rum")
    with pytest.raises(ConvatlasError, match="no folder 'elsewhere'"):
        list_runs(["elsewhere"])
    (tmp_path / "empty").mkdir()
    assert list_runs(["empty"]) == [] and not list((tmp_path / "empty").iterdir())


def test_comparison_holds_what_differs(tmp_path):
    folders = (make(tmp_path, "a", (0.5, 0.9), lr=0.1), make(tmp_path, "b", (0.95,), lr=0.2),
               make(tmp_path, "c", (), epochs=1))
    runs = [read(folder) for folder in folders]
    found = compare(runs)
    assert found.fields == {"optim.lr": [0.1, 0.2, 0.1], "train.epochs": [2, 1, 1]}
    assert found.figures["val_top1"] == [0.9, 0.95, None] and found.figures["seconds"] == [14, 7, None]
    assert (found.best["val_top1"], found.best["val_loss"]) == ([1], [0])
    assert not {"epochs", "seconds", "lr"} & found.best.keys()


def test_top_5_of_few_classes_is_not_compared(tmp_path):
    folders = make(tmp_path, "a"), make(tmp_path, "b")
    for folder in folders:
        table = folder / "metrics.csv"
        table.write_text(table.read_text().replace("a_new_column", "val_top5"))
    assert "val_top5" in compare([read(folder) for folder in folders]).figures
    for folder, classes in zip(folders, (5, 3), strict=True):
        run = Run.from_yaml((folder / "config.yaml").read_text()).change("model.fields", {"num_classes": classes})
        (folder / "config.yaml").write_text(run.to_yaml())
    assert "val_top5" not in compare([read(folder) for folder in folders]).figures


def test_changes_are_measured_against_the_recipe(tmp_path):
    from convatlas.recipes import recipe

    folder = make(tmp_path, "a")
    (folder / "config.yaml").write_text(recipe("lenet5").change("optim", Optim(name="adam", lr=0.5)).to_yaml())
    base, fields = changes(read(folder))
    assert base == "the recipe lenet5" and fields["optim.lr"] == (recipe("lenet5").optim.lr, 0.5)
    assert all(name.startswith("optim.") for name in fields)
    assert files(read(folder))["metrics.csv"] == (folder / "metrics.csv").stat().st_size


def test_trees():
    assert flat({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "d": [2]}
    assert at({"a": {"b": 1}}, "a.b") == 1 and at({"a": 1}, "a.b") is None


def test_no_torch():
    code = "import sys, convatlas.runs.index; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
