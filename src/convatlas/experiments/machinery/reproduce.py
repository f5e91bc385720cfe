"""Reproduction of an experiment: its protocol chosen, conducted, judged, drawn and written."""

from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import ConvatlasError
from ...trials import processes
from .. import about, experiment
from .conduct import Tell, conduct
from .page import leave
from .plan import Experiment, Protocol, Size
from .verdict import LEAST, Verdict


@dataclass(frozen=True)
class Reproduced:
    """An experiment that ran: where its files are, and its verdicts."""

    folder: Path
    verdicts: tuple[Verdict, ...]


def planned(name: str, size: Size | None, data: str | None) -> tuple[Experiment, Protocol, Size]:
    """The experiment and its protocol: the standard one on `data` where that is named, else the quick one."""
    found = experiment(name)
    size = size or ("standard" if data is not None and found.standard is not None else "quick")
    protocol = found.protocol(size)
    if data is not None:
        if protocol.images is None:
            raise ConvatlasError(f"{name} takes no --data: it is about networks or data of its own")
        protocol = replace(protocol, images=replace(protocol.images, source=data))
    return found, protocol, size


def reproduce(name: str, out: Path, *, size: Size | None = None, data: str | None = None, seeds: int | None = None,
              workers: int | None = None, data_dir: str | None = None, download: bool = False,
              tell: Tell = lambda text: None) -> Reproduced:
    """Run an experiment and leave results.json, picture.svg and report.html in `out`, beside a run folder per trial.

    The same call goes on where an earlier one was interrupted. `seeds` in place of the protocol's (at least two, for an
    interval); `workers`: processes of one thread each, by default as many as there are processors.
    """
    found, protocol, used = planned(name, size, data)
    seeds = protocol.seeds if seeds is None else seeds
    if seeds < LEAST:
        raise ConvatlasError(f"--seeds {seeds} is too few: without {LEAST} there is no interval")
    conducted = conduct(found, protocol, out, seeds=seeds, workers=processes() if workers is None else workers,
                        tell=tell, data_dir=data_dir, download=download)
    return Reproduced(out, leave(out, name, about(name), found, protocol, used, conducted))
