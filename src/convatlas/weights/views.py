"""Tensors' names without what wrappers put before and between them: torch.compile, DataParallel, FSDP, trainers of
teachers and students, whatever stands before all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .files import Foreign

Shapes = Mapping[str, tuple[int, ...]]
BETWEEN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
AVERAGES = {"encoder_q": ("encoder_k",), "online_encoder": ("target_encoder",), "online_net": ("target_net",)}
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
    for words in (BETWEEN, (*BETWEEN, "module")):
        shorter = _between(view, words)
        if shorter is not view:
            view = shorter
            yield [view]
        for shorter in _shorter(view):
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


def _between(view: View, words: tuple[str, ...]) -> View:
    """Without these components, wherever they stand."""
    if not any(word in name for name in view.names for word in words):
        return view
    names = {name: ".".join(part for part in name.split(".") if part not in words) for name in view.names}
    taken = sorted({part for name in names for part in name.split(".") if part in words})
    if not taken or len(set(names.values())) < len(names):
        return view
    return view.without(names, f"{' and '.join(map(repr, taken))} was taken out of its names")


def _shorter(view: View) -> Iterator[View]:
    """Without the first component, as long as all names share it."""
    while len(firsts := {name.partition(".")[0] for name in view.names}) == 1 and all("." in name
                                                                                     for name in view.names):
        first, = firsts
        view = view.without({name: name.partition(".")[2] for name in view.names},
                            f"the prefix {first + '.'!r} was taken off every name")
        yield view


def _parts(view: View, count: int) -> list[View]:
    """The tensors under each first component that many have; of a network and its running average the first."""
    groups: dict[str, dict[str, str]] = {}
    for name, was in view.names.items():
        first, _, rest = name.partition(".")
        if rest:
            groups.setdefault(first, {})[rest] = was
    averages = {average for kept in AVERAGES.keys() & groups.keys() for average in AVERAGES[kept]}
    return [View(names, f"{view.part}{first}.", (*view.notes, f"its tensors are those under {first + '.'!r}"
                 + (f" (not those under {', '.join(repr(o + '.') for o in sorted(averages & groups.keys()))})"
                    if first in AVERAGES and averages & groups.keys() else "")))
            for first, names in groups.items() if first not in averages and len(names) >= LEAST * count]
