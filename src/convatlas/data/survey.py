"""A look at some pictures before they are used: what values they hold, and what of them is not shown as stored."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..pixels import NOTES, Decoding, decode, plain
from ..run import Run, span_of

SAMPLE = 200        # pictures that are looked at, spread over the set
TOPS = (255, 1023, 4095, 16383, 65535)

Encoded = Callable[[int], Path | bytes | None]      # picture number i as a file or its bytes; None: it is in memory
Tell = Callable[[str], None]


class Survey(NamedTuple):
    """The account of some pictures."""

    looked: int                 # pictures looked at
    largest: float | None       # of whole numbers of more than 8 bits whose range their files do not name
    floats: bool
    notes: Counter[str]         # keys of pixels.NOTES


def survey(count: int, encoded: Encoded, how: Decoding) -> Survey:
    """Some of `count` pictures; those that can hold nothing but 8 bits and no transparency are not decoded."""
    largest: list[float] = []
    floats, notes = False, Counter[str]()
    numbers = range(0, count, max(1, -(-count // SAMPLE)))
    for number in numbers:
        source = encoded(number)
        if source is None:
            return Survey(0, None, False, Counter())
        try:
            if plain(source):
                continue
            found = decode(source, how)
        except Exception:       # as many kinds as Pillow raises; who reads the picture is told of it
            continue
        floats |= found.kind == "f"
        largest += [] if found.largest is None else [found.largest]
        notes.update(found.notes)
    return Survey(len(numbers), max(largest, default=None), floats, notes)


def head_of(encoded: Path | bytes) -> tuple[int, int, int] | None:
    """Channels (1 or 3), height and width, as a picture's head says; None where Pillow does not know it."""
    try:
        with Image.open(encoded if isinstance(encoded, Path) else BytesIO(encoded)) as image:
            return 1 if image.mode[0] in "1LIF" else 3, image.height, image.width
    except Exception:       # as many kinds as Pillow raises
        return None


def notes_of(found: Survey) -> tuple[str, ...]:
    """Sentences for people."""
    return tuple(f"{count} of {found.looked} images looked at {NOTES[note]}." for note, count in found.notes.items())


def understood(run: Run, count: int, encoded: Encoded, tell: Tell) -> Run:
    """The run with `preprocess.range` as its settings say, or as some of its training images suggest, which is told."""
    said = span_of(run.data.range)
    if said is not None:
        return run.change("preprocess.range", said)
    found = survey(count, encoded, Decoding(range=run.preprocess.range, most=run.data.max_pixels))
    top = None if not found.largest or found.floats else next((top for top in TOPS if top >= found.largest), None)
    if top is not None and top < TOPS[-1]:
        del found.notes["dim"]
        tell(f"16-bit images hold values up to {found.largest:g}: they are read as {top.bit_length()} bits "
             f"(data.range = {top}).")
        run = run.change("preprocess.range", (0.0, float(top)))
    for note in notes_of(found):
        tell(note)
    return run
