"""Layers one after the other, and where they fork and join: the parts that a drawing of a network is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from .words import Kind

Join = Literal["add", "concat", "multiply"]
Size = tuple[int, int] | None       # (height, width) of a map; None: a vector


@dataclass(frozen=True)
class Step:
    """One layer that has weights or changes the size, with what normalises, activates or scales right before and after
    it.
    """

    text: str                       # 'conv 3×3'; empty where there is only `after`
    kind: Kind
    stride: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    channels: int
    size: Size
    module: str                     # its name in the network


@dataclass(frozen=True)
class Fork:
    """Paths from one map, joined again; a path without steps is the map itself."""

    paths: "tuple[Chain, ...]"
    join: Join
    own: int                        # the first `own` paths make the block what it is, those after them are shortcuts
    channels: int = 0               # of the map that the join makes
    size: Size = None


Chain: TypeAlias = tuple[Step | Fork, ...]


def steps(chain: Chain) -> Iterator[Step]:
    """The layers that make a block what it is, without those of its shortcuts."""
    for part in chain:
        if isinstance(part, Fork):
            for path in part.paths[: part.own]:
                yield from steps(path)
        elif part.text:
            yield part


def kind_of(chain: Chain) -> tuple[str, ...]:
    """Kind of a block, of which one is drawn: layers and joins in their order, whatever the widths, strides and
    shortcuts.

    What comes before the first layer is left out: where units are pre-activated, the first one finds it done.
    """
    words = list(_words(chain))
    begin = next((i for i, word in enumerate(words) if not word.startswith("~")), 0)
    return tuple(words[begin:])


def _words(chain: Chain) -> Iterator[str]:
    """Layers and joins; notes begin with '~'."""
    for part in chain:
        if isinstance(part, Fork):
            for path in part.paths[: part.own]:
                yield from _words(path)
            if part.own > 1 or part.join != "add":
                yield part.join
        else:
            yield from (f"~{note}" for note in part.before)
            yield from [part.text] if part.text else []
            yield from (f"~{note}" for note in part.after)


Atom: TypeAlias = Step | Fork | str        # a layer, a fork, or what is noted beside a layer


def joined(atoms: Sequence[Atom]) -> Iterator[Step | Fork]:
    """Layers with the notes that belong to them: those behind each, or, where a chain begins by normalising, those
    before it.
    """
    begins = bool(atoms) and atoms[0] in ("BN", "LN")
    notes: list[str] = []
    step: Step | None = None
    for atom in atoms:
        if isinstance(atom, str):
            notes.append(atom)
            continue
        if step is not None:
            yield replace(step, after=() if begins else tuple(notes))
            notes = notes if begins else []
            step = None
        if isinstance(atom, Step):
            step = replace(atom, before=tuple(notes))
        else:
            yield from _noted(notes)
            yield atom
        notes = []
    if step is not None:
        yield replace(step, after=tuple(notes))
    else:
        yield from _noted(notes)


def _noted(notes: Sequence[str]) -> Iterator[Step]:
    """Notes that belong to no layer."""
    if notes:
        yield Step("", "other", 1, (), tuple(notes), 0, None, "")


def weight(chain: Chain) -> int:
    """Number of layers in a chain; a fork counts as two."""
    return sum(bool(part.text) if isinstance(part, Step) else 2 for part in chain)
