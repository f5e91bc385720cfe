"""Paths of maps through a module, as layers one after the other and forks one inside another.

A join is a sum, a product or a concatenation along the channels; its paths begin at the last map that all of them
descend from. Concatenations that repeat an earlier one and add to it (DenseNet) are read as made of that one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn

from ..errors import ConvatlasError
from .chains import Atom, Chain, Fork, Join, Step, joined, weight
from .flow import Call
from .words import JOINED, Word, extra, function, layer

OUTSIDE = -1            # above several maps that a module is handed
INSTEAD = "`inspect summary` lists its modules in the order in which they run"


class Node(NamedTuple):
    """A call that makes one map of those that it reads, each named once."""

    call: Call
    reads: tuple[int, ...]
    join: Join | None


class Paths:
    """The forks of a network by the maps that its calls read and make; `name` and `names` are for words."""

    def __init__(self, name: str, names: "dict[nn.Module, str]") -> None:
        self.name, self.names = name, names
        self.found: dict[int, list[Atom]] = {}      # of a call, by its id

    def atoms(self, call: Call) -> list[Atom]:
        """A call as layers, notes and forks."""
        if id(call) not in self.found:
            word = self._word(call)
            if word is None and call.module is None:
                raise self._unknown(call)
            self.found[id(call)] = (self._said(call, word) if word is not None else
                                    self._between(list(self._leaves(call.inside)), call.reads, call.makes[0],
                                                  self._where(call)))
        return self.found[id(call)]

    def line(self, call: Call) -> Iterator[tuple[list[Atom], Tensor, Call | None]]:
        """The parts of a module's `forward`, one after the other: (atoms, their map, the call if it is only one)."""
        tree = Tree(call.inside, call.reads, self._stranger(self._where(call)))
        end = call.makes[0]
        parts: list[tuple[list[Atom], Tensor, Call | None]] = []
        while end not in call.reads:
            begin = tree.above[end]
            if begin == OUTSIDE:
                raise self._crossed(self._where(call))
            made = tree.made[end]
            only = set(made.reads) == {begin}
            inside = [] if only else [each for each in call.inside if any(
                tree.between(number, begin, end) for number in each.makes)]
            parts.append((self.atoms(made) if only else self._between(list(self._leaves(inside)), (begin,), end,
                                                                      self._where(call)),
                          cast(Tensor, made.y), made if only and made.module is not None else None))
            end = begin
        yield from reversed(parts)

    def one_way(self, call: Call, handed: set[int]) -> list[Atom]:
        """The layers of a call as they run, where nothing meets on the way but maps that come from `handed` alone."""
        main = set(call.reads) - handed
        atoms: list[Atom] = []
        for leaf in self._leaves(call.inside):
            if len(set(leaf.reads) & main) > 1:
                raise self._crossed(self._where(call))
            main |= set(leaf.makes) if set(leaf.reads) & main else set()
            word = "" if leaf.function in JOINED and len(set(leaf.reads)) > 1 else self._word(leaf)
            if word is None:
                raise self._unknown(leaf)
            # the maps' sizes tell of what is cropped, padded or enlarged
            atoms += [] if word in ("cropped", "padded") or leaf.function == "interpolate" else self._said(leaf, word)
        return atoms

    # -- words -----------------------------------------------------------------------------------------------------

    def _word(self, call: Call) -> Word | str | None:
        """Word for a call; None of a module that is looked into, and of a function that is not known."""
        if call.x is None or call.y is None:
            return None
        if call.module is None:
            if len(call.reads) > 1 and len(set(call.reads)) == 1 and call.function in JOINED:
                return {"add": "× 2", "multiply": "squared", "concat": None}[JOINED[call.function]]
            return function(call.function, call.args, call.kwargs, call.x, call.y)
        return extra(call.module) or layer(call.module, call.x, call.y)

    def _said(self, call: Call, word: Word | str) -> list[Atom]:
        if isinstance(word, str):
            return [word] if word else []
        assert call.y is not None
        last = call.y.ndim == 4 and (isinstance(call.module, nn.Linear) or call.function == "linear")
        module = self.names.get(call.module, "") if call.module is not None else f"{call.function} {call.makes[0]}"
        return [Step(word.text, word.kind, word.stride, (), (), call.y.shape[-1 if last else 1], _size(call.y), module)]

    def _leaves(self, calls: Iterable[Call]) -> Iterator[Call]:
        """The calls that are not looked into, in the order in which they ran."""
        for call in calls:
            if call.module is None or self._word(call) is not None:
                if call.makes:
                    yield call
            else:
                yield from self._leaves(call.inside)

    # -- forks -----------------------------------------------------------------------------------------------------

    def _between(self, leaves: Sequence[Call], begin: tuple[int, ...], end: int, where: str) -> list[Atom]:
        """The atoms on the way from the maps `begin` to the map `end`."""
        tree = Tree(leaves, begin, self._stranger(where))
        root = begin[0] if len(set(begin)) == 1 else OUTSIDE
        if root == OUTSIDE and end in begin:
            raise self._crossed(where)
        return self._way(tree, root, end, where)[0]

    def _way(self, tree: "Tree", begin: int, end: int, where: str) -> tuple[list[Atom], set[int]]:
        """The atoms from one map to another that it is on every way to, and the maps that are made there."""
        atoms: list[Atom] = []
        used: set[int] = set()
        while end != begin:
            if end not in tree.nodes:
                raise self._crossed(where)
            node = tree.nodes[end]
            used.add(end)
            if node.join is None:
                if len(node.reads) != 1:
                    raise self._unknown(node.call)
                word = self._word(node.call)
                if word is None:
                    raise self._unknown(node.call)
                atoms = self._said(node.call, word) + atoms
                end = node.reads[0]
                continue
            above = tree.above[end]
            ways = [self._way(tree, above, number, where) for number in node.reads]
            if sum(len(maps) for _, maps in ways) > len(set().union(*(maps for _, maps in ways))):
                raise self._crossed(where)
            used.update(*(maps for _, maps in ways))
            atoms = [_fork([way for way, _ in ways], node), *atoms]
            end = above
        return atoms, used

    # -- refusals --------------------------------------------------------------------------------------------------

    def _where(self, call: Call) -> str:
        return (self.names.get(call.module, "") if call.module is not None else "") or "its forward"

    def _crossed(self, where: str) -> ConvatlasError:
        return ConvatlasError(f"{self.name} has no diagram: in {where} paths cross, and are not forks one inside "
                              f"another; {INSTEAD}")

    def _unknown(self, call: Call) -> ConvatlasError:
        what = call.function or type(call.module).__name__
        many = len(set(call.reads))
        brings = f"brings {many} maps together by" if many > 1 else "calls"
        return ConvatlasError(f"{self.name} has no diagram: its forward {brings} {what!r}, for which there is no "
                              f"picture; joins are +, * and torch.cat along the channels; {INSTEAD}")

    def _stranger(self, where: str) -> Callable[[], ConvatlasError]:
        return lambda: self._crossed(where)


