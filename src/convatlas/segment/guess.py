"""Guesses of what masks mean, from the values of all training masks; refused where they are not plausible."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.images import UnreadableImage
from ..errors import ConvatlasError
from .masks import Numbers, Seen, packed, stored, survey
from .reading import IGNORED, Kind, Reading, Value, as_value, shades_of, strangers, words

COLORS, LEVELS, SOFT = 64, 16, 8    # most colours, levels, and levels with soft edges
DARK = 64                           # the least brightest value of levels that are made to be seen
APART = 8                           # levels lie at least so far from each other
# of a JPEG: how far values are that are one level, and how far its flat areas are from it
MERGED, CLEAN = {"numbers": 24, "colors": 40}, {"numbers": 6, "colors": 20}
HALF = 128                          # how far values may be that are cut in two
TRIED = 1000                        # values around which there may be a level
LOOKED = 50                         # masks of which objects are counted
OBJECTS = 3                         # numbers in one mask, to which they may as well be classes


class Row(NamedTuple):
    """One value: in how many pixels it occurs, how many of them lie among their like, in how many masks."""

    value: int
    pixels: int
    flat: int
    masks: int


@dataclass(frozen=True)
class Values:
    """Values of all training masks."""

    seen: Sequence[Seen]
    of: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def all(self) -> tuple[int, ...]:
        """Every value, sorted."""
        return tuple(row.value for row in self.rows)

    @property
    def blurred(self) -> bool:
        """True if some masks are in a format that may change values."""
        return any(each.blurred for each in self.seen)


def gathered(seen: Sequence[Seen]) -> Values:
    """The values of masks, of the side of their pixels that tells: numbers, colours, or alpha where it alone varies."""
    of, notes = "numbers", tuple[str, ...]()
    if any(each.colored for each in seen):
        of = "colors"
    elif _palettes_differ(seen):
        of, notes = "colors", ("The masks' palettes differ, so they are read by their colours.",)
    shown = {value for each in seen for value in each.values[:2].tolist()}
    opacities = {value for each in seen for value in each.opacities.tolist()}
    if len(shown) == 1 and len(opacities) > 1 and all(len(each.opacities) for each in seen):
        of, notes = "alpha", ("Masks are of one colour, and drawn in their alpha, which is what is read.",)
    pixels, flat, masks = Counter[int](), Counter[int](), Counter[int]()
    for each in seen:
        values = _as_colors(each) if of == "colors" else each.values
        here = (zip(each.opacities.tolist(), *[[1] * len(each.opacities)] * 2, strict=True) if of == "alpha"
                else zip(values.tolist(), each.counts.tolist(), each.flat.tolist(), strict=True))
        for value, count, inner in here:
            pixels[value] += count
            flat[value] += inner
            masks[value] += 1
    rows = tuple(Row(value, pixels[value], flat[value], masks[value]) for value in sorted(pixels))
    return Values(seen, of, rows, notes)


def understood(found: Values, asked: str, folder: str, *, for_eval: bool = False) -> tuple[Reading, tuple[str, ...]]:
    """(reading, sentences about it): as `asked` (data.masks), otherwise as their values say.

    Raises ConvatlasError where nothing can be learnt from the masks, or the guess is not plausible.
    """
    if len(found.all) < 2 and not for_eval:
        raise ConvatlasError(f"all {len(found.seen)} masks in {folder!r} hold nothing but "
                             f"{words(found.all, found.of)}: there is nothing to learn (`convatlas data show {folder}` "
                             "draws them)")
    levels = _levels(found, asked)
    if levels is None and found.blurred and asked == "binary" and found.of == "numbers":
        reading = _reading("binary", "numbers", [[found.all[0]], [found.all[-1]]], blur=HALF)
        return reading, ("Masks hold the foreground where they are lighter than half (data.masks = binary).",)
    if levels is None and found.blurred:
        raise _refused(folder, "masks are JPEG or WebP, which mix values that are near, and no clear levels are left "
                       f"of their {len(found.all)} values", "save them as PNG, or --set data.masks=binary if all that "
                       "is light is foreground")
    if levels is None and found.of == "colors" and len(found.all) > COLORS and asked != "instances":
        raise _refused(folder, f"masks have {len(found.all)} colours: masks are numbers, or at most {COLORS} plain "
                       "colours", "give numbers, or data.masks=instances if each colour is an object")
    if asked == "instances" and levels is not None and found.blurred:
        raise ConvatlasError(f"data.masks = instances is refused for {folder!r}: its masks are JPEG or WebP, which mix "
                             "the numbers of objects; save them as PNG")
    if levels is not None:
        reading, notes = _by_level(found, levels, asked)
        odd = {value for each in found.seen for value in strangers(each, reading)}
        if odd:
            raise _refused(folder, f"masks are seen to hold {words(levels, found.of)}, but {words(odd, found.of)} too",
                           "save them without compression and smoothing")
        return reading, notes
    if asked == "instances":
        return _instances(found, "")
    if found.of != "numbers":
        return _by_value(found, asked, folder)
    return _numbered(found, asked, folder)


def objects(masks: Sequence[Path]) -> tuple[Reading, tuple[str, ...]]:
    """(reading of masks that are one file per object, a sentence), from some of them."""
    seen = list[Seen]()
    for path in masks:
        with suppress(UnreadableImage):
            seen.append(survey(path))
    told = ("Masks are one file per object.",)
    if not seen:
        return Reading(kind="instances"), told
    found = gathered(seen)
    levels = _blurred_levels(found) if found.blurred else None
    if levels is not None:
        return _reading("instances", found.of, [[levels[0]], levels[1:]], blur=CLEAN[found.of]), told
    return _reading("instances", found.of, [[found.all[0] if found.of == "colors" else 0], []]), told


def for_network(mask: Path, classes: int) -> Reading:
    """Reading of a single mask for a network of so many classes: foreground, classes where it has them, else objects.

    Raises UnreadableImage, and ConvatlasError for colours or levels whose classes are not known.
    """
    found = gathered([survey(mask)])
    if found.of == "numbers" and not found.blurred:
        for top in (1, IGNORED):
            if set(found.all) <= {0, top}:
                return _reading("binary", "numbers", [[0], [top]])
        if all(0 <= value < classes or value == IGNORED for value in found.all):
            return _reading("classes", "numbers", [[number] for number in range(classes)], [IGNORED])
    reading, _ = understood(found, "auto", str(mask), for_eval=True)
    return reading if len(reading.classes) <= classes else _instances(found, "")[0]


# -- levels and colours ------------------------------------------------------------------------------------------------

def _by_level(found: Values, levels: Sequence[int], asked: str) -> tuple[Reading, tuple[str, ...]]:
    """Masks of few values that are seen as areas, and others at their seams."""
    kind: Kind = "classes" if asked == "classes" or (asked == "auto" and len(levels) > 2) else "binary"
    groups = [[level] for level in levels] if kind == "classes" else [[levels[0]], [*levels[1:]]]
    reading = _reading(kind, found.of, groups, blur=CLEAN[found.of] if found.blurred else 1)
    shades = np.array([shades_of(level, found.of) for level in levels])
    seams = sum(row.pixels for row in found.rows
                if np.abs(shades - shades_of(row.value, found.of)).max(axis=1).min() > reading.blur)
    share = 100 * seams / sum(row.pixels for row in found.rows)
    why = ("as compression leaves them" if found.blurred else "only found at the seams of the others")
    return reading, (*found.notes, f"{_mapping(reading)} (data.masks = {kind}). The other values ({share:.2g} % of the "
                     f"pixels), {why}, go to the nearest of these around them.")


def _by_value(found: Values, asked: str, folder: str) -> tuple[Reading, tuple[str, ...]]:
    """Masks of which each value is a class: few colours, or levels of grey that are made to be seen."""
    kind: Kind = ("classes" if asked == "classes" or (asked == "auto" and len(found.all) > 2) else "binary")
    groups = [[value] for value in found.all]
    if asked == "binary":
        groups = [groups[0], []]
    if kind == "classes" and asked == "auto":
        _check(found, found.all[1:], folder)
    reading = _reading(kind, found.of, groups)
    return reading, (*found.notes, f"{_mapping(reading)} (data.masks = {kind}).")


def _levels(found: Values, asked: str) -> tuple[int, ...] | None:
    """The values of areas, if all others are what compression or smoothing makes of their seams; None: they are not.
    """
    if found.of == "alpha" or (found.of == "numbers" and (found.all[0] < 0 or found.all[-1] > 255)):
        return None
    if found.blurred:
        return _blurred_levels(found)
    few = len(found.all) <= (LEVELS if found.of == "numbers" else COLORS)
    if asked in ("binary", "instances") or (asked == "classes" and few) or found.all[-1] < DARK or len(found.all) < 3:
        return None
    areas = [row for row in found.rows if row.flat >= max(4, 1e-6 * row.pixels)]
    seams = [row for row in found.rows if row not in areas]
    most = SOFT if found.of == "numbers" else COLORS
    few = sum(row.pixels for row in seams) <= 0.15 * sum(row.pixels for row in found.rows)
    if not seams or not few or not 2 <= len(areas) <= most or areas[-1].value < DARK:
        return None
    # a seam is a mixture of two areas, and a little beyond after bicubic resizing; a border of its own value is not
    shades = np.array([shades_of(row.value, found.of) for row in areas])
    low, high = shades.min(axis=0), shades.max(axis=0)
    beyond = 0.2 * (high - low)
    mixed = np.array([shades_of(row.value, found.of) for row in seams])
    return tuple(row.value for row in areas) if ((low - beyond <= mixed) & (mixed <= high + beyond)).all() else None


def _blurred_levels(found: Values) -> tuple[int, ...] | None:
    """Of a JPEG's flat areas: the values that most have, each with all that lies around it; None where they blend."""
    points = np.array([shades_of(row.value, found.of) for row in found.rows], np.int64)
    flat = np.array([row.flat for row in found.rows], np.int64)
    merged, clean = MERGED[found.of], CLEAN[found.of]
    total, left, levels, odd, counted, stray = int(flat.sum()), flat.copy(), list[int](), 0, 0, 0
    for _ in range(TRIED):
        middle = int(left.argmax())
        if left[middle] == 0 or len(levels) > COLORS:
            break
        off = np.abs(points - points[middle]).max(axis=1)
        near = (off <= merged) & (left > 0)
        mass, core = int(left[near].sum()), int(left[near & (off <= clean)].sum())
        left[near] = 0
        # on the slopes of greys there are flat pixels of every value, none of them more frequent than its neighbours
        if mass < max(16, 2e-5 * total) or (found.of == "numbers" and levels and flat[middle] < 0.3 * core):
            stray += mass
            continue
        odd, counted = (odd + mass - core, counted + mass) if levels else (0, 0)
        levels.append(_snapped(found.rows[middle].value, found.of))
    stray += int(left.sum())
    brightest = max((max(shades_of(level, found.of)) for level in levels), default=0)
    blends = odd > 0.2 * counted or stray > 0.05 * total or brightest < DARK / 2
    return None if blends or len(levels) < 2 or len(levels) > COLORS else tuple(sorted(levels))


