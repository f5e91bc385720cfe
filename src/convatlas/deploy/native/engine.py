"""A network as the kernels run it: weights in their order, memory for its maps, and what was found fastest for its
layers.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate, zip_longest
from math import prod
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvatlasError
from .build import kernels, names_in
from .work import (
    ACTIVATIONS,
    IN_BF16,
    KINDS,
    Floats,
    Map,
    Work,
    chains,
    lay_out,
    of_images,
    padded,
    padded_vector,
    weights_of,
)

NUMBERS = ("kind", "activation", "n", "h", "w", "c", "oh", "ow", "k", "kh", "kw", "sh", "sw", "ph", "pw",
           "dh", "dw", "groups",
           "in", "in_stride", "out", "out_stride", "other", "other_stride", "planar", "counts_padding", "tile",
           "gather", "by_channels", "chain", "band", "in_zero", "out_zero", "other_zero", "low", "high", "halves")
POINTERS = ("weight", "bias", "before", "scale", "table")
NUMBERS_OF = {4: np.float32, 2: np.uint16, 1: np.uint8}      # bytes of a map's number → their type
Choice = tuple[str, int, int, int]      # kind, tile, gather, by_channels
# of the network for each choice: in the first round, and in a second for those that are left
CALLS = (1, 2)
SLOW = 1.2                              # a way that takes so much longer than the best is dropped
TELLING = 5                             # seconds between reports
RUNS = 3                                # of the network by each way, the fastest counts


class Step(ctypes.Structure):
    """`Step` of kernels/step.h."""

    _fields_ = [(name, ctypes.c_int64) for name in NUMBERS] + [(name, ctypes.c_void_p)
                                                               for name in POINTERS] + [("epsilon", ctypes.c_double)]


@cache
def check_order() -> None:
    """Raise ConvatlasError where the kernels' fields, kinds or activations stand in another order than here."""
    for what, ours in (("struct Step", [name for name, *_ in Step._fields_]), ("enum Kind", KINDS),
                       ("enum Activation", ACTIVATIONS)):
        theirs = [name.lower() for name in names_in(what)]
        differing = next((pair for pair in zip_longest(theirs, ours) if pair[0] != pair[1]), None)
        if differing:
            raise ConvatlasError(f"the native kernels' {what} has {differing[0]} where convatlas.deploy.native has "
                                 f"{differing[1]}: they are of two versions; install convatlas anew")
    if kernels().convatlas_step_size() != ctypes.sizeof(Step):
        raise ConvatlasError(f"the native kernels' steps take {kernels().convatlas_step_size()} bytes and "
                             f"convatlas.deploy.native's {ctypes.sizeof(Step)}: take another compiler by the "
                             "environment variable CXX, or another backend")


ALIVE: "WeakSet[Network]" = WeakSet()


def _unlock() -> None:
    """Open the locks of calls in threads that a child of fork() does not have."""
    locks: dict[int, Lock] = {}         # what shares memory shares its lock
    for network in ALIVE:
        network.lock = locks.setdefault(id(network.lock), Lock())


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_unlock)


