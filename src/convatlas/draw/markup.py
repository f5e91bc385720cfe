"""Small pieces of HTML: text made safe, sections, tables with bars, numbers as people read them."""

import html
import re
from collections.abc import Iterable, Sequence

KINDS = {"_": "", "o": " class='o'", "n": " class='n'", "w": " class='w'", "x": " class='n w'"}


def clean(text: str) -> str:
    """`text` with line breaks as spaces and what cannot be printed (controls, halves of surrogate pairs) as �."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def clipped(text: str, length: int) -> str:
    """`clean(text)`, at most `length` characters."""
    text = clean(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def safe(text: str) -> str:
    """Text as HTML, fit for an element and for a quoted attribute."""
    return html.escape(clean(text))


def prose(text: str) -> str:
    """`safe`, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", safe(text))


def lines(text: str) -> str:
    """`safe`, with the line breaks kept: for `<pre>`."""
    return "\n".join(map(safe, text.splitlines()))


def section(title: str, body: str) -> str:
    """A heading and what follows it, which is HTML."""
    return f"<section>\n<h2>{safe(title)}</h2>\n{body}\n</section>"


def folded(summary: str, body: str) -> str:
    """HTML that opens with a click."""
    return f"<details><summary>{safe(summary)}</summary>{body}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kinds: str, caption: str = "", foot: Sequence[str] = ()) -> str:
    """A table in a box that scrolls on a narrow page. Cells are HTML; the first column holds names.

    `kinds`, a letter per column: _ text, o soft text, n number, w mistake, x number of mistakes.
    """
    columns = [" class='name'", *(KINDS[kind] for kind in kinds[1:])]
    heads = [f"<th{KINDS['n' if kind in 'nx' else '_']}>{safe(text)}</th>" for text, kind in zip(head, kinds, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<td{c}>{cell}</td>" for c, cell in zip(columns, cells, strict=True)) + "</tr>\n"

    top = f"<caption>{safe(caption)}</caption>" if caption else ""
    end = f"<tfoot>{line(foot)}</tfoot>" if foot else ""
    body = "".join(map(line, rows))
    return f"<div class='scroll'><table>{top}<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>{body}</tbody>{end}</table></div>"


def bar(value: int, total: int) -> str:
    """A number above a bar of its share of `total`; nothing for zero."""
    width = 100 * value / total if value else 0
    return f"{value:,}<span class='bar'><i style='width: {width:.1f}%'></i></span>" if value else ""


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
