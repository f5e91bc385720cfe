"""The ledger of a search: no trial twice, none lost, whoever is killed and whenever."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from convatlas.errors import ConvatlasError
from convatlas.scale.ledger import JOURNAL, Ledger

POINTS = [{"arm": arm, "seed": seed} for arm in ("deep", "wide") for seed in range(2)]


def test_trials_are_claimed_in_turn_and_entered_once(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)         # two processes' views of the same file
    assert one.extend(lambda entries: POINTS) == 4 and other.extend(lambda entries: POINTS) == 0
    first, second = one.claim(), other.claim()
    assert first and second and (first.entry.point, second.entry.point) == (POINTS[0], POINTS[1])
    first.done(0.5)
    assert [entry.state for entry in other.entries()] == ["done", "begun", "waiting", "waiting"]
    assert other.entries()[0].value == 0.5
    one.enter(0, 0.9)
    assert other.entries()[0].value == 0.5                  # what is entered stays
    third, fourth = one.claim(), one.claim()
    assert third and fourth and one.claim() is None and other.claim() is None       # the rest is in others' hands


def test_a_trial_that_was_left_is_taken_up_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.extend(lambda entries: POINTS)
    begun = ledger.claim()
    assert begun
    begun.let_go()                      # as Ctrl-C does, and the system when a process is killed
    again = Ledger(tmp_path).claim()
    assert again and again.entry.number == begun.entry.number


def test_what_is_asked_depends_on_all_that_is_known(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.extend(lambda entries: POINTS[:1])
    claim = ledger.claim()
    assert claim
    claim.done(0.25)
    ledger.extend(lambda entries: [{"arm": f"after {entries[0].value:g}", "seed": 0}])
    assert ledger.entries()[1].point["arm"] == "after 0.25"


def test_half_a_line_is_taken_off(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.extend(lambda entries: POINTS)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 6, "trial')
    claim = Ledger(tmp_path).claim()
    assert claim
    claim.done(1.0)
    after = journal.read_bytes()
    assert after.startswith(whole) and all(json.loads(line) for line in after.splitlines())
    assert [entry.state for entry in Ledger(tmp_path).entries()] == ["done", "waiting", "waiting", "waiting"]


@pytest.mark.parametrize("content", [b"no journal\n{}\n", b'{"op_code": 99}\n', b"\x00\n\x00\n", b"[]\n[]\n"])
def test_what_is_no_ledger_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(content)
    with pytest.raises(ConvatlasError, match="cannot be read as a ledger"):
        Ledger(tmp_path)


def test_anothers_trials_are_refused(tmp_path: Path) -> None:
    import optuna

    ledger = Ledger(tmp_path)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL)))
    optuna.load_study(study_name="search", storage=storage).ask()
    with pytest.raises(ConvatlasError, match="did not enter"):
        ledger.entries()


WORKER = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from convatlas.scale.ledger import Ledger

    folder = Path(sys.argv[1])
    ledger = Ledger(folder)
    ledger.extend(lambda entries: [{"trial": n} for n in range(40)])
    while any(entry.state != "done" for entry in ledger.entries()):
        claim = ledger.claim()
        if claim is None:
            time.sleep(0.02)
            continue
        number = claim.entry.number
        with open(folder / "log", "a") as log:
            print("begun", number, os.getpid(), file=log)
        time.sleep(0.3)
        with open(folder / "log", "a") as log:
            print("ended", number, os.getpid(), file=log)
        claim.done(number)
""")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_processes_killed_at_any_moment_do_no_trial_twice_and_lose_none(tmp_path: Path) -> None:
    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])

    workers, killed = [started(), started()], set()
    end = time.monotonic() + 240
    for turn in range(8):
        time.sleep(1.6 + 0.173 * turn)
        one = workers.pop(0)
        if one.poll() is None:
            one.send_signal(signal.SIGKILL)
            killed.add(one.pid)
        one.wait()
        workers.append(started())
    for worker in workers:
        worker.wait(timeout=max(end - time.monotonic(), 1))
        assert worker.returncode == 0
    entries = Ledger(tmp_path).entries()
    assert [(entry.state, entry.value) for entry in entries] == [("done", float(number)) for number in range(40)]
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    ended = Counter(number for word, number, _ in lines if word == "ended")
    assert set(ended) == {str(number) for number in range(40)}
    # one that was done twice was done first by a process that was killed before it could enter it
    for number, count in ended.items():
        by = [pid for word, each, pid in lines if word == "ended" and each == number]
        assert all(int(pid) in killed for pid in by[:count - 1])
    assert killed