class Network:
    """The scores of images (N, C, H, W) by the kernels; any N. One call at a time: its maps lie in one memory.

    `works` are the steps for one image. `parts` are the images that a thread, or all together, answer at once, by the
    batch; what is not in it goes whole. `choices`: what `tune` found for a layer's shape. Without `winograd` no layer
    is computed that way unless `choices` says so: its weights are larger, and laying them out takes longer than
    answering a few images. `like` is the same network for images of another size, with which it shares memory and
    weights; what was found for that, each of its layers takes over. With `keeps` each map has memory of its own, where
    `maps` finds it after a call.
    """

    def __init__(self, works: Sequence[Work], threads: int, parts: Mapping[int, int] | None = None,
                 choices: Mapping[str, Choice] | None = None, winograd: bool = True, like: "Network | None" = None,
                 keeps: bool = False) -> None:
        check_order()
        self.library, self.threads, self.works, self.winograd = kernels(), threads, works, winograd
        self.keeps = keeps
        self.size = works[0].source.c, works[0].source.h, works[0].source.w
        self.lanes = int(self.library.convatlas_lanes())
        # a bit for each way to multiply bf16 besides as floats; whoever needs none does not ask the system
        self.bf16 = int(self.library.convatlas_bf16()) if any(work.kind in IN_BF16 for work in works) else 0
        self.parts = {batch: part for batch, part in (parts or {}).items() if part in self._parts(batch)}
        self.choices = dict(choices or {})
        self.alike = {} if like is None else {_without_size(key): choice for key, choice in like.choices.items()}
        self.weights: dict[tuple[str, str], tuple[NDArray[Any] | None, ...]] = {}
        self.programs: dict[tuple[int, bool], Program] = {}
        self.arenas: list[Floats] = []              # where maps lie: the first is that of all threads together
        self.scratch: list[Floats] = []             # of each thread's own
        self.lock = Lock()
        if like is not None:
            self.weights, self.arenas, self.scratch, self.lock = like.weights, like.arenas, like.scratch, like.lock
        ALIVE.add(self)

    def __call__(self, x: Floats) -> Floats:
        """As the class says; of several results the first."""
        return self.results(x)[0]

    def results(self, x: Floats) -> list[Floats]:
        """All that the network gives for images."""
        if not len(x):
            return [np.empty((0, *_shape(work)), np.float32) for work in self.works if work.kind == "output"]
        with self.lock:
            part = self.parts.get(len(x), len(x))
            whole = len(x) // part * part
            found = [self._for(len(each), part).run(each) for each in (x[:whole], x[whole:]) if len(each)]
            return found[0] if len(found) == 1 else [np.concatenate(each) for each in zip(*found, strict=True)]

    def maps(self, x: Floats) -> list[tuple[Work, NDArray[Any]]]:
        """The results of each step for images, (n, pixels, c), by a network that `keeps` its maps."""
        with self.lock:
            program = self.program(len(x), self.threads == 1)
            program.run(x)
            return [(work, self.values(work.result)) for work in program.works if work.result.buffer is not None]

    def values(self, found: Map) -> NDArray[Any]:
        """A map's numbers, (n, pixels, c), as a call left them."""
        assert found.buffer is not None
        root, wide = found.buffer.root, found.buffer.wide
        whole: NDArray[Any] = self.arenas[0][root.start : root.start + root.size].view(NUMBERS_OF[wide])
        if wide == 2:
            whole = (whole.astype(np.uint32) << 16).view(np.float32)
        rows = whole[: found.buffer.pixels * found.stride].reshape(-1, found.stride)
        return rows[: found.pixels, found.channel : found.channel + found.c].reshape(found.n, -1, found.c)

    def profile(self, x: Floats) -> list[tuple[Work, str, float]]:
        """The steps of a batch like `x`: what is computed, the kernel that does it, and the seconds it takes."""
        with self.lock:
            part = self.parts.get(len(x), len(x))
            program = self._for(len(x), part)
            seconds = np.zeros(len(program.works))
            program.run(x[: len(x) // part * part], seconds)
            # one part's are counted, of those that a thread answers
            share = len(x) / part / (self.threads if program.apart else 1)
            return [(work, KINDS[step.kind], spent * share)
                    for work, step, spent in zip(program.works, program.steps, seconds.tolist(), strict=True)]

    def kernels(self, images: int) -> list[tuple[Work, Choice]]:
        """The steps for so many images, and what computes each."""
        with self.lock:
            program = self._for(images, self.parts.get(images, images))
            return [(work, (KINDS[step.kind], step.tile, step.gather, step.by_channels))
                    for work, step in zip(program.works, program.steps, strict=True)]

    def _for(self, batch: int, part: int) -> "Program":
        """For a batch in parts of so many images, or less where there are not so many."""
        return self.program(min(part, batch), batch // part >= self.threads)

    def tune(self, x: Floats, tell: Callable[[str], None] = lambda text: None) -> None:
        """Find how batches like `x` are answered fastest: together or in parts, and how each layer is computed.

        `tell` is told how far that is, every few seconds.
        """
        ways = {}
        for part in self._parts(len(x)):
            program = self._for(len(x), part)
            program.run(x)
            ways[part] = min(_seconds(program.run, x) for _ in range(RUNS))
        apart = min((part for part in ways if part < len(x)), key=ways.__getitem__, default=len(x))
        near = [part for part in dict.fromkeys((len(x), apart)) if ways[part] <= SLOW * min(ways.values())]
        tuned = {part: self._for(len(x), part).tune(x, _Progress(tell, i, len(near))) for i, part in enumerate(near)}
        self.parts[len(x)] = min(tuned, key=tuned.__getitem__)
        self.programs = {key: program for key, program in self.programs.items() if key[0] == self.parts[len(x)]}
        used = {(work.name, KINDS[step.kind]) for program in self.programs.values()
                for work, step in zip(program.works, program.steps, strict=True)}
        self.weights = {key: packed for key, packed in self.weights.items() if key in used}
        self.arenas, self.scratch = [], []          # what was tried may have taken more than what is left

    def _parts(self, batch: int) -> list[int]:
        """All images together; else as many as give every thread equally many parts."""
        each = batch // self.threads
        return [batch, *dict.fromkeys(part for part in (each, each // 2, each // 4, 1)
                                      if part and batch % (part * self.threads) == 0)]

    def program(self, images: int, apart: bool) -> "Program":
        """The steps for so many images, for all threads together or `apart`, for each one."""
        key = images, apart
        if key not in self.programs:
            self.programs[key] = Program(self, images, apart)
        return self.programs[key]

    def packed(self, work: Work, kind: str) -> tuple[NDArray[Any] | None, ...]:
        """Arrays that POINTERS are to point at, for a kernel of that kind; made once for a layer."""
        if (work.name, kind) not in self.weights:
            weight = None if work.weight is None else weights_of(work, kind, self.lanes)
            bias, before, scale = (None if each is None else padded_vector(each)
                                   for each in (work.bias, work.before, work.scale))
            if weight is not None:
                room = self.room(len(weight))
                room.view(np.int32)[:] = weight.view(np.int32)      # bytes, whatever float they would be
                weight = room
            self.weights[work.name, kind] = weight, bias, before, scale, work.table
        return self.weights[work.name, kind]

    def pointers(self, arena: int, arenas: int, scratch: int) -> tuple[Any, Any]:
        """Memory for so many floats in each of so many arenas, and of each thread's own."""
        for found, count, size in ((self.arenas, arenas, arena), (self.scratch, self.threads, scratch)):
            for i in range(count):
                if i == len(found):
                    found.append(self.room(size))
                elif len(found[i]) < size:
                    found[i] = np.empty(0, np.float32)      # not both at once
                    found[i] = self.room(size)
        return _pointers(self.arenas[:arenas]), _pointers(self.scratch)

    def room(self, count: int) -> Floats:
        """So many floats, all zero, at the start of a line of the cache; on large pages where there are many."""
        page = LARGE if count * 4 >= LARGE else LINE
        whole = np.zeros(count + page // 4, np.float32)
        start = -whole.ctypes.data % page // 4
        if page == LARGE:
            self.library.convatlas_large_pages(whole.ctypes.data + start * 4, count * 4 // LARGE * LARGE)
        return whole[start : start + count]


class Program:
    """The steps for a number of images."""

    def __init__(self, network: Network, images: int, apart: bool) -> None:
        self.network, self.images, self.apart = network, images, apart
        self.works = of_images(network.works, images)
        self.size, self.scratch = lay_out(self.works, network.keeps) + BEYOND, 0
        self.chains = {} if network.keeps else chains(self.works)       # of whose maps only some rows are ever there
        # of each step's results among those of all; the last is their number
        self.places = [0, *accumulate(work.result.pixels * work.result.c if work.kind == "output" else 0
                                      for work in self.works)]
        self.steps = (Step * len(self.works))()
        self._choose(self._known())

    def run(self, x: Floats, seconds: NDArray[np.float64] | None = None) -> list[Floats]:
        """The results for a multiple of the images; and the time of each step, where there is an array for it."""
        net = self.network
        if x.shape[1:] != net.size:         # the kernels read as many numbers as they were laid out for
            raise ConvatlasError(f"native was laid out for images (N, {', '.join(map(str, net.size))}), not "
                                 f"{tuple(x.shape)}")
        x = np.ascontiguousarray(x, np.float32)
        results = np.empty((len(x) // self.images, self.places[-1]), np.float32)
        memory = net.pointers(self.size, net.threads if self.apart else 1, self.scratch)
        net.library.convatlas_run(self.steps, len(self.steps), x.ctypes.data, results.ctypes.data, len(results),
                                  net.threads, *memory, None if seconds is None else seconds.ctypes.data)
        return [results[:, start:end].reshape(len(x), *_shape(work))
                for start, end, work in zip(self.places, self.places[1:], self.works, strict=False)
                if work.kind == "output"]

    def tune(self, x: Floats, progress: "_Progress") -> float:
        """Find for the shape of each layer how it is fastest computed, with the caches as they are when the whole
        network runs.

        Returns the seconds of one call as it is then.
        """
        left = [self.options(i) for i in range(len(self.works))]
        taken: list[dict[Choice, float]] = [{} for _ in self.works]
        seconds = np.zeros(len(self.works))
        for calls in CALLS:
            for turn in range(max(map(len, left))):
                now = [each[turn % len(each)] for each in left]
                self._choose(now)
                progress.at(calls == CALLS[-1], turn / max(map(len, left)))
                for _ in range(calls):
                    self.run(x, seconds)
                    for each, choice, spent in zip(taken, now, seconds.tolist(), strict=True):
                        each[choice] = min(spent, each.get(choice, spent))
            left = [[option for option in each if each[option] <= SLOW * min(each.values())] for each in taken]
        alike: dict[str, dict[Choice, float]] = {}          # layers of one shape together
        for i, each in enumerate(taken):
            sums = alike.setdefault(self._key(i), {})
            for choice, spent in each.items():
                sums[choice] = sums.get(choice, 0.0) + spent
        self.network.choices |= {key: min(sums, key=sums.__getitem__) for key, sums in alike.items() if len(sums) > 1}
        self._choose(self._known())
        self._tune_bands(x, seconds)
        return min(_seconds(self.run, x) for _ in range(RUNS))

    def _tune_bands(self, x: Floats, seconds: NDArray[np.float64]) -> None:
        """Find for each chain how many rows at a time are fastest; 0: all of each step before the next begins."""
        options = {i: self.bands(i) for i in self.chains}
        taken: dict[int, dict[int, float]] = {i: {} for i in self.chains}
        for turn in range(max(map(len, options.values()), default=0)):
            now = {i: each[turn % len(each)] for i, each in options.items()}
            self._band(now)
            for _ in range(sum(CALLS)):
                self.run(x, seconds)
                for i, count in self.chains.items():
                    spent = float(seconds[i : i + count].sum())
                    taken[i][now[i]] = min(spent, taken[i].get(now[i], spent))
        alike: dict[str, dict[int, float]] = {}
        for i, each in taken.items():
            sums = alike.setdefault(self._chain_key(i), {})
            for rows, spent in each.items():
                sums[rows] = sums.get(rows, 0.0) + spent
        self.network.choices |= {key: ("bands", min(sums, key=sums.__getitem__), 0, 0)
                                 for key, sums in alike.items() if len(sums) > 1}
        self._band(self._known_bands())

    def bands(self, i: int) -> list[int]:
        """Numbers of rows in which a chain may be computed, the usual one first."""
        last = self.works[i + self.chains[i] - 1].result
        sizes = dict.fromkeys(max(1, -(-pixels // last.w)) for pixels in BANDS)
        found = [0, *(rows for rows in sizes if rows < last.h and self._has_room(i, rows))]
        between = max(work.result.pixels // work.result.n * work.result.stride
                      for work in self.works[i : i + self.chains[i] - 1])
        usual = next(iter(found[2:] or found[1:]), 0) if between * 4 > NEAR else 0
        return [usual, *(rows for rows in found if rows != usual)]

    def _has_room(self, i: int, rows: int) -> bool:
        """True if what lies between the steps has room for a band of each thread."""
        shares = 1 if self.apart else self.network.threads
        for work in reversed(self.works[i + 1 : i + self.chains[i]]):
            rows = (rows - 1) * work.stride[0] + (work.kernel[0] - 1) * work.dilation[0] + 1
            if shares * rows > work.source.n * work.source.h:
                return False
        return True

    def _known_bands(self) -> dict[int, int]:
        found = {}
        for i in self.chains:
            options, choice = self.bands(i), self.network.choices.get(self._chain_key(i))
            found[i] = choice[1] if choice and choice[0] == "bands" and choice[1] in options else options[0]
        return found

    def _band(self, rows: Mapping[int, int]) -> None:
        """Compute each chain so many rows at a time."""
        for i, each in rows.items():
            step: Any = self.steps[i]
            step.chain, step.band = (self.chains[i], each) if each else (0, 0)

    def _chain_key(self, i: int) -> str:
        return f"bands {'; '.join(map(self._key, range(i, i + self.chains[i])))}"

    def _known(self) -> list[Choice]:
        """The ways found fastest for each step, where they can compute it, else the usual ones."""
        return [self._known_of(self.options(i), self._key(i)) for i in range(len(self.works))]

    def _known_of(self, options: Sequence[Choice], key: str) -> Choice:
        found = self.network.choices.get(key)
        if found is None and (near := self.network.alike.get(_without_size(key))):
            kind, _, gather, share = near       # the size of a tile depends on the map's
            found = next((each for each in options if (each[0], *each[2:]) == (kind, gather, share)), None)
        return found if found in options and found is not None else options[0]

    def _choose(self, choices: Sequence[Choice]) -> None:
        """Compute each step in this way; `scratch` is the most that any step needs."""
        for i, choice in enumerate(choices):
            self._set(i, choice)
        self._band(self._known_bands())
        steps = (ctypes.byref(self.steps, i * ctypes.sizeof(Step)) for i in range(len(self.steps)))
        self.scratch = max(int(self.network.library.convatlas_scratch(step)) for step in steps) + BEYOND

    def options(self, i: int) -> list[Choice]:
        """Ways to compute a step, the usual one first."""
        work = self.works[i]
        if work.kind not in ("conv", "qconv", "bconv", "transposed"):
            return [(work.kind, 0, 0, 0)]
        if work.small_groups:
            return [("conv", 0, 0, 0)]
        shares = (0,) if self.apart or self.network.threads == 1 else (0, 1)
        if work.kind == "transposed":
            return [(work.kind, tile, 0, share) for tile in (112, 56, 336) for share in shares]
        forms = self._bf16_forms(work) if work.kind == "bconv" else [(work.kind, 0)]
        found = [(kind, tile, how, share) for kind, how in forms
                 for tile in (LARGE_TILES if kind == "tconv" else TILES) for share in shares]
        if work.can_winograd:
            panels = -(-padded(work.result.c) // (2 * self.network.lanes))
            for side, sizes in WINOGRAD_FORMS.items():
                several = {(min(tile, -(-work.result.pixels // side ** 2)), min(many, panels)) for tile, many in sizes}
                found += [(f"winograd{side}", tile, many, share) for tile, many in sorted(several) for share in shares]
        usual = self.usual(i)
        return [usual, *(each for each in found if each != usual)]

    def _bf16_forms(self, work: Work) -> list[tuple[str, int]]:
        """Kernels for a step in bf16, and how they multiply: `gather` of kernels/bfloat16.h; the usual one first."""
        tiles = [("tconv", 0)] if self.network.bf16 & 2 and work.groups == 1 else []
        return [*tiles, *([("bconv", 1)] if self.network.bf16 & 1 else []), ("bconv", 0)]

    def usual(self, i: int) -> Choice:
        """The way that is mostly fast."""
        work = self.works[i]
        if work.kind not in ("conv", "qconv", "bconv"):
            return work.kind, 112 if work.kind == "transposed" else 0, 0, 0
        assert work.weight is not None
        inputs = work.source.pixels * work.source.c
        share = int(not self.apart and work.weight.size > inputs)
        if work.kind == "bconv":
            kind, how = self._bf16_forms(work)[0]
            return kind, 128 if kind == "tconv" else 112, how, share
        if (self.network.winograd and work.can_winograd and min(work.source.c, work.result.c) >= 32
                and work.result.pixels >= WORTH):
            return "winograd4", min(56, -(-work.result.pixels // 16)), 1, share
        return work.kind, 112, 0, share

    def _key(self, i: int) -> str:
        """Key of a layer's speed: all that it depends on."""
        work = self.works[i]
        shape = (work.source.n, work.source.h, work.source.w, work.source.c, work.result.c, *work.kernel,
                 *work.stride, work.groups)
        more = (" apart" if self.apart else "") + ("" if work.before is None else " after BatchNorm")
        more += "" if work.dilation == (1, 1) else f" dilated {work.dilation[0]}×{work.dilation[1]}"
        more += f" halves {halves}" if (halves := _halves(work)) else ""
        return f"{work.kind} {'×'.join(map(str, shape))}{more}"

    def _set(self, i: int, choice: Choice) -> None:
        work, (kind, tile, gather, by_channels) = self.works[i], choice
        packed = self.network.packed(work, kind)
        source, result, other = work.source, work.result, work.other
        numbers = (
            KINDS.index(kind), ACTIVATIONS.index(work.activation), source.n, source.h, source.w, source.c, result.h,
            result.w, result.c, *work.kernel, *work.stride, *work.padding, *work.dilation, work.groups,
            0 if source.buffer is None else _place(source), _stride(source),
            self.places[i] if kind == "output" else _place(result), _stride(result),
            -1 if other is None else _place(other), 0 if other is None else _stride(other),
            source.buffer is None, work.counts_padding, tile, gather, by_channels, 0, 0, *work.zeros, *work.bounds,
            _halves(work))
        step: Any = self.steps[i]
        for name, value in zip(NUMBERS, numbers, strict=True):
            setattr(step, name, value)
        for name, each in zip(POINTERS, packed, strict=True):
            setattr(step, name, None if each is None else each.ctypes.data)
        step.epsilon = work.epsilon


# pixels at once: usual numbers, and those of AMX's blocks of 32
TILES, LARGE_TILES = (56, 112, 336), (32, 128, 352, 1344)
LARGE = 2 ** 21                 # bytes of a large page
LINE = 64                       # bytes of a line of the cache
BEYOND = 64                     # floats that a kernel may read or write behind the last map
BANDS = (56, 112, 224, 448)     # pixels of a band, about
NEAR = 2 ** 19                  # bytes of a map between two steps from which it would leave the cache before it is read
WORTH = 400                     # pixels of a map from which Winograd's larger weights pay off
# tiles and panels at once
WINOGRAD_FORMS = {4: ((28, 1), (56, 1), (56, 4), (112, 4), (256, 16)), 2: ((56, 1), (224, 4))}


def _without_size(key: str) -> str:
    """A layer's key for any number of images and pixels."""
    kind, _, shape = key.partition(" ")
    return f"{kind} {shape.split('×', 3)[-1]}"


def _shape(work: Work) -> tuple[int, ...]:
    """Of an output of one image."""
    return (work.result.c, work.result.h, work.result.w) if work.flat is None else (prod(work.flat),)


class _Progress:
    """Says now and then how much of the tuning is done; `way` of `ways` is tuned now."""

    def __init__(self, tell: Callable[[str], None], way: int, ways: int) -> None:
        self.tell, self.way, self.ways, self.said = tell, way, ways, time.perf_counter()

    def at(self, second: bool, share: float) -> None:
        """The share of its first or second round."""
        if time.perf_counter() - self.said > TELLING:
            self.said = time.perf_counter()
            self.tell(f"native tunes its layers: {(self.way + (second + share) / 2) / self.ways:.0%}")


def _seconds(call: Callable[[Floats], object], x: Floats) -> float:
    began = time.perf_counter()
    call(x)
    return time.perf_counter() - began


def _place(found: Map) -> int:
    """The first of its numbers in the arena, in floats."""
    assert found.buffer is not None
    return found.buffer.root.start + found.channel * found.wide // 4


def _stride(found: Map) -> int:
    """Floats from pixel to pixel."""
    return found.stride * found.wide // 4


def _halves(work: Work) -> int:
    """Maps of bf16: 1 the source, 2 the result, 4 the other."""
    maps = work.source, work.result, work.other
    return sum(1 << i for i, found in enumerate(maps) if found is not None and found.wide == 2)


def _pointers(arrays: list[Floats]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(each.ctypes.data for each in arrays))