def _snapped(value: int, of: str) -> int:
    """A level whose shades are black or full where they nearly are."""
    shades = [0 if shade <= 3 else 255 if shade >= 252 else shade for shade in shades_of(value, of)]
    return packed(shades) if of == "colors" else shades[0]


def _mapping(reading: Reading) -> str:
    """Classes and their values, in words."""
    side = {"numbers": "by value", "colors": "by colour", "alpha": "by opacity"}[reading.of]
    pairs = [f"{words([_plain(value) for value in own], reading.of) if own else 'all others'} {name}"
             for name, own in zip(reading.classes, reading.values, strict=True)]
    some = pairs if len(pairs) < 10 else [*pairs[:8], "…", pairs[-1]]
    return f"Masks hold {len(pairs)} classes {side}: {', '.join(some)}"


def _plain(value: Value) -> int:
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


# -- numbers ----------------------------------------------------------------------------------------------------------

def _numbered(found: Values, asked: str, folder: str) -> tuple[Reading, tuple[str, ...]]:
    """Masks of numbers: classes, objects, or the foreground."""
    negative = [value for value in found.all if value < 0]
    if len(negative) > 1:
        raise _refused(folder, f"masks hold {words(negative)}, of which only one can mean that a pixel does not count",
                       "give the pixels that do not count one number")
    values = [value for value in found.all if value >= 0]
    told = f" {negative[0]} is where a pixel does not count." if negative else ""
    if asked == "binary" or (asked == "auto" and any(set(values) <= {0, top} for top in (1, 255, 2**16 - 1))):
        groups = [[0], []] if asked == "binary" else [[0], [max(values[-1], 1)]]
        reading = _reading("binary", "numbers", groups, negative)
        return reading, (*found.notes, f"Masks hold 0 and the foreground (data.masks = binary).{told}")
    rest = [value for value in values if value not in (IGNORED, 2**16 - 1)]
    deep = 8 * (values[-1] > 255)       # bits more than eight
    levels = (2 <= len(values) <= LEVELS and max(rest, default=0) >= DARK << deep
              and min(np.diff(values)) >= APART << deep)
    objects = asked == "auto" and not levels and _are_objects(found, rest)
    if objects:
        return _instances(found, objects)
    if levels or rest == [0]:
        return _by_value(found, asked, folder)
    ignored = [*negative, *(value for value in (IGNORED, 2**16 - 1) if value in values)]
    count = max(rest, default=0) + 1
    if count > 256:
        raise _refused(folder, f"masks hold class numbers up to {count - 1}", "--set data.masks=instances if they are "
                       "objects")
    if asked == "auto":
        _check(found, [value for value in rest if value], folder)
        if IGNORED in ignored and count > DARK and len(rest) < count / 2:
            raise _refused(folder, f"masks hold {words(values)}, and whether {IGNORED} is a class is not known",
                           "--set data.masks=classes if it is where a pixel does not count")
    reading = _reading("classes", "numbers", [[number] for number in range(count)], ignored)
    said = [f"Masks hold {count} classes (data.masks = classes)" + (
        f", and {words(ignored)} where a pixel does not count." if ignored else ".")]
    if len(rest) < count:
        said.append(f"Of them {words(rest)} occur; if that is not what the masks mean, data.masks says what they are.")
    elif asked == "auto" and not ignored and _used_up(found):
        said.append("If each number is an object of its own, --set data.masks=instances.")
    return reading, (*found.notes, *said)


