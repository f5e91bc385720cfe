"""The progress display: what it says where, when, and how long it thinks there is to go."""

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from convatlas.cli.progress import QUIET, Pace, Progress
from convatlas.engine.watch import Watch
from convatlas.run import Run, Train

RUN = Run(train=Train(epochs=4))
STEPS = 10


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def row(epoch: int, val_top1: float, val_loss: float = 0.5) -> dict[str, float]:
    return {"epoch": epoch, "step": epoch * STEPS, "lr": 0.1, "train_loss": 0.25, "train_top1": 0.75,
            "val_loss": val_loss, "val_top1": val_top1, "val_top5": 1.0, "images_per_second": 1234.5,
            "seconds": 75.0 * epoch}


class Stage:
    """A Progress that writes into a string, on a terminal or not, under a clock of our own."""

    def __init__(self, terminal: bool) -> None:
        self.clock, self.file = Clock(), io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=100, color_system=None, highlight=False,
                               _environ={})
        self.progress: Progress = Progress(self.console, self.clock)
        self.watch: Watch = self.progress

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.file.getvalue())

    def epoch(self, epoch: int, per_step: float, validation: float = 0.0, val_top1: float = 0.9) -> None:
        for step in range(1, STEPS + 1):
            self.clock.now += per_step
            self.watch.step(epoch, step, step * 64, 0.5, 0.8, 640.0)
        for done in (1, 2):
            self.clock.now += validation / 2
            self.watch.validating(done, 2)
        self.watch.epoch(row(epoch, val_top1))


@pytest.fixture
def plain(tmp_path: Path) -> Stage:
    stage = Stage(terminal=False)
    stage.watch.start(RUN, tmp_path, 1, STEPS)
    return stage


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(terminal=True)
    stage.watch.start(RUN, tmp_path, 1, STEPS)
    yield stage
    stage.watch.close()


def test_one_line_per_epoch_in_straight_columns(plain: Stage) -> None:
    for epoch, share in ((1, 0.9), (2, 1.0), (3, 0.0425)):
        plain.epoch(epoch, per_step=0.1, val_top1=share)
    intro, header, *rows = plain.text.splitlines()
    assert "lenet5" in intro and "digits" in intro and "4 epochs of 10 steps" in intro
    assert [line.split()[0] for line in rows] == ["1/4", "2/4", "3/4"]
    ends = [match.end() for match in re.finditer(r"acc|loss|images/s|time", header)]
    for line in rows:
        assert all(line[end - 1] != " " and line[end:end + 1] in (" ", "") for end in ends), line
        assert len(line) <= 79
    assert "1234" in rows[0] and "1:15" in rows[0] and "90.00 %" in rows[0]


def test_the_best_epoch_is_marked_as_the_engine_ranks_it(plain: Stage) -> None:
    for epoch, share, loss in ((1, 0.9, 0.5), (2, 0.8, 0.1), (3, 0.9, 0.4), (4, 0.9, 0.4)):
        plain.watch.epoch(row(epoch, share, loss))
    assert [line.endswith("best") for line in plain.text.splitlines()[-4:]] == [True, False, True, False]


def test_a_resumed_run_knows_what_was_best_before(tmp_path: Path) -> None:
    from convatlas.engine.records import COLUMNS

    rows = [row(1, 0.95), row(2, 0.99)]
    lines = [",".join(COLUMNS), *(",".join(str(each[name]) for name in COLUMNS) for each in rows)]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    stage = Stage(terminal=False)
    stage.watch.start(RUN, tmp_path, 2, STEPS)     # epoch 2 is done again: its row does not count
    stage.watch.epoch(row(2, 0.94))
    stage.watch.epoch(row(3, 0.96))
    assert "epochs 2 to 4" in stage.text
    assert [line.endswith("best") for line in stage.text.splitlines()[-2:]] == [False, True]


def test_a_finished_run_that_is_resumed_has_nothing_to_do(tmp_path: Path) -> None:
    stage = Stage(terminal=False)
    stage.watch.start(RUN, tmp_path, 5, STEPS)
    assert "all of its 4 epochs are done already" in stage.text and "5 to 4" not in stage.text


