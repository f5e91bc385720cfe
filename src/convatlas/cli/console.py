"""The consoles of the command line, one for output and one for errors: numbers, marks and JSON as they write them."""

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ..draw.numbers import duration as duration
from ..draw.numbers import exact as exact
from ..draw.numbers import percent as percent
from ..draw.numbers import short as short
from ..files import escaped

WIDE = 240      # columns of a table that goes into a file or a pipe, where nothing need be cut


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    free = not stream.isatty() and "COLUMNS" not in os.environ
    # :dog: may be a class
    return Console(stderr=stderr, width=WIDE if free else None, highlight=False, emoji=False)


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
    out.file.write(escaped(json.dumps(_finite(tree), ensure_ascii=False, indent=2, allow_nan=False)) + "\n")


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
        sys.stderr.write(f"{word}{record.getMessage()}\n")


def listen(debug: bool) -> None:
    """Show what the library logs; with `debug` everything it has to say."""
    log = logging.getLogger("convatlas")
    log.handlers = [handler for handler in log.handlers if not isinstance(handler, _Handler)] + [_Handler()]
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    log.propagate = False
