"""Other libraries' names of our networks' tensors: names/*.yaml, one file per family, and pairing names by its rules.

A rule `layer{a}.{b}.conv1 = stages.{a-1}.{b}.branch.reduce.conv` stands for modules with tensors of the same leaf
names; with a colon before the equals sign it stands for one tensor. Where a name fits several rules, the network at
hand decides: each of its tensors has one name. The rules were found by running both networks
(benchmarks/name_tables.py), and tests compare their scores.

A library, or one of its networks, also has `preprocess`, how its release prepared pictures, and `source`, where that
stands: mean and std in the order red, green, blue, of pixels in [0, 1]; crop_pct, interpolation and image_size where
the source tells them; `file`, the pattern of the released files' names, where releases differ; `classes`, the releases'
numbers of classes (left out: the number that our network has by default); `channels: bgr` where the network takes blue
first. Where releases differ it is a list. What stands nowhere is left out: then nobody knows. A library whose files
hold networks as `convatlas.fold` leaves ours has `folded: true`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice
from random import Random
from typing import Any

from ..run import Preprocess, read_yaml

LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SOME = 40       # names that are looked at first
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Release:
    """The preparation of pictures for weights that a library gave away."""

    preprocess: Preprocess
    source: str                         # file and line it comes from
    classes: tuple[int, ...] = ()       # of the weights it holds for; empty: as many as our network has by default
    image_size: int | None = None
    file: str = "*"                     # pattern of the names that its files were published under


@dataclass(frozen=True)
class Peer:
    """A network of another library that is one of ours under other names."""

    library: str
    name: str
    ours: str
    fields: Mapping[str, Any] = field(default_factory=dict)     # of our specification, which make it the same function
    kwargs: Mapping[str, Any] = field(default_factory=dict)     # that it is built with there
    releases: tuple[Release, ...] = ()
    bgr: bool = False                                           # its first convolution takes blue, green, red
    folded: bool = False                                        # it is the result of convatlas.fold


@dataclass(frozen=True)
class Rule:
    """One line of a table."""

    pattern: re.Pattern[str]
    ours: tuple[tuple[str, int] | str, ...]     # text, or a letter of the pattern and what is added to its number
    tensor: bool

    def __call__(self, name: str) -> str | None:
        """Our name for their module or tensor, if the rule is about it."""
        found = self.pattern.fullmatch(name)
        if found is None:
            return None
        return "".join(part if isinstance(part, str) else str(int(found[part[0]]) + part[1]) for part in self.ours)


def families() -> tuple[str, ...]:
    """The families that have a table."""
    return tuple(sorted(path.name.removesuffix(".yaml") for path in files(__package__).joinpath("names").iterdir()
                        if path.name.endswith(".yaml")))


@cache
def _table(family: str) -> Mapping[str, Any]:
    if family not in families():
        return {}
    table: Mapping[str, Any] = read_yaml(files(__package__).joinpath("names",
                                                                     f"{family}.yaml").read_text(encoding="utf-8"))
    return table


def libraries(family: str) -> tuple[str, ...]:
    """Whose names for the family are known."""
    return tuple(_table(family))


@cache
def rules(family: str, library: str, model: str) -> tuple[Rule, ...]:
    """The lines of the table for the library's network `model`."""
    return _rules(tuple(next(table["names"] for table in _table(family)[library]["tables"]
                             if model in table["models"])))


@cache
def peers(family: str, library: str) -> tuple[Peer, ...]:
    """The networks of the library that are ours."""
    table = _table(family)[library]
    usual = {key: table.get(key) for key in ("preprocess", "source")}
    return tuple(Peer(library, name, row["ours"], row.get("fields", {}), row.get("kwargs", {}),
                      *_released(**{key: row.get(key, usual[key]) for key in usual}), table.get("folded", False))
                 for name, row in table["models"].items())