class Tree:
    """Calls by the maps that they make, and above each map the last one that every way to it goes through."""

    def __init__(self, calls: Iterable[Call], begin: Iterable[int], stranger: Callable[[], ConvatlasError]) -> None:
        begin = tuple(dict.fromkeys(begin))
        self.made: dict[int, Call] = {}
        self.nodes: dict[int, Node] = {}
        self.above = dict.fromkeys(begin, OUTSIDE)
        self.depth = {OUTSIDE: 0, **dict.fromkeys(begin, 1)}
        lists: dict[tuple[int, ...], int] = {}      # what was concatenated before
        for call in calls:
            reads = tuple(dict.fromkeys(call.reads))
            join = JOINED.get(call.function) if len(reads) > 1 else None
            if join == "concat":
                if not _along_channels(call):
                    join = None
                else:
                    whole = call.reads
                    reads = _continued(whole, lists)
                    lists[whole] = call.makes[0]
            if not all(number in self.depth for number in reads):
                continue                # of what comes from elsewhere; missed only where the end needs it
            for number in call.makes:
                if number in self.depth:
                    continue            # handed through
                self.made[number], self.nodes[number] = call, Node(call, reads, join)
                self.above[number] = self._last_common(reads)
                self.depth[number] = self.depth[self.above[number]] + 1
        self.stranger = stranger

    def _last_common(self, numbers: Sequence[int]) -> int:
        first, *others = numbers
        for other in others:
            while first != other:
                if self.depth[first] >= self.depth[other]:
                    first = self.above[first]
                else:
                    other = self.above[other]
        return first

    def between(self, number: int, begin: int, end: int) -> bool:
        """True if a map lies below `begin`, and is `end` or not below it."""
        at = number
        while at in self.above and at not in (begin, end):
            at = self.above[at]
        return number == end or (at == begin and number != begin)


def _along_channels(call: Call) -> bool:
    dim = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", call.kwargs.get("axis", 0))
    return call.y is not None and dim % call.y.ndim == 1


def _continued(numbers: tuple[int, ...], lists: "dict[tuple[int, ...], int]") -> tuple[int, ...]:
    """Maps to concatenate, with the longest beginning or end that was concatenated before as the one map it made."""
    for count in range(len(numbers), 1, -1):
        if numbers[:count] in lists:
            return (lists[numbers[:count]], *numbers[count:])
        if numbers[-count:] in lists:
            return (*numbers[:-count], lists[numbers[-count:]])
    return numbers


def _fork(ways: Sequence[list[Atom]], node: Node) -> Fork:
    """Paths in the order in which they are drawn: those that make the block what it is, then shortcuts."""
    assert node.join is not None and node.call.y is not None
    paths: list[Chain] = []
    for way in ways:
        only = way[0] if len(way) == 1 else None
        paths += only.paths if isinstance(only, Fork) and only.join == node.join else [tuple(joined(way))]
    weights = [weight(path) for path in paths]
    least = max(weights) if node.join == "add" else 1
    own = [path for path, heavy in zip(paths, weights, strict=True) if heavy >= max(least, 1)]
    others = [path for path, heavy in zip(paths, weights, strict=True) if heavy < max(least, 1)]
    return Fork((*own, *others), node.join, max(len(own), 1), node.call.y.shape[1], _size(node.call.y))


def _size(y: Tensor) -> tuple[int, int] | None:
    return (y.shape[-2], y.shape[-1]) if y.ndim == 4 else None
