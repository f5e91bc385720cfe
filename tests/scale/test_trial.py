"""Trials of a search: three parts of the data, training that goes on, work shared by processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas.errors import ConvatlasError
from convatlas.net.registry import change, variant
from convatlas.run import Data, Model, Optim, Run, Train
from convatlas.scale.ledger import Entry, Ledger, Point
from convatlas.scale.trial import Images, Work, accuracy, conduct, judged, packed, run_of, seconds

BASE = Run(model=Model(name="lenet5_modern"), data=Data(batch_size=16), optim=Optim(name="sgd", lr=0.05, momentum=0.9),
           train=Train(epochs=1))


def archive(where: Path, **counts: int) -> Path:
    """Pictures whose class is how bright they are."""
    dice = np.random.default_rng(0)
    arrays = {}
    for part, count in counts.items():
        labels = np.arange(count) % 4
        noise = dice.integers(0, 60, (count, 1, 12, 12))
        arrays[f"x_{part}"] = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
        arrays[f"y_{part}"] = labels
    np.savez(where / "bright.npz", **arrays)
    return where / "bright.npz"


def bytes_of(arrays: np.lib.npyio.NpzFile, part: str) -> set[bytes]:
    return {image.tobytes() for image in arrays[f"x_{part}"]}


def test_the_search_part_is_held_out_of_the_training_part(tmp_path: Path) -> None:
    source = archive(tmp_path, train=80, test=24)
    images = packed(Data(source=str(source)), tmp_path / "search", side=8)
    assert (images.learnt, images.searched, images.tested, images.classes) == (64, 16, 24, 4)
    before, after = np.load(source), np.load(images.path)
    learnt, searched, test = (bytes_of(after, part) for part in ("train", "val", "test"))
    assert learnt | searched == bytes_of(before, "train") and not learnt & searched
    assert test == bytes_of(before, "test")
    again = packed(Data(source=str(source)), tmp_path / "search", side=8)
    assert again == images
    few = packed(Data(source=str(source)), tmp_path / "few", side=8, most=40)
    assert (few.learnt, few.searched, few.tested) == (32, 8, 24)


def test_data_without_parts_is_split_by_its_own_seed(tmp_path: Path) -> None:
    source = str(archive(tmp_path, train=80))
    tested = [bytes_of(np.load(packed(Data(source=source, split_seed=seed), tmp_path / f"split-{seed}", side=8).path),
                       "test") for seed in (None, 0, 1)]
    assert tested[0] == tested[1] != tested[2]


def test_a_validation_part_of_the_data_is_the_search_part(tmp_path: Path) -> None:
    images = packed(Data(source=str(archive(tmp_path, train=80, val=20, test=24))), tmp_path / "search", side=8)
    assert (images.learnt, images.searched, images.tested) == (80, 20, 24)


def test_what_stands_for_a_test_part_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    images = packed(Data(source=str(archive(tmp_path, train=80))), tmp_path / "search", side=8, tell=lines.append)
    assert (images.learnt, images.searched, images.tested) == (51, 13, 16)      # 64 to learn from, 16 held out
    assert any("no test part: 16 images are held out" in line for line in lines)
    packed(Data(source=str(archive(tmp_path, train=80, val=20))), tmp_path / "other", side=8, tell=lines.append)
    assert "its validation part of 20 images stands for it" in lines[-1]


def test_images_of_several_sizes_become_squares(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(6):
            shape = (20 + number, 30) if number % 2 else (16, 16, 3)
            pixels = np.full(shape, 40 + 100 * (label == "b"), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    lines: list[str] = []
    images = packed(Data(source=str(tmp_path / "photos")), tmp_path / "search", side=9, tell=lines.append)
    assert np.load(images.path)["x_train"].shape[1:] == (3, 9, 9)
    assert set(np.unique(np.load(images.path)["x_train"])) == {40, 140}
    assert any("several sizes" in line and "9×9" in line for line in lines)


def test_a_trial_is_trained_judged_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convatlas.scale.trial.SECONDS", 0.0)
    images = packed(Data(source=str(archive(tmp_path, train=80, test=24))), tmp_path, side=8)
    spec = change(variant("lenet5_modern").spec, {"act": "tanh"})
    run = run_of(BASE, spec, 3, images)
    assert run.model.fields == {"act": "tanh", "num_classes": 4} and run.train.seed == 3
    share = accuracy(run, tmp_path / "one")
    assert 0 <= share <= 1 and share * images.searched == pytest.approx(round(share * images.searched))
    assert accuracy(run, tmp_path / "one") == share                     # nothing is left to do
    last = run_of(BASE, spec, 1000, images)
    right = judged(last, tmp_path / "last") * images.tested
    assert right == pytest.approx(round(right))
    assert 0 < seconds(run, images) < 60


def test_a_run_that_diverges_counts_as_chance(tmp_path: Path) -> None:
    images = packed(Data(source=str(archive(tmp_path, train=80, test=24))), tmp_path, side=8)
    run = run_of(BASE.change("optim.lr", 1e12), variant("lenet5_modern").spec, 0, images)
    assert accuracy(run, tmp_path / "wild") == 0.25


def test_many_labels_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "tags.npz", x=np.zeros((20, 8, 8), np.uint8), y=np.arange(40).reshape(20, 2) // 3 % 2)
    with pytest.raises(ConvatlasError, match="several labels"):
        packed(Data(source=str(tmp_path / "tags.npz")), tmp_path / "search", side=8)


# -- many ------------------------------------------------------------------------------------------------------------

def rates(count: int, entries: Sequence[Entry]) -> list[Point]:
    return [{"rate": 0.01 * (number + 1)} for number in range(count)]


def done(images: Images, folder: Path, entry: Entry) -> float:
    run = run_of(BASE.change("optim.lr", entry.point["rate"]), variant("lenet5_modern").spec, 0, images)
    with (folder / "log").open("a") as log:
        print("begun", entry.number, os.getpid(), file=log)
    share = accuracy(run, folder / "trials" / str(entry.number))
    with (folder / "log").open("a") as log:
        print("ended", entry.number, os.getpid(), file=log)
    return share


def work_in(folder: Path, count: int) -> Work:
    images = packed(Data(source=str(archive(folder, train=200, test=24))), folder, side=8)
    return Work(folder, partial(rates, count), partial(done, images, folder))


def test_work_is_done_once_and_told(tmp_path: Path) -> None:
    lines: list[str] = []
    work = work_in(tmp_path, 2)
    entries = conduct(work, 0, lambda entries, entry: f"{entry.number}: {entry.value:.2f}", lines.append)
    assert [entry.state for entry in entries] == ["done", "done"] and [line[:2] for line in lines] == ["0:", "1:"]
    assert conduct(work, 0, lambda entries, entry: "again", lines.append) == entries
    assert lines[-1] == "2 trials are done already."


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_two_searches_on_one_folder_are_killed_and_gone_on_with(tmp_path: Path) -> None:
    """Each a parent with a worker: whole groups are killed, so that neither can tidy up."""
    code = ("import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
            "from test_trial import conduct, work_in\n"
            "if __name__ == '__main__':\n"
            "    conduct(work_in(Path(sys.argv[1]), 6), 1, lambda all, one: '', lambda text: None)\n")
    script = tmp_path / "search.py"
    script.write_text(code)
    archive(tmp_path, train=200, test=24)

    def started() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)],
                                start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def finished() -> int:
        log = tmp_path / "log"
        return log.read_text().count("ended") if log.exists() else 0

    begun, end = [started(), started()], time.monotonic() + 250
    while finished() < 1 and time.monotonic() < end:
        time.sleep(0.05)
    for one in begun:
        for group in {one.pid, *children(one.pid)}:
            os.killpg(group, signal.SIGKILL)
        one.wait()
    begun = [started(), started()]
    for one in begun:
        assert one.wait(timeout=max(end - time.monotonic(), 1)) == 0
    entries = Ledger(tmp_path).entries()
    assert [entry.state for entry in entries] == ["done"] * 6 and len({str(entry.point) for entry in entries}) == 6
    ended = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines() if line.startswith("ended")]
    assert set(ended) == set("012345") and len(ended) <= 6 + 2         # again: only what a killed process had in hand
    alone = work_in(tmp_path / "alone", 6) if (tmp_path / "alone").mkdir() is None else None
    assert alone is not None
    whole = conduct(alone, 0, lambda entries, entry: "", lambda text: None)
    assert [entry.value for entry in whole] == [entry.value for entry in entries]      # bit for bit


def children(pid: int) -> set[int]:
    """Groups of the processes that it began: a worker has its own."""
    found = subprocess.run(["ps", "-o", "pgid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return {int(word) for word in found.stdout.split()}