def _instances(found: Values, why: str) -> tuple[Reading, tuple[str, ...]]:
    ignored = [value for value in found.all if value < 0]
    background = found.all[0] if found.of == "colors" else 0
    reading = _reading("instances", found.of, [[background], []], ignored)
    what = "colour" if found.of == "colors" else "number"
    return reading, (*found.notes, f"Masks hold objects, each with a {what} of its own{why} (data.masks = instances).")


def _are_objects(found: Values, values: Sequence[int]) -> str:
    """Reason why numbers are those of objects, in words; empty: they are classes.

    Numbered objects use every number up to their count, which differs from mask to mask, and each is one piece. Where
    the numbers are so few that classes could be like that, they are objects if they are numbered in the order of their
    rows, as programs number them.
    """
    if max(values, default=0) > 255:
        return ", up to " + str(max(values))
    largest = [int(max(each.values.max(initial=0), 0)) for each in found.seen]
    if len(set(largest)) == 1 or not _used_up(found) or {IGNORED, 2**16 - 1} & set(found.all):
        return ""
    whole, ordered = _pieces(found.seen)
    if whole < 0.8:
        return ""
    if ordered > 0.9 and max(largest) > 1:
        return ", in the order of their rows"
    common = Counter(largest).most_common(1)[0][1] / len(largest)
    return ", as many as there are pieces" if max(largest) > OBJECTS and common <= 0.6 else ""