def _released(preprocess: Any, source: str | None) -> tuple[tuple[Release, ...], bool]:
    """The releases that a table tells of, and whether they take blue first."""
    rows = preprocess if isinstance(preprocess, list) else [preprocess] if preprocess else []
    bgr = {row.get("channels") == "bgr" for row in rows} == {True}
    apart = ("classes", "image_size", "channels", "source", "file")
    return tuple(Release(Preprocess(**{key: value for key, value in row.items() if key not in apart}),
                         row.get("source", source or ""), tuple(row.get("classes", ())), row.get("image_size"),
                         row.get("file", "*"))
                 for row in rows), bgr


@cache
def _rules(lines: tuple[str, ...]) -> tuple[Rule, ...]:
    """One tuple for the same lines, wherever they stand."""
    return tuple(map(_rule, lines))


def strange(theirs: Shapes, table: Sequence[Rule], most: int) -> bool:
    """True if more than `most` of the names fit no rule, whatever the network: then there is no need to build it.

    Where most of some names fit none, the others are not asked.
    """
    def unknown(names: Iterable[str]) -> Iterator[str]:
        return (name for name in names
                if not any(rule(name if rule.tensor else name.rpartition(".")[0]) for rule in table))

    if len(theirs) > 2 * most + SOME:
        some = Random(0).sample(list(theirs), SOME)
        if sum(1 for _ in unknown(some)) > SOME // 2:
            return True
    return next(islice(unknown(theirs), most, None), None) is not None


def _rule(line: str) -> Rule:
    theirs, _, ours = line.partition(" ; ")[0].partition(" = ")
    tensor = theirs.endswith(":")
    pattern = re.sub(r"\\\{([a-h])\\\}", r"(?P<\1>\\d+)", re.escape(theirs.removesuffix(":")))
    parts: list[tuple[str, int] | str] = []
    for text, letter, step in re.findall(r"([^{]+)|\{([a-h])([+-]\d+)?\}", ours):
        parts.append(text or (letter, int(step or 0)))
    return Rule(re.compile(pattern), tuple(parts), tensor)


def pair(theirs: Shapes, ours: Shapes, table: Sequence[Rule]) -> tuple[dict[str, str], list[str]]:
    """(our name of each of their tensors, those that are left over).

    Whole modules are paired by their names, each of ours being taken once; where that leaves a choice, shapes decide
    (`alike`). What remains ambiguous is left over.
    """
    modules, places = _parts(theirs), _parts(ours)
    choices = {name: {new for rule in table if rule.tensor == ("" in parts) and (new := rule(name)) in places}
               for name, parts in modules.items()}
    found: dict[str, str] = {}
    for by_shape in (False, True):
        if by_shape:
            choices = {name: {new for new in news if _fits(modules[name], places[new])}
                       for name, news in choices.items()}
        while single := [name for name, news in choices.items() if len(news) == 1]:
            for name in single:
                if choices[name]:       # or another one has just taken it
                    found[name] = choices[name].pop()
                    for news in choices.values():
                        news.discard(found[name])
    tensors = {f"{name}.{leaf}".rstrip("."): f"{new}.{leaf}".rstrip(".") for name, new in found.items()
               for leaf in modules[name] if leaf in places[new]}
    return tensors, [name for name in theirs if name not in tensors]


def _parts(names: Shapes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Modules with the shapes of their tensors; tensors of other names than LEAVES stand for themselves, under ''."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in names.items():
        module, _, leaf = name.rpartition(".")
        parts.setdefault(module, {})[leaf] = shape if leaf in LEAVES else ()
        parts.setdefault(name, {})[""] = shape
    return parts


def _fits(theirs: Mapping[str, tuple[int, ...]], ours: Mapping[str, tuple[int, ...]]) -> bool:
    return all(leaf in ours and alike(shape, ours[leaf]) for leaf, shape in theirs.items())


def alike(theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """True if one tensor is the other in another shape: a linear layer as a 1×1 convolution, or as one over the last
    map.
    """
    return theirs == ours or (theirs[:1] == ours[:1] and _size(theirs) == _size(ours) and len(theirs) != len(ours))


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def every(family: str | None = None) -> Iterator[tuple[str, str]]:
    """(family, library) of every table, or of the family's."""
    for each in families() if family is None else (family,):
        for library in libraries(each):
            yield each, library
