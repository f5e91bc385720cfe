"""Text for pages and pictures: names made safe, numbers as people read them."""

import html
import re
from pathlib import Path

from markupsafe import Markup

COLORS = Path(__file__).with_name("colors.css")     # of every page that is written


def clean(text: str) -> str:
    """`text` with line breaks as spaces and what cannot be printed (controls, halves of surrogate pairs) as �."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def clipped(text: str, length: int) -> str:
    """`clean(text)`, at most `length` characters."""
    text = clean(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def safe(text: str) -> str:
    """Text as markup, fit for an element and for a quoted attribute."""
    return html.escape(clean(text))


def prose(text: str) -> Markup:
    """Prose as markup, with what stands between backticks as code."""
    parts = re.split(r"`([^`]+)`", clean(text))
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def lines(text: str) -> Markup:
    """Text as markup, with its line breaks."""
    return Markup("\n").join(map(clean, text.splitlines()))


def markdown(text: str) -> str:
    """Text as Markdown that shows it as it is, also in a cell of a table."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", safe(text))


def counted(n: int, thing: str) -> str:
    """`1 class`, `1,000 classes`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}{'es' if thing.endswith('s') else 's'}"


def percent(share: float, digits: int = 2) -> str:
    """A share as a number of per cent, `98.61`; exactly one is `100`."""
    return "100" if share == 1 else f"{100 * share:.{digits}f}"


def duration(seconds: float) -> str:
    """`8.4 s`, `3 min 12 s` or `2 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
