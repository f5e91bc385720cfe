"""A sheet of what was understood of images with masks: some of them, the classes in colour, and how often each occurs.

Where the guess is refused it shows the masks as they are stored, with the sentence that refuses it.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.images import UnreadableImage, read_image
from ..draw.canvas import LETTER, LINE, MARGIN, canvas, show, write
from ..draw.markup import clipped, counted
from ..draw.plots import COLORS, to_image
from ..errors import ConvatlasError
from .guess import gathered
from .layouts import Pair
from .masks import Seen, packed, stored, survey, unpacked
from .pairs import Masked, Pairs
from .reading import IGNORED, Reading, as_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE, GAP, CAPTION, APART = 176, 8, 22, 30      # units: a picture's longer side, between two, its name, the legend
ROW, BAR, MOST = 22, 84, 24                     # of the legend: a row's height, its longest bar, rows
VALUE, SHARE, IMAGES = 66, 62, 62               # widths of its columns
GROUND, UNCOUNTED = "#262c35", "#cdd3da"        # the background, and pixels that do not count
TINTS = ("#e8553f", "#2bb39a", "#f2c24b", "#5a8dee", "#c678dd", "#8fce5a", "#f78f3d", "#5cc8e8", "#e87fa8", "#b08968")
OBJECTS = Reading(kind="instances")             # what comes along without files has its objects numbered
FILL = 0.4                                      # of a class's colour over its image; its outline is all colour
SHOWN = 2 * SIDE                                # pixels of a picture's longer side on the sheet
TITLE, HEAD = 34, 18                            # heights of the title, and of the columns' names

Pixels = NDArray[np.uint8]
Place = tuple[int, int]                         # of an image: which of the sets, and its index in that


@dataclass(frozen=True)
class Entry:
    """One class, or one value: its row in the legend."""

    colors: tuple[str, ...]     # #rrggbb; several: of objects, which are in a colour each
    name: str
    value: str
    share: float                # of all pixels
    images: int


@dataclass(frozen=True)
class Shown:
    """One image: its name and, side by side, pictures uint8 (H, W, 3)."""

    name: str
    pictures: tuple[Pixels, ...]


def understood(pairs: Pairs, *, rows: int = 6, seed: int = 0) -> tuple["Figure", list[str]]:
    """(a sheet of `rows` images with their masks, the legend in words) of what `open_pairs` understood.

    The images are chosen at random, but so that each class is seen, if that many rows can. Raises ConvatlasError where
    no pair can be read.
    """
    pairs = replace(pairs, reading=pairs.reading or OBJECTS)
    assert pairs.reading is not None
    sets = [pairs.train, *(each for each in (pairs.val, pairs.test) if each is not None and each is not pairs.train)]
    if pairs.test is pairs.val:
        sets = sets[:-1]
    places = [(number, index) for number, each in enumerate(sets) for index in range(len(each))]
    counts, objects = dict[Place, NDArray[np.int64]](), 0
    for number, index in places:
        with suppress(UnreadableImage):
            if pairs.reading.kind == "instances":
                objects += len(np.setdiff1d(sets[number].instances_of(index).numpy(), [0]))
            counts[number, index] = np.bincount(sets[number].classes_of(index).numpy().ravel(), minlength=IGNORED + 1)
    colors = class_colors(pairs.reading, len(pairs.classes))
    legend = list(_legend(pairs, [*counts.values()], colors))
    drawn = []
    for number, index in _chosen(counts, seed):
        with suppress(UnreadableImage):
            drawn.append(_shown(sets[number], index, pairs.reading, colors))
        if len(drawn) == rows:
            break
    if not drawn:
        raise ConvatlasError(f"none of the {len(places)} images of {pairs.name!r} can be read together with its mask")
    second = "test" if pairs.test is pairs.val else "val"
    parts = ("train", second, "test") if pairs.parted else ("to train on", "held out")
    about = ", ".join(f"{len(each)} {part}" for each, part in zip(sets, parts, strict=False))
    if objects:
        about += f"; {counted(objects, 'object')}, {objects / max(len(counts), 1):.1f} per image"
    told = [f"{counted(len(places), 'pair')}: {about}", *pairs.notes]
    return _sheet(f"What is understood of {pairs.name}", told, "soft", ("image", "mask", "both"), drawn, legend,
                  len(counts)), _told(legend, len(counts))


def refused(name: str, pairs: Sequence[Pair], sentence: str, *, rows: int = 6,
            seed: int = 0) -> tuple["Figure", list[str]]:
    """(a sheet of `rows` images with their masks as they are stored, the values in words) where no guess is plausible.
    """
    seen = list[Seen]()
    for path in (path for _, masks in pairs for path in masks):
        with suppress(UnreadableImage):
            seen.append(survey(path))
    if not seen:
        raise ConvatlasError(sentence)
    found = gathered(seen)
    total, top = sum(row.pixels for row in found.rows), max(abs(found.all[-1]), 1)
    most = sorted(found.rows, key=lambda row: -row.pixels)[:MOST]
    legend = [Entry((as_word(row.value, "colors") if found.of == "colors" else _gray(row.value, top),), "",
                    as_word(row.value, found.of), row.pixels / total, row.masks) for row in sorted(most)]
    if len(found.rows) > MOST:
        rest = sum(row.pixels for row in found.rows) - sum(row.pixels for row in most)
        legend.append(Entry((COLORS["paper"],), "", f"{len(found.rows) - MOST} more", rest / total, 0))
    drawn, order = list[Shown](), np.random.default_rng(seed).permutation(len(pairs))
    for image, masks in (pairs[place] for place in order):
        with suppress(UnreadableImage):
            picture = np.asarray(to_image(read_image(image)).convert("RGB"))
            drawn.append(Shown(image.name, (_small(picture), *(_small(_raw(path, top), Image.Resampling.NEAREST)
                                                               for path in masks[:1]))))
        if len(drawn) == rows:
            break
    what = f"{counted(len(seen), 'mask')} with {counted(len(found.rows), 'value')}, drawn as they are stored."
    told = [sentence.partition(" (`convatlas data show")[0], what]      # which is where it is read
    return (_sheet(f"The masks of {name}, which were not understood", told, "wrong", ("image", "mask"), drawn, legend,
                   len(seen)), _told(legend, len(seen)))


def class_colors(reading: Reading, count: int) -> list[str]:
    """A colour for each class: its own where masks are coloured, otherwise one that is far from the others."""
    if reading.of == "colors" and reading.kind != "instances":
        own = [as_word(packed(values[0]) if isinstance(values[0], tuple) else values[0], "colors") if values else None
               for values in reading.values]
        return [color or TINTS[0] for color in own]
    return [GROUND, *TINTS, *(_hue(number) for number in range(count))][:count]


# -- pictures ---------------------------------------------------------------------------------------------------------

def _shown(pairs: Masked, index: int, reading: Reading, colors: Sequence[str]) -> Shown:
    """The image, its classes in colour (objects in a colour each), and these over the image."""
    image = _small(np.asarray(to_image(pairs.image(index)).convert("RGB")))
    classes = pairs.classes_of(index).numpy()
    table = np.full((IGNORED + 1, 3), _rgb(UNCOUNTED), np.uint8)
    table[: len(colors)] = [_rgb(color) for color in colors]
    mask = table[classes]
    if reading.kind == "instances":
        objects = pairs.instances_of(index).numpy()
        tints = np.array([_rgb(GROUND), *(_rgb(_hue(number)) for number in range(256))], np.uint8)
        numbers = np.unique(objects, return_inverse=True)[1].reshape(objects.shape)
        mask = np.where((classes == IGNORED)[:, :, None], mask, tints[numbers % 257])
    small = _small(mask, Image.Resampling.NEAREST)
    marked = np.asarray(Image.fromarray(((classes > 0) & (classes != IGNORED)).astype(np.uint8)).resize(
        (small.shape[1], small.shape[0]), Image.Resampling.NEAREST))
    base = np.asarray(Image.fromarray(image).resize((small.shape[1], small.shape[0])))
    outline = _outline(small.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1]))
    share = (np.where(outline, 1.0, FILL) * marked)[:, :, None]
    both = ((1 - share) * base + share * small).round().astype(np.uint8)
    return Shown(pairs.file_of(index).rpartition("/")[2], (image, small, both))


def _outline(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for pixels that have another number beside them, at most two pixels away."""
    from scipy.ndimage import maximum_filter, minimum_filter

    found: NDArray[np.bool_] = maximum_filter(numbers, 5) != minimum_filter(numbers, 5)
    return found