def test_without_a_terminal_progress_speaks_at_most_every_ten_seconds(plain: Stage) -> None:
    for step in range(1, STEPS):
        plain.clock.now += 4
        plain.watch.step(1, step, step * 64, 0.5, 0.8, 16.0)
    spoken = [line for line in plain.text.splitlines() if " of 10 " in line and line.startswith("epoch")]
    assert len(spoken) == int(9 * 4 // QUIET)
    assert spoken[0].startswith("epoch 1/4  3 of 10  loss 0.5000  acc 80.00 %  16 images/s  0:28 left, run 2:28")
    assert "\r" not in plain.text and "\x1b" not in plain.file.getvalue()


def test_quick_epochs_write_nothing_but_their_line(plain: Stage) -> None:
    for epoch in (1, 2, 3, 4):
        plain.epoch(epoch, per_step=0.2, validation=0.5)
    assert len(plain.text.splitlines()) == 2 + 4


def test_time_left_includes_the_validation_of_this_and_the_later_epochs(live: Stage) -> None:
    live.epoch(1, per_step=1.0, validation=30.0)
    live.clock.now += 1
    live.watch.step(2, 1, 64, 0.5, 0.8, 64.0)
    # 9 steps and a validation here, then two epochs of 10 s + 30 s
    assert live.progress._left(9 * 1.0 + 30.0) == "0:39 left, run 1:59"
    live.progress.live.refresh()    # type: ignore[union-attr]
    assert "epoch 2/4" in live.text and "0:39 left, run 1:59" in live.text


def test_the_first_look_at_a_resumed_epoch_does_not_count_what_was_done_before(plain: Stage) -> None:
    plain.clock.now += 1
    plain.watch.step(1, 8, 8 * 64, 0.5, 0.8, 64.0)
    assert plain.progress._left(2 * plain.progress.pace.per_step) == ""
    plain.clock.now += 3
    plain.watch.step(1, 9, 9 * 64, 0.5, 0.8, 64.0)
    assert plain.progress.pace.per_step == 3.0


def test_the_pace_follows_a_change_and_shrugs_off_a_hiccup() -> None:
    pace = Pace()
    for _ in range(1000):
        pace.add(1, 0.1)
    assert pace.per_step == pytest.approx(0.1)
    pace.add(1, 1.0)
    assert pace.per_step < 0.12
    for _ in range(1000):
        pace.add(1, 0.3)
    assert pace.per_step == pytest.approx(0.3, rel=0.01)


def test_a_terminal_gets_a_moving_line_and_is_given_back(live: Stage) -> None:
    live.clock.now += 1
    live.watch.step(1, 3, 192, 0.1234, 0.5, 99.0)
    assert live.progress.live is not None
    live.progress.live.refresh()
    assert "epoch 1/4" in live.text and "loss 0.1234" in live.text and "99 images/s" in live.text
    live.watch.tell("a sentence")
    live.watch.close()
    live.watch.close()
    raw = live.file.getvalue()
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h") == 1      # the cursor is hidden once and shown again
    assert "note: a sentence" in live.text


def test_evaluating_alone_needs_no_start() -> None:
    stage = Stage(terminal=True)
    for done in (1, 2, 3):
        stage.clock.now += 2
        stage.watch.validating(done, 10)
    stage.progress.live.refresh()   # type: ignore[union-attr]
    stage.watch.close()
    assert "evaluating  0:14 left" in stage.text and "epoch" not in stage.text


def test_evaluating_quickly_without_a_terminal_says_nothing() -> None:
    stage = Stage(terminal=False)
    for done in (1, 2, 3):
        stage.watch.validating(done, 3)
    stage.watch.close()
    assert stage.text == ""


def test_names_with_brackets_are_not_markup(plain: Stage) -> None:
    plain.watch.tell("the folder [bold]x[/] is odd")
    assert "[bold]x[/]" in plain.text


def test_what_the_library_logs_reaches_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    from convatlas.cli import console

    log = logging.getLogger("convatlas")
    before = (list(log.handlers), log.level, log.propagate)
    try:
        console.listen(debug=False)
        console.listen(debug=False)     # twice is once
        log.warning("%d codes", 3)
        log.debug("unseen")
    finally:
        log.handlers, log.level, log.propagate = before
    assert capsys.readouterr().err == "warning: 3 codes\n"