def _used_up(found: Values) -> bool:
    """True if nearly every mask uses all numbers from 0 to its own largest, as numbered objects do."""
    some = [each.values[each.values >= 0] for each in found.seen[:LOOKED]]
    return sum(len(each) >= 0.9 * (int(each.max(initial=0)) + 1) for each in some) >= 0.9 * len(some)


def _pieces(seen: Sequence[Seen]) -> tuple[float, float]:
    """(share of the numbers that are one connected piece in their mask, share of the masks of several numbers that are
    numbered by the first row in which each is met), of some masks.
    """
    from skimage.measure import label

    whole, numbers, ordered, several = 0, 0, 0, 0
    for each in seen[:LOOKED]:
        values = stored(each.path).values
        pieces = np.asarray(label(values, background=0, connectivity=2))
        firsts = np.unique(pieces, return_index=True)[1]
        owners = Counter(values.ravel()[firsts].tolist())
        del owners[0]
        whole += sum(count == 1 for count in owners.values())
        numbers += len(owners)
        if len(owners) > 1:
            met: NDArray[Any] = np.unique(values, return_index=True)[1][-len(owners):]
            ordered += bool((np.diff(met // values.shape[1]) >= 0).all())
            several += 1
    return whole / max(numbers, 1), ordered / max(several, 1)


# -- plausible --------------------------------------------------------------------------------------------------------

def _check(found: Values, classes: Sequence[int], folder: str) -> None:
    """Refuse what is hardly meant: more classes than pictures, most classes in one picture each."""
    masks, count = {row.value: row.masks for row in found.rows}, len(found.seen)
    what = {"colors": "colours", "numbers": "numbers", "alpha": "opacities"}[found.of]
    meant = "--set data.masks=classes if they are classes, instances if each is an object, binary if all are foreground"
    if len(classes) > count > 1:
        raise _refused(folder, f"masks hold {len(classes)} {what} beside the background ({words(classes, found.of)}), "
                       f"more than the {count} pictures", meant)
    single = [value for value in classes if masks.get(value) == 1]
    if count > 2 and len(classes) > 3 and len(single) > len(classes) / 2:
        raise _refused(folder, f"of the {len(classes)} {what} that masks hold beside the background {len(single)} "
                       f"occur in one picture each ({words(single, found.of)})", meant)


def _refused(folder: str, what: str, meant: str) -> ConvatlasError:
    return ConvatlasError(f"{what}, in {folder!r}: {meant} (`convatlas data show {folder}` draws them)")


def _reading(kind: Kind, of: Any, groups: Sequence[Sequence[int]], ignored: Sequence[int] = (),
             blur: int = 0) -> Reading:
    names = (("background", "object") if kind != "classes"
             else ("background", *(f"class {number}" for number in range(1, len(groups)))))
    return Reading(kind=kind, of=of, classes=names, blur=blur, ignored=tuple(as_value(value, of) for value in ignored),
                   values=tuple(tuple(as_value(value, of) for value in own) for own in groups))


def _palettes_differ(seen: Sequence[Seen]) -> bool:
    """True if one index has different colours in different masks."""
    colors: dict[int, tuple[int, ...]] = {}
    return any(colors.setdefault(value, color) != color for each in seen if each.palette
               for value in each.values.tolist()
               if len(color := tuple(each.palette[3 * value : 3 * value + 3])) == 3)


def _as_colors(each: Seen) -> Numbers:
    if each.colored:
        return each.values
    if each.palette:
        table = np.array([*each.palette], np.int64).reshape(-1, 3)
        found: Numbers = (table[:, 0] << 16 | table[:, 1] << 8 | table[:, 2])[each.values]
        return found
    return each.values * 0x010101
