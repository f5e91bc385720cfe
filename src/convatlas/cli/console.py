"""The consoles of the command line, one for output and one for errors: numbers, marks and JSON as they write them."""

import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, HighlighterType, JustifyMethod, OverflowMethod, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.status import Status
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ..draw.numbers import duration as duration
from ..draw.numbers import exact as exact
from ..draw.numbers import percent as percent
from ..draw.numbers import short as short
from ..files import escaped
from ..files import shown as shown

WIDE = 240      # columns of a table that goes into a file or a pipe, where nothing need be cut


class _Console(Console):
    """A console that shows what is in names and never obeys it."""

    def render_str(self, text: str, *, style: str | Style = "", justify: JustifyMethod | None = None,
                   overflow: OverflowMethod | None = None, emoji: bool | None = None, markup: bool | None = None,
                   highlight: bool | None = None, highlighter: HighlighterType | None = None) -> Text:
        """The words of a cell or a line, as wide as they will be."""
        return super().render_str(shown(text), style=style, justify=justify, overflow=overflow, emoji=emoji,
                                  markup=markup, highlight=highlight, highlighter=highlighter)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of whatever is printed."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else shown(text), style, control)


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    free = not stream.isatty() and "COLUMNS" not in os.environ
    # :dog: may be a class
    return _Console(stderr=stderr, width=WIDE if free else None, highlight=False, emoji=False)


out, err = _console(stderr=False), _console(stderr=True)


def plain(text: str, *, to: Console = out) -> None:
    """`text` as it is: no markup, no colours, no line breaks put in."""
    to.print(text, markup=False, soft_wrap=True)


def error(sentence: str) -> None:
    """`error: …` on stderr."""
    err.print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)


def warn(sentence: str) -> None:
    """`warning: …` on stderr."""
    err.print(f"[bold yellow]warning:[/] {escape(sentence)}", soft_wrap=True)


def loading() -> Status:
    """A sign of life on a terminal while torch is imported, which takes seconds; for a `with` statement."""
    return err.status("[bright_black]loading torch …[/]")


def document(tree: Any) -> None:
    """One JSON document on stdout; what is not a number becomes null."""
    # a name that is not UTF-8 is escaped as JSON itself would: \udce9
    out.file.write(shown(escaped(json.dumps(_finite(tree), ensure_ascii=False, indent=2, allow_nan=False))) + "\n")


def _finite(tree: Any) -> Any:
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else None
    if isinstance(tree, Mapping):
        return {str(key): _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return tree if isinstance(tree, str | int | None) else str(tree)


def bar(share: float, width: int = 20) -> Text:
    """A probability as a bar of `width` cells at most."""
    full = round(share * width)
    # to be read without colour too
    return Text("━" * full, style="green") + Text("·" * (width - full), style="bright_black")


def table(*headers: str) -> Table:
    """An empty table in the house's style; a header that begins with '>' stands above a column of numbers."""
    made = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        side: JustifyMethod = "right" if header.startswith(">") else "left"
        made.add_column(header.removeprefix(">"), justify=side, overflow="fold")
    return made


class _Handler(logging.Handler):
    """Log handler: the library's messages as sentences on stderr, above the live display where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        word = {"WARNING": "warning: ", "ERROR": "error: ", "CRITICAL": "error: "}.get(record.levelname, "")
        sys.stderr.write(f"{word}{shown(record.getMessage())}\n")


def listen(debug: bool) -> None:
    """Show what the library logs; with `debug` everything it has to say."""
    log = logging.getLogger("convatlas")
    log.handlers = [handler for handler in log.handlers if not isinstance(handler, _Handler)] + [_Handler()]
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    log.propagate = False
