"""Ledger of a search: its trials, who does them, what they gave; one file on disk, for many processes and machines.

It is an Optuna study in a journal that is only appended to, so Optuna's own tools read it. Two things are ours. Locks
are the system's, which end with the process that holds them: a process killed at any moment leaves none behind, and
half a line that it left is taken off before the next is written. And whoever does a trial holds a lock of the trial's
own meanwhile; a trial that has begun and that nobody holds was interrupted, and is gone on with.

Machines share it on a file system whose locks reach from one to the other: NFS 4, NFS 3 with its lock service, SMB.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from .. import bounded
from ..errors import ConvatlasError, installing
from ..files import writing

JOURNAL, LOCK, CLAIMS = "journal.log", "journal.lock", "claims"
STUDY = "search"
PATIENCE = 60.0         # seconds to wait for the journal, which is written in milliseconds
LONGEST = 2**23         # bytes of a journal: more than ten thousand trials

Point = Mapping[str, bool | int | float | str]      # what a trial tries
State = Literal["waiting", "begun", "done"]


@dataclass(frozen=True)
class Entry:
    """One trial: its number, what it tries, and what it gave, once it is done."""

    number: int
    point: Point
    state: State
    value: float | None


class Claim:
    """A trial that is this process's to do, until `done` is told or the claim is let go."""

    def __init__(self, ledger: "Ledger", entry: Entry, lock: FileLock) -> None:
        self.entry, self._ledger, self._lock = entry, ledger, lock

    def done(self, value: float) -> None:
        """Enter what the trial gave: a finite number, more is better."""
        self._ledger.enter(self.entry.number, value)
        self.let_go()

    def let_go(self) -> None:
        """Leave the trial, if it is not done, to whoever claims it next."""
        self._lock.release()


class Ledger:
    """The ledger in a folder, which is made where there is none."""

    def __init__(self, folder: Path) -> None:
        optuna = _optuna()
        path = folder / JOURNAL
        with writing(folder, "name another folder with --out"):
            (folder / CLAIMS).mkdir(parents=True, exist_ok=True)
        self.folder, self._lock = folder, FileLock(folder / LOCK, timeout=PATIENCE)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._held(), self._sound():
            if path.is_file() and path.stat().st_size > LONGEST:
                raise ValueError(f"it is longer than {LONGEST:,} bytes")
            backend = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=Held())
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend), study_name=STUDY, direction="maximize",
                load_if_exists=True)

    def entries(self) -> tuple[Entry, ...]:
        """All trials, in the order in which they were added."""
        with self._held():
            return self._entries()

    def extend(self, ask: Callable[[Sequence[Entry]], Iterable[Point]]) -> int:
        """Add the trials that `ask` wants, given all there are; returns how many were new.

        Points that are there already are left out, and no other process adds any meanwhile: several that ask the same
        add each point once.
        """
        with self._held():
            entries = self._entries()
            known, added = [entry.point for entry in entries], 0
            for point in map(dict, ask(entries)):
                if point not in known:
                    with self._sound():
                        self._study.enqueue_trial(point)
                    known.append(point)
                    added += 1
            return added

    def claim(self) -> Claim | None:
        """The first trial that has begun and that nobody does any more, else the first that waits; None where all are
        done or in others' hands.
        """
        with self._held():
            entries = self._entries()
            for entry in entries:
                if entry.state == "begun" and (lock := self._take(entry.number)) is not None:
                    return Claim(self, entry, lock)
            waiting = next((entry for entry in entries if entry.state == "waiting"), None)
            if waiting is None:
                return None
            with self._sound():
                number = self._study.ask().number       # the first that waits: nobody else asks meanwhile
            lock = self._take(number)
            if number != waiting.number or lock is None:
                raise ConvatlasError(f"{str(self.folder)!r} is written by another program than convatlas: give the "
                                     "search a folder of its own with --out")
            return Claim(self, waiting, lock)

    def enter(self, number: int, value: float) -> None:
        """Enter what trial `number` gave; what is entered already stays."""
        with self._held(), self._sound():
            self._study.tell(number, value, skip_if_finished=True)

    def _entries(self) -> tuple[Entry, ...]:
        from optuna.trial import TrialState

        states: dict[TrialState, State] = {TrialState.WAITING: "waiting", TrialState.RUNNING: "begun",
                                           TrialState.COMPLETE: "done"}
        found = []
        with self._sound():
            for trial in self._study.get_trials(deepcopy=False):
                point = trial.system_attrs.get("fixed_params")
                if not isinstance(point, dict) or trial.state not in states:
                    raise ConvatlasError(f"{str(self.folder / JOURNAL)!r} has a trial that convatlas did not enter, "
                                         f"number {trial.number}: give the search a folder of its own with --out")
                found.append(Entry(trial.number, point, states[trial.state],
                                   trial.value if trial.state == TrialState.COMPLETE else None))
        return tuple(found)

    def _take(self, number: int) -> FileLock | None:
        """The trial's own lock, if nobody holds it."""
        lock = FileLock(self.folder / CLAIMS / f"{number}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The journal as this process's own, in whole lines."""
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ConvatlasError(f"{str(self.folder / LOCK)!r} has been held for {PATIENCE:.0f} s by a process that "
                                 "does not go on: end it, and start again") from error
        except (NotImplementedError, OSError) as error:
            raise ConvatlasError(f"{str(self.folder)!r} lies where files cannot be locked, which a search needs "
                                 f"({error}): name another folder with --out") from error
        try:
            _mend(self.folder / JOURNAL)
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """A context in which what is wrong with the journal is a ConvatlasError."""
        path = self.folder / JOURNAL
        try:
            yield
        except ConvatlasError:
            raise
        except OSError as error:
            raise ConvatlasError(f"cannot keep the ledger {str(path)!r}: {error.strerror or error}; make room, or name "
                                 "another folder with --out") from error
        except Exception as error:      # as many kinds as Optuna raises
            raise ConvatlasError(f"{str(path)!r} cannot be read as a ledger: {error or type(error).__name__}; it is "
                                 "damaged, or no search's") from error


class Held:
    """Optuna's lock of its journal, with nothing to do: the ledger holds its own whenever Optuna writes."""

    def acquire(self) -> bool:
        """Nothing."""
        return True

    def release(self) -> None:
        """Nothing."""


def _mend(path: Path) -> None:
    """Take off half a line that a killed process has left at the end: the next would be written behind it."""
    with suppress(FileNotFoundError), path.open("r+b") as file:
        end = file.seek(0, 2)
        whole = end
        while whole:
            file.seek(max(whole - bounded.BLOCK, 0))
            block = file.read(min(whole, bounded.BLOCK))
            if b"\n" in block:
                whole += block.rindex(b"\n") + 1 - len(block)
                break
            whole -= len(block)
        if whole < end:
            file.truncate(whole)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConvatlasError("a search keeps its ledger with Optuna, which is not installed: "
                             f"{installing('scale')}") from error
    return optuna