def _small(pixels: Pixels, how: Image.Resampling = Image.Resampling.LANCZOS) -> Pixels:
    """As large as it is seen; a small one in whole steps, so that its pixels stay squares."""
    high, wide = pixels.shape[:2]
    scale = SHOWN / max(high, wide)
    scale = max(int(scale), 1) if scale >= 1 else scale
    how = Image.Resampling.NEAREST if scale > 3 else how
    return np.asarray(Image.fromarray(pixels).resize((max(round(wide * scale), 1), max(round(high * scale), 1)), how))


def _raw(path: Any, top: int) -> Pixels:
    mask = stored(path)
    if mask.colored:
        return np.stack([mask.values >> shift & 255 for shift in (16, 8, 0)], axis=2).astype(np.uint8)
    shades = (255 * np.abs(mask.values).clip(0, top) / top).round().astype(np.uint8)
    return np.dstack([shades] * 3)


def _chosen(counts: Mapping[Place, NDArray[np.int64]], seed: int) -> Iterator[Place]:
    """Images at random; those first that have most classes which were not seen yet."""
    places = [*counts]
    order = [places[number] for number in np.random.default_rng(seed).permutation(len(places))]
    present = {place: frozenset(np.flatnonzero(counts[place]).tolist()) for place in order}
    unseen = set[int]().union(*present.values())
    while order:
        best = max(order, key=lambda place: len(present[place] & unseen)) if unseen else order[0]
        order.remove(best)
        unseen -= present[best]
        yield best


