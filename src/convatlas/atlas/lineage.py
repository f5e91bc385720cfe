"""The lineage page: networks on a time line, and the ideas that they took from one another."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..run import read_yaml, written
from .build import Page, Wanted
from .told import account, year

DATA = Path(__file__).with_name("lineage.yaml")
GROUPS = {          # kinds of ideas, each in a colour of its own
    "units": "units and normalisation", "kernels": "kernels and pooling", "paths": "paths", "scale": "size",
    "pixels": "one answer per pixel",
}


@dataclass(frozen=True)
class Taken:
    """An idea in a network: the field of its specification that is the idea, its value there, and who says so. Only an
    idea that enters may be without a field.
    """

    network: str
    of: str                     # the network that it was taken from; empty where the idea enters
    field: str
    value: str
    source: str


@dataclass(frozen=True)
class Idea:
    """An idea, where it enters, and who took it."""

    name: str
    group: str
    says: str
    older: str                  # who had it before any network here
    enters: Taken
    taken: tuple[Taken, ...]


@cache
def ideas() -> tuple[Idea, ...]:
    """Every idea, in the order of the file. A field that a specification does not have is a KeyError."""
    return tuple(Idea(row["idea"], row["group"], row["says"], row.get("older", ""),
                      _taken(row["enters"]["network"], "", row["enters"]),
                      tuple(_taken(each["by"], each["of"], each) for each in row["taken"]))
                 for row in read_yaml(DATA.read_text(encoding="utf-8")))


def _taken(network: str, of: str, row: dict[str, Any]) -> Taken:
    field = row["field"] if of else row.get("field", "")
    return Taken(network, of, field, written(account(network)["spec"][field]) if field else "", row["source"])


def lineage(wanted: Wanted) -> Iterator[Page]:
    """The page; left out where an architecture that it tells of is not registered any more."""
    found = ideas()
    names = {each.network for idea in found for each in (idea.enters, *idea.taken)}
    names |= {each.of for idea in found for each in idea.taken}
    years = {name: year(account(name)) for name in names}
    dated: dict[int, dict[str, list[str]]] = {}
    for each in sorted(wanted.variants, key=lambda each: (year(account(each.name)), each.family)):
        dated.setdefault(year(account(each.name)), {}).setdefault(each.family, []).append(each.name)
    numbers = {idea.name: number for number, idea in enumerate(found)}
    yield Page("lineage.html", "lineage.html.j2", "Lineage", {
        "ideas": found, "numbers": numbers, "groups": GROUPS, "networks": len(names), "dated": dated,
        "edges": sum(len(idea.taken) for idea in found)},
        about="Which network took which idea from which.", scripts=("lineage",), styles=("lineage",), nav="Lineage",
        inline={
            "networks": [{"name": name, "year": years[name]} for name in sorted(names, key=lambda n: (years[n], n))],
            "groups": GROUPS,
            "ideas": [{"name": idea.name, "group": idea.group, "says": idea.says, "enters": idea.enters.network,
                       "taken": [[each.of, each.network, each.field, each.value, each.source] for each in idea.taken]}
                      for idea in found]})
