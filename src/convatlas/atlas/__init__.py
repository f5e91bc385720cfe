"""The atlas: the lecture, its networks and a user's runs as one static site that opens without a network."""

from collections.abc import Callable, Sequence
from pathlib import Path

from . import build as builder
from . import lineage, networks, runs, told
from .build import Built, Part, Wanted
from .chapters import told as lecture

PARTS: tuple[Part, ...] = (     # in the order of the navigation
    told.home, lecture.chapters, networks.networks, told.networks, lineage.lineage, told.compare, lecture.experiments,
    runs.runs,
)


def build(out: Path, runs: Sequence[Path] = (), weights: Sequence[Path] = (),
          tell: Callable[[str], None] = lambda text: None, only: Sequence[str] = ()) -> Built:
    """Write the site into `out`, with a page for each of the run folders `runs`; networks of `weights` run in it
    besides those that come along. With `only`, no other variants have pages, and links to theirs lead nowhere.

    `tell` hears a line for each part that takes long. Raises ConvatlasError where `out` holds anything but a site, or a
    run or file of weights cannot be read.
    """
    return builder.build(out, Wanted(runs, weights, tell, only), PARTS)
