"""Anatomy of a network, as a person would draw it: layers in their order, blocks that fork and join, repeats.

All is read off one pass on the meta device, which maps each module and function reads and makes (`flow`); no
architecture is known by name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ..errors import ConvatlasError
from ..net.layers import macs, params
from ..net.model import AuxHead, Convnet, meta_image, pair
from .chains import Atom, Chain, Fork, Size, joined, kind_of, steps, weight
from .flow import Call, flow
from .paths import Paths


@dataclass(frozen=True)
class Unit:
    """One map of a drawing: a layer, or a block that `repeat` times follows itself; `first` and `last` of these."""

    first: Chain
    last: Chain
    is_block: bool
    channels: int
    size: Size
    stage: int                      # 0: the stem; the head comes after all stages
    repeat: int = 1

    @property
    def stride(self) -> int:
        """Of the first."""
        return max((step.stride for step in steps(self.first)), default=1)


class Link(NamedTuple):
    """A map that is handed on beside the main way."""

    source: int                     # number of the unit that gives it
    target: int                     # number of the unit whose map it meets
    through: str                    # the layer on its way, or nothing


@dataclass(frozen=True)
class Anatomy:
    """A network from its input to its scores."""

    name: str
    in_chans: int
    size: tuple[int, int]
    params: int                     # trainable parameters
    macs: int                       # multiply-adds for one image
    units: tuple[Unit, ...]
    links: tuple[Link, ...]                 # of a segmenter
    sides: tuple[int, ...]                  # numbers of the units after which a side classifier reads the map
    # (number of the first unit, of the last one, how often they follow one another)
    groups: tuple[tuple[int, int, int], ...] = ()


def anatomy(model: nn.Module, image_size: int | tuple[int, int] | None = None, in_chans: int = 3) -> Anatomy:
    """The parts of `model` at its own image size; of a module that is no `Convnet`, at `image_size`, which it may be
    given.

    Raises ConvatlasError where paths do not fork and join as a drawing can show, or by a function that has no word.
    """
    if not isinstance(model, Convnet):
        return _foreign(model, pair(image_size or 224), in_chans)
    seen, calls, head_call = _trunk(model)
    seen.forks = any(isinstance(atom, Fork) for call in calls for atom in seen.paths.atoms(call))
    units: list[Unit] = []
    groups: list[tuple[int, int, int]] = []
    for stage, call in enumerate(calls):
        folded, found = _grouped(_folded(seen.units(seen.pieces(call), stage)))
        groups += [(len(units) + first, len(units) + last, times) for first, last, times in found]
        units += folded
    ends = {unit.stage: number for number, unit in enumerate(units)}
    head, meetings = _head(seen, head_call, [call.makes[0] for call in calls[:-1]], len(calls))
    links = tuple(Link(ends[stage], len(units) + number, through) for stage, number, through in meetings)
    sides = tuple(ends[cast(AuxHead, side).at + 1] for side in model.aux.values())
    return Anatomy(model.name, model.in_chans, model.image_size, params(model), macs(model), (*units, *head), links,
                   sides, tuple(groups))


def unfolded(model: Convnet) -> tuple[list[Chain], list[tuple[int, str]]]:
    """Every layer of a network, in chains: one for the stem, if there is one, for each stage and for the head; and of a
    segmenter (number of the chain, name of the head's layer) for each map that is handed across.

    Raises ConvatlasError where paths do not fork and join as a drawing can show, or by a function that has no word.
    """
    seen, calls, head_call = _trunk(model)
    head, meetings = _head(seen, head_call, [call.makes[0] for call in calls[:-1]], len(calls))
    return ([*(_chain([seen.piece(call)]) for call in calls), tuple(part for unit in head for part in unit.first)],
            [(stage, next(steps(head[number].first)).module) for stage, number, _ in meetings])


def _trunk(model: Convnet) -> "tuple[_Seen, list[Call], Call]":
    """The network's run, the calls of its stem and stages, and that of its head. Raises ConvatlasError where one of
    them makes no map.
    """
    seen = _Seen(model, meta_image(model, model.image_size), model.name)
    trunk = [model.stem, *model.stages]
    calls = [seen.first[part] for part in trunk if part in seen.first]
    if seen.head is None or len(calls) < len(trunk):
        raise ConvatlasError(f"{model.name} has no diagram: a stage or the head makes no map of the image by torch's "
                             "functions")
    return seen, calls, seen.head


def _foreign(model: nn.Module, size: tuple[int, int], in_chans: int) -> Anatomy:
    """The parts of any module that makes one map or vector of an image."""
    name = type(model).__name__
    try:
        seen = _Seen(model, torch.empty(2, in_chans, *size, device="meta"), name)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ConvatlasError(f"{name} does not run on the shape of a batch of {in_chans}×{size[0]}×{size[1]} images "
                             f"alone: {' '.join(str(error).split())}") from error
    if len(seen.root.makes) != 1:
        raise ConvatlasError(f"{name} gives {len(seen.root.makes)} results that come from the image, and a diagram "
                             "ends in one: draw the part that gives one")
    pieces = [each for atoms, y, call in seen.paths.line(seen.root)
              for each in (seen.pieces(call) if call is not None else [Piece(atoms, y)])]
    units, groups = _grouped(_folded(seen.units(pieces, 0)))
    return Anatomy(name, in_chans, size, params(model), macs(model, size), tuple(units), (), (), tuple(groups))


class Piece(NamedTuple):
    """A module, or what a `forward` does itself, among those that follow one another."""

    atoms: Sequence[Atom]
    y: Tensor                       # what it makes
    call: Call | None = None        # None where it is no single module

    @property
    def chain(self) -> Chain:
        """Its layers and forks."""
        return tuple(joined(self.atoms))

    @property
    def is_dense(self) -> bool:
        """True if it is a chain of layers each of which adds its maps to those before it."""
        return len(self.chain) > 1 and all(isinstance(part, Fork) and part.join == "concat" and part.own == 1
                                           and part.paths[1:] == ((),) for part in self.chain)


class _Seen:
    """A network's run on one image: where each module ran, and how maps went."""

    def __init__(self, model: nn.Module, image: Tensor, name: str) -> None:
        self.root = flow(model, image)
        self.names = {module: each for each, module in model.named_modules()}
        self.paths = Paths(name, self.names)
        self.first: dict[nn.Module, Call] = {}
        for call in self.root.calls():
            if call.module is not None and call.makes:
                self.first.setdefault(call.module, call)
        self.head = self.first.get(model.head) if isinstance(model, Convnet) else None
        # whether the head reads earlier maps too; whether the trunk forks
        self.handed = self.head is not None and not isinstance(self.head.args[0], Tensor)
        self.forks = True

    def piece(self, call: Call) -> Piece:
        """One call."""
        return Piece(self.paths.atoms(call), cast(Tensor, call.y), call)

    def pieces(self, call: Call) -> list[Piece]:
        """The call, or those that it makes one after the other."""
        if not isinstance(call.module, nn.Sequential) or type(call.module).forward is not nn.Sequential.forward:
            return [self.piece(call)]
        return [self.piece(each) for each in call.inside if each.makes]

    def units(self, pieces: Sequence[Piece], stage: int) -> list[Unit]:
        """The layers and blocks of pieces that follow one another."""
        runs: list[list[Piece]] = []        # a block with the activation behind it, or layers one behind the other
        for piece in pieces:
            behind = bool(runs) and (not self._is_block(runs[-1][0])
                                     or (not runs[-1][0].is_dense and not weight(piece.chain)))
            if behind and not self._is_block(piece):
                runs[-1].append(piece)
            else:
                runs.append([piece])
        return [unit for run in runs
                for unit in (self._blocks(run, stage) if self._is_block(run[0]) else layers(run, stage))]

    def _is_block(self, piece: Piece) -> bool:
        """True if it is drawn as one. A U without shortcuts is drawn layer by layer, as its paper does."""
        return weight(piece.chain) > 1 and (self.forks or not self.handed)

    def _blocks(self, run: Sequence[Piece], stage: int) -> list[Unit]:
        inner = self.pieces(run[0].call) if run[0].call is not None else []
        if len(inner) > 1 and all(map(self._is_block, inner)):
            return self.units([*inner, *run[1:]], stage)
        y, chain = run[0].y, _chain(run)
        chains: Iterable[Chain] = [(part,) for part in chain] if run[0].is_dense else [chain]
        return [Unit(each, each, True, y.shape[1], _size(y), stage) for each in chains]


def _chain(run: Sequence[Piece]) -> Chain:
    return tuple(joined([atom for piece in run for atom in piece.atoms]))


def layers(run: Sequence[Piece], stage: int) -> list[Unit]:
    """A unit for each layer and fork; where something is only normalised or activated, one for that."""
    found = []
    for part in _chain(run):
        if isinstance(part, Fork):
            found.append(Unit((part,), (part,), True, part.channels, part.size, stage))
            continue
        if not part.text and part.after != ("dropout",):
            y = run[-1].y
            part = replace(part, text=" ".join(part.after), after=(), channels=y.shape[1], size=_size(y))
        if part.text:
            found.append(Unit((part,), (part,), False, part.channels, part.size, stage))
    return found


def _folded(units: Sequence[Unit]) -> list[Unit]:
    """Units that repeat the one before as one; the first of a block's may differ in its stride, its shortcut and what
    it reads.
    """
    found: list[Unit] = []
    for unit in units:
        before = found[-1] if found else None
        if before is not None and _repeats(before, unit):
            found[-1] = replace(before, last=unit.last, repeat=before.repeat + 1)
        else:
            found.append(unit)
    return found


def _grouped(units: list[Unit]) -> tuple[list[Unit], list[tuple[int, int, int]]]:
    """Pairs and triples of units that follow one another several times, once; and (first, last, times) for each."""
    kept: list[Unit] = []
    groups: list[tuple[int, int, int]] = []
    at = 0
    while at < len(units):
        times, length = max((_times(units[at:], length), -length) for length in (1, 2, 3))
        length = -length
        if times > 1:
            groups.append((len(kept), len(kept) + length - 1, times))
        kept += units[at : at + length]
        at += length * times
    return kept, groups


def _times(units: Sequence[Unit], length: int) -> int:
    """Number of times that the first `length` units follow one another; 1 if they are alike among themselves."""
    marks = [(kind_of(unit.last), unit.channels, unit.size, unit.repeat) for unit in units]
    times = 1
    while length > 1 and marks[length * times : length * (times + 1)] == marks[:length]:
        times += 1
    return times


def _repeats(before: Unit, unit: Unit) -> bool:
    same = (before.channels, before.size, kind_of(before.last)) == (unit.channels, unit.size, kind_of(unit.last))
    if not same or unit.stride > 1 or (before.stride > 1 and not unit.is_block):
        return False
    widths = [[step.channels for step in steps(each.last)] for each in (before, unit)]
    parallel = ("concat" in kind_of(unit.last) and len(unit.last[0].paths) > 2
                if isinstance(unit.last[0], Fork) else False)
    return widths[0] == widths[1] or (unit.is_block and before.repeat == 1 and not parallel)


def _head(seen: _Seen, head: Call, maps: Sequence[int],
          stage: int) -> tuple[list[Unit], list[tuple[int, int, str]]]:
    """The head's layers as they run; and (stage, number of a layer, layer between) for each earlier map that meets one
    of them.
    """
    if not seen.handed:
        return layers([seen.piece(head)], stage), []
    stages = {number: stage for stage, number in enumerate(maps)}
    units = layers([Piece(seen.paths.one_way(head, set(maps)), cast(Tensor, head.y))], stage)
    names = [next(steps(unit.last)).module for unit in units]
    meetings: list[tuple[int, int, str]] = []
    aside: set[int] = set()             # layers that read nothing but an earlier map, and stand on the way from it
    for call in (each for inner in head.inside for each in inner.calls()):
        found = [stages[number] for number in call.reads if number in stages]
        if call.module is None or not found or not all(isinstance(each, Tensor) for each in call.args):
            continue
        name = seen.names[call.module]
        number = next(i for i, each in enumerate(names) if each == name or each.startswith(name + "."))
        through = ""
        if len(call.args) == 1:
            aside.add(number)
            through = f"{next(steps(units[number].last)).text}, {units[number].channels} maps"
            number = next(i for i, unit in enumerate(units)
                          if i > number and i not in aside and _near(unit, units[number]))
        meetings.append((found[0], number, through))
    kept = [i for i in range(len(units)) if i not in aside]
    return [units[i] for i in kept], [(stage, kept.index(number), through) for stage, number, through in meetings]


def _near(a: Unit, b: Unit) -> bool:
    """True if two maps are of one resolution, though perhaps not of the same border."""
    return a.size is not None and b.size is not None and 0.7 < a.size[0] / b.size[0] < 1.4


def _size(y: Tensor) -> Size:
    """None for a vector, even if it is written as a map of one pixel."""
    return (y.shape[-2], y.shape[-1]) if y.ndim == 4 else None
