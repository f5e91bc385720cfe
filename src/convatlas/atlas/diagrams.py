"""Diagrams of the networks as data: every layer in its place, where paths fork and where they join again.

`diagrams.zip` has one JSON document per variant, as `computed` gives it, and the digests of the sources it follows
from; `benchmarks/diagrams.py` writes it. Of a network whose sources have changed, or that is not there, it is computed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import known
from ..errors import ConvatlasError

if TYPE_CHECKING:
    from ..inspect.chains import Chain

HERE = Path(__file__).parent
STORED = HERE / "diagrams.zip"
SOURCES = ("anatomy.py", "chains.py", "flow.py", "paths.py", "words.py")        # of inspect/, which read a network

# A chain is a list of parts: the number of a row of the layer table; a function without a row, or a module of several
# rows, as [words, channels, height, width, [rows]]; or a fork, as {"j": its join, "p": its paths, "o": how many of them
# are no shortcuts}.
Part: TypeAlias = "int | list[Any] | dict[str, Any]"


def diagram(account: Mapping[str, Any]) -> dict[str, Any]:
    """The diagram of the variant of that account: {"chains": [chain], "links": [[from row, to row]]}; chains are those
    of stem, stages and head, links those of maps that are handed across.
    """
    name = account["name"]
    try:
        if stored(account["family"]):
            return known.document(STORED, f"{name}.json")
    except OSError:         # a variant that is not in it
        pass
    return computed(account)


def computed(account: Mapping[str, Any]) -> dict[str, Any]:
    """The diagram, read off a pass on the meta device; without chains where paths cross, and nothing can be drawn."""
    from ..inspect.anatomy import unfolded  # imports torch, which the stored ones do without
    from ..net import registry  # the same
    from ..net.meta import blank  # the same

    try:
        chains, links = unfolded(blank(registry.variant(account["name"]).spec.build))
    except ConvatlasError:
        return {"chains": [], "links": []}
    rows: dict[str, int] = {}
    for number, row in enumerate(account["layers"]):
        rows.setdefault(row["name"], number)
    parts = [_parts(chain, rows) for chain in chains]
    ends = [last(chain) for chain in parts]
    return {"chains": parts, "links": [[ends[number], rows[name]] for number, name in links if name in rows]}


def _parts(chain: "Chain", rows: Mapping[str, int]) -> list[Part]:
    from ..inspect.chains import Fork  # imports torch

    found: list[Part] = []
    for part in chain:
        if isinstance(part, Fork):
            found.append({"j": part.join, "p": [_parts(path, rows) for path in part.paths], "o": part.own})
        elif part.module in rows:
            found.append(rows[part.module])
        elif part.text:
            inside = [number for name, number in rows.items() if name.startswith(f"{part.module}.")]
            found.append([part.text, part.channels, *(part.size or (1, 1)), inside])
    return found


def last(chain: Sequence[Any]) -> int:
    """The last row of a chain; of a fork, the highest of its paths."""
    numbers = [part if isinstance(part, int) else max(map(last, part["p"])) for part in chain
               if isinstance(part, int | dict)]
    return max(numbers, default=-1)


def write(found: Mapping[str, Mapping[str, Any]], families: Mapping[str, str]) -> None:
    """Write `diagrams.zip`: of each variant its diagram; `families` has the digest of each family's sources."""
    known.put_documents(STORED, {known.INDEX: families, **{f"{name}.json": tree for name, tree in found.items()}})
    _index.cache_clear()


def stored(family: str) -> bool:
    """True where the family's diagrams are stored and follow from today's sources."""
    try:
        return _index().get(family) == digest(family)
    except OSError:         # no such file, or a damaged one
        return False


def digest(family: str) -> str:
    """SHA-256 of the sources that a family's diagrams follow from."""
    whole = hashlib.sha256(known.digest(family).encode())
    for name in SOURCES:
        whole.update(known.source(known.HOUSE / "inspect" / name))
    return whole.hexdigest()


@cache
def _index() -> dict[str, str]:
    return known.document(STORED, known.INDEX)