# -- legend -----------------------------------------------------------------------------------------------------------

def _legend(pairs: Pairs, counts: Sequence[NDArray[np.int64]], colors: Sequence[str]) -> Iterator[Entry]:
    reading = pairs.reading
    assert reading is not None
    total = max(int(sum(each.sum() for each in counts)), 1)

    def entry(number: int, color: str, name: str, values: Sequence[Any]) -> Entry:
        said = [as_word(packed(value) if isinstance(value, tuple) else value, reading.of) for value in values]
        colors = tuple(map(_hue, range(4))) if number == 1 and reading.kind == "instances" else (color,)
        return Entry(colors, name, ", ".join(said) or "others", sum(int(each[number]) for each in counts) / total,
                     sum(bool(each[number]) for each in counts))

    rows = [entry(number, color, name, values) for number, (color, name, values) in
            enumerate(zip(colors, pairs.classes, reading.values, strict=True))]
    if len(rows) > MOST:        # those that occur most, in their order
        kept = sorted(range(len(rows)), key=lambda number: -rows[number].share)[: MOST - 1]
        yield from (rows[number] for number in sorted(kept))
        yield Entry((COLORS["paper"],), f"{len(rows) - len(kept)} more classes", "",
                    sum(row.share for number, row in enumerate(rows) if number not in kept), 0)
    else:
        yield from rows
    if reading.ignored:
        yield entry(IGNORED, UNCOUNTED, "does not count", reading.ignored)


def _told(legend: Sequence[Entry], images: int) -> list[str]:
    """The legend as lines of text."""
    names = max(len(clipped(each.name, 24)) for each in legend)
    values = max(len(clipped(each.value, 12)) for each in legend)
    return [f"{clipped(each.name, 24):{names}}  {clipped(each.value, 12):>{values}}  {100 * each.share:6.2f} % of the "
            f"pixels, in {each.images} of {images} masks" for each in legend]


# -- the sheet --------------------------------------------------------------------------------------------------------

