"""Anatomy of a network, as a person would draw it: layers in their order, blocks that fork and join, repeats.

All is read off the modules and one pass on the meta device; no architecture is known by name.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..net.layers import macs, params
from ..net.model import AuxHead, Convnet, meta_image, meta_state
from ..parts import ConvSum, DenseBlock, Parallel, Residual, SharedPreact
from .chains import Atom, Chain, Fork, Size, Step, joined, kind_of, steps, weight
from .words import extra, layer


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


def anatomy(model: Convnet) -> Anatomy:
    """The parts of `model` at its own image size."""
    seen = _Seen(model)
    trunk = [model.stem, *model.stages]
    units: list[Unit] = []
    groups: list[tuple[int, int, int]] = []
    for stage, part in enumerate(trunk):
        folded, found = _grouped(_folded(seen.units(part, stage)))
        groups += [(len(units) + first, len(units) + last, times) for first, last, times in found]
        units += folded
    ends = {unit.stage: number for number, unit in enumerate(units)}
    head, meetings = _head(seen, [seen.outputs.get(part) for part in trunk[:-1]] if seen.handed else [], len(trunk))
    links = tuple(Link(ends[stage], len(units) + number, through) for stage, number, through in meetings)
    sides = tuple(ends[cast(AuxHead, side).at + 1] for side in model.aux.values())
    return Anatomy(model.name, model.in_chans, model.image_size, params(model), macs(model), (*units, *head), links,
                   sides, tuple(groups))


class _Seen:
    """Inputs and outputs of every module of a network, in the order in which they finished."""

    def __init__(self, model: Convnet) -> None:
        self.model, self.outputs, self.inputs = model, dict[nn.Module, Tensor](), dict[nn.Module, tuple[Any, ...]]()
        self.names = {module: name for name, module in model.named_modules()}
        hooks = [module.register_forward_hook(self._record) for module in self.names]
        training = model.training
        try:
            model.eval()
            with torch.no_grad():
                functional_call(model, meta_state(model), (meta_image(model, model.image_size),))
        finally:
            model.train(training)
            for hook in hooks:
                hook.remove()
        self.order = {module: number for number, module in enumerate(self.outputs)}
        self.handed = not isinstance(self.inputs[model.head][0], Tensor)    # whether the head reads earlier maps too
        self.forks = any(isinstance(module, Residual | Parallel | DenseBlock | ConvSum) for module in self.outputs)

    def _record(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and args:
            self.outputs.setdefault(module, output)
            self.inputs.setdefault(module, args)

    def units(self, part: nn.Module, stage: int) -> list[Unit]:
        """The layers and blocks of the stem, or of a stage."""
        runs: list[list[nn.Module]] = []        # a block with the activation behind it, or layers one behind the other
        for child in list(part) if isinstance(part, nn.Sequential) else [part]:
            behind = bool(runs) and (not self._is_block(runs[-1][0])
                                     or (not isinstance(runs[-1][0], DenseBlock) and self._is_note(child)))
            if behind and not self._is_block(child):
                runs[-1].append(child)
            else:
                runs.append([child])
        return [unit for run in runs
                for unit in (self._blocks(run, stage) if self._is_block(run[0]) else self.layers(run, stage))]

    def layers(self, modules: Sequence[nn.Module], stage: int) -> list[Unit]:
        """A unit for each layer; where something is only normalised or activated, one for that."""
        found = []
        for part in self.chain(modules):
            assert isinstance(part, Step)
            if not part.text and part.after != ("dropout",):
                y = self.outputs[modules[-1]]
                part = replace(part, text=" ".join(part.after), after=(), channels=y.shape[1], size=_size(y))
            if part.text:
                found.append(Unit((part,), (part,), False, part.channels, part.size, stage))
        return found

    def _is_note(self, module: nn.Module) -> bool:
        return not weight(self.chain([module]))

    def _is_block(self, module: nn.Module) -> bool:
        """True if it is drawn as one. A U without shortcuts is drawn layer by layer, as its paper does."""
        chain = self.chain([module])
        return weight(chain) > 1 and (self.forks or not self.handed)

    def _blocks(self, run: Sequence[nn.Module], stage: int) -> list[Unit]:
        inner = list(run[0]) if isinstance(run[0], nn.Sequential) else []
        if inner and all(map(self._is_block, inner)):
            return self.units(run[0], stage)
        y, chain = self.outputs[run[0]], self.chain(run)
        chains: Iterable[Chain] = [(part,) for part in chain] if isinstance(run[0], DenseBlock) else [chain]
        return [Unit(each, each, True, y.shape[1], _size(y), stage) for each in chains]

    def chain(self, modules: Sequence[nn.Module]) -> Chain:
        """The modules, which follow one another, as steps and forks."""
        return tuple(joined([atom for module in modules for atom in self._atoms(module)]))

    def _atoms(self, module: nn.Module) -> Iterator[Atom]:
        if isinstance(module, Residual):
            if isinstance(module, SharedPreact):
                yield from self._atoms(module.pre)
            yield Fork((self.chain([module.branch]), self.chain([module.shortcut])), "add", 1)
            yield from self._atoms(module.act)
        elif isinstance(module, Parallel | ConvSum):
            paths = sorted((self.chain([path]) for path in module.children()), key=lambda path: not weight(path))
            weighty = sum(map(bool, map(weight, paths)))
            concat = isinstance(module, Parallel)
            yield Fork(tuple(paths), "concat" if concat else "add", len(paths) if concat else weighty)
        elif isinstance(module, DenseBlock):
            for each in module:
                yield Fork((self.chain([each]), ()), "concat", 1)
        else:
            yield from self._atom(module)

    def _atom(self, module: nn.Module) -> Iterator[Atom]:
        """A layer, or those inside a module that is none."""
        note = extra(module)
        word = (None if note is not None or module not in self.outputs
                else layer(module, self.inputs[module][0], self.outputs[module]))
        if note is not None:
            yield note
        elif word is not None:
            y = self.outputs[module]
            yield Step(word.text, word.kind, word.stride, (), (),
                       y.shape[-1 if y.ndim == 4 and isinstance(module, nn.Linear) else 1],
                       _size(y), self.names[module])
        else:
            for child in sorted(module.children(), key=self._began):
                yield from self._atoms(child)

    def _began(self, module: nn.Module) -> int:
        return min((self.order[each] for each in module.modules() if each in self.order), default=0)


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


def _head(seen: _Seen, maps: Sequence[Tensor | None], stage: int) -> tuple[list[Unit], list[tuple[int, int, str]]]:
    """The head's layers as they run; and (stage, number of a layer, layer between) for each earlier map that meets one
    of them.
    """
    stages = {id(x): number for number, x in enumerate(maps) if x is not None}
    units = seen.layers([seen.model.head], stage)
    names = [next(steps(unit.last)).module for unit in units]
    meetings: list[tuple[int, int, str]] = []
    aside: set[int] = set()             # layers that read nothing but an earlier map, and stand on the way from it
    for module, args in seen.inputs.items():
        found = [stages[id(x)] for x in args if isinstance(x, Tensor) and id(x) in stages]
        name = seen.names[module]
        if not found or not name.startswith("head."):
            continue
        number = next(i for i, each in enumerate(names) if each == name or each.startswith(name + "."))
        through = ""
        if len(args) == 1:
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
