"""Tensors' names without what stands before and between them: prefixes of any kind, DataParallel's `module`; and parts
of them, where a network lies beside others.

What trainers and compilers are known to write is seen through before (`wrapped`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .files import Foreign

Shapes = Mapping[str, tuple[int, ...]]
LEAST, DEEP = 0.2, 3        # share of all tensors in a part that is looked at; parts within parts


@dataclass(frozen=True)
class View:
    """Some of a file's tensors under shorter names."""

    names: Mapping[str, str]        # shorter → as it is
    part: str = ""                  # the prefix of those that are looked at, if not of all
    notes: tuple[str, ...] = ()     # what was taken off

    def shapes(self, found: Foreign) -> dict[str, tuple[int, ...]]:
        """Of each tensor."""
        return {name: tuple(found.tensors[was].shape) for name, was in self.names.items()}

    def without(self, names: Mapping[str, str], note: str) -> "View":
        """The view with its names changed."""
        return replace(self, names={new: self.names[name] for name, new in names.items()}, notes=(*self.notes, note))


def views(shapes: Shapes) -> Iterator[list[View]]:
    """The tensors as they are, and ever more of their names taken off; then parts of them, side by side in a list."""
    view = View({name: name for name in shapes})
    yield [view]
    for shorten in (_shorter, _without_module, _shorter):
        for shorter in shorten(view):
            view = shorter
            yield [view]
    parts = [view]
    for _ in range(DEEP):
        parts = [part for each in parts for part in _parts(each, len(shapes))]
        while parts:
            yield parts
            deeper = [next(_shorter(part), part) for part in parts]
            if deeper == parts:
                break
            parts = deeper


def _without_module(view: View) -> Iterator[View]:
    """Without `module`, which DataParallel puts before the names of what it wraps, wherever that stands."""
    names = {name: ".".join(part for part in name.split(".") if part != "module") for name in view.names}
    if len(set(names.values())) == len(names) and any(name != shorter for name, shorter in names.items()):
        yield view.without(names, "'module' was taken out of its names")


def _shorter(view: View) -> Iterator[View]:
    """Without the first component, as long as all names share it."""
    while len(firsts := {name.partition(".")[0] for name in view.names}) == 1 and all("." in name
                                                                                     for name in view.names):
        first, = firsts
        view = view.without({name: name.partition(".")[2] for name in view.names},
                            f"the prefix {first + '.'!r} was taken off every name")
        yield view


def _parts(view: View, count: int) -> list[View]:
    """The tensors under each first component that many have."""
    groups: dict[str, dict[str, str]] = {}
    for name, was in view.names.items():
        first, _, rest = name.partition(".")
        if rest:
            groups.setdefault(first, {})[rest] = was
    return [View(names, f"{view.part}{first}.", (*view.notes, f"its tensors are those under {first + '.'!r}"))
            for first, names in groups.items() if len(names) >= LEAST * count]