def _sheet(title: str, told: Sequence[str], color: str, columns: Sequence[str], drawn: Sequence[Shown],
           legend: Sequence[Entry], images: int) -> "Figure":
    """Pictures on the left, a row per image; the legend on the right."""
    named = max((len(clipped(each.name, 20)) for each in legend), default=0) * LETTER
    named += 14 if named else 0
    left = MARGIN + len(columns) * (SIDE + GAP) - GAP + APART       # of the legend
    wide = max(left + 24 + named + VALUE + BAR + SHARE + IMAGES + MARGIN, 620)
    lines = [(line, color if number == 0 else "soft") for number, sentence in enumerate(told)
             for line in textwrap.wrap(sentence, int((wide - 2 * MARGIN) / LETTER), break_long_words=True)]
    top = MARGIN + TITLE + LINE * len(lines) + 12 + HEAD
    heights = [max(min(SIDE, SIDE * picture.shape[0] / max(picture.shape[:2])) for picture in each.pictures)
               for each in drawn]
    high = top + max(sum(heights) + CAPTION * len(drawn), ROW * len(legend)) + MARGIN
    with canvas(wide, high, clipped(title, int(wide / 9))) as (figure, axes):
        for number, (line, shade) in enumerate(lines):
            write(axes, MARGIN, MARGIN + TITLE + LINE * number, line, shade, va="top")
        for number, name in enumerate(columns):
            write(axes, MARGIN + number * (SIDE + GAP), top - 8, name, "soft")
        y = top
        for each, height in zip(drawn, heights, strict=True):
            for number, picture in enumerate(each.pictures):
                show(axes, picture, MARGIN + number * (SIDE + GAP), y, SIDE, height)
            write(axes, MARGIN, y + height + 12, clipped(each.name, 60), "soft", 8)
            y += height + CAPTION
        _draw(axes, legend, left, top, named, images)
    return figure


def _draw(axes: "Axes", legend: Sequence[Entry], left: float, top: float, named: float, images: int) -> None:
    """The legend's rows: colour, name, value, share of the pixels as a bar and in words, masks that have it."""
    from matplotlib.patches import Rectangle

    value, bar = left + 24 + named, left + 24 + named + VALUE
    write(axes, value, top - 8, "value", "soft")
    write(axes, bar, top - 8, "share of the pixels", "soft")
    write(axes, bar + BAR + SHARE + IMAGES, top - 8, f"of {images} masks", "soft", ha="right")
    largest = max((each.share for each in legend), default=1) or 1
    for number, each in enumerate(legend):
        y = top + ROW * number
        for place, color in enumerate(each.colors):
            axes.add_patch(Rectangle((left + 14 / len(each.colors) * place, y + 3), 14 / len(each.colors), 14,
                                     facecolor=color, linewidth=0))
        axes.add_patch(Rectangle((left, y + 3), 14, 14, facecolor="none", edgecolor=COLORS["line"], linewidth=0.8))
        write(axes, left + 24, y + 10, clipped(each.name, 20), "ink", va="center")
        write(axes, value, y + 10, clipped(each.value, 10), "soft", va="center")
        axes.add_patch(Rectangle((bar, y + 5), max(BAR * each.share / largest, 0.6), 10, facecolor=COLORS["accent"],
                                 alpha=0.8, linewidth=0))
        share = "0 %" if each.share == 0 else "< 0.01 %" if each.share < 1e-4 else f"{100 * each.share:.2f} %"
        write(axes, bar + BAR + SHARE - 4, y + 10, share, "ink" if each.share else "wrong", va="center", ha="right")
        write(axes, bar + BAR + SHARE + IMAGES, y + 10, str(each.images or "–"), "soft", va="center", ha="right")


def _rgb(color: str) -> tuple[int, int, int]:
    return unpacked(int(color[1:], 16))


def _gray(value: int, top: int) -> str:
    return f"#{round(255 * min(abs(value), top) / top):02x}" + f"{round(255 * min(abs(value), top) / top):02x}" * 2


def _hue(number: int) -> str:
    """Colours that are far from each other, however many: hues by the golden angle, in three strengths."""
    from colorsys import hsv_to_rgb

    red, green, blue = hsv_to_rgb(0.61803398875 * (number + 1) % 1, (0.62, 0.8, 0.45)[number % 3],
                                  (0.95, 0.75, 0.9)[number % 3])
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
