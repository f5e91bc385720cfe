"""Numbers as people read them: 60.97M, 60 000, 98.33 %, 1:15."""

import math
from collections.abc import Mapping
from typing import Any

VERDICTS = {                # on a published figure → its mark, and what it means
    "match": ("✓", "the same"),
    "explained": ("≈", "differs, and the reason is known"),
    "mismatch": ("✗", "differs"),
    "not reproduced here": ("–", "only training could tell"),
    "not built here": ("·", "of a network that is not here"),
}


def short(number: float) -> str:
    """60000 as '60.0k', 60965224 as '60.97M'."""
    for unit, sign, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e3, "k", 1)):
        if number >= unit:
            return f"{number / unit:.{digits}f}{sign}"
    return f"{number:g}"


def tick(number: float) -> str:
    """1500000 as '1.5M'."""
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{sign}"
    return f"{number:.3g}"


def exact(number: float) -> str:
    """60000 as '60 000'."""
    return f"{number:,}".replace(",", " ")


def percent(share: float) -> str:
    """0.9833 as '98.33 %'; a dash where there is nothing to share."""
    return "–" if math.isnan(share) else f"{share * 100:.2f} %"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 75 as '1:15'."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def figure(value: Any) -> str:
    """A published figure to read: thousands apart, shapes with ×."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {figure(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        shape = all(isinstance(part, int) for part in value)
        return "×".join(map(str, value)) if shape else ", ".join(map(figure, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return exact(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
