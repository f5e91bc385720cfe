"""What `--help` of every command says, as text that does not depend on Typer's way of drawing it.

`uv run python tests/golden/helps.py` writes tests/golden/help/ anew: after a change of the command line that is meant.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from typer import Typer
from typer.models import OptionInfo, ParameterInfo

FOLDER = Path(__file__).parent / "help"


def helps() -> dict[str, str]:
    """Command → its text; the names of commands in commands have a space."""
    from convatlas.cli.app import app

    return {name or "convatlas": _text(name, call, brief) for name, call, brief in _commands(app)}


def _commands(app: Typer, name: str = "") -> Iterator[tuple[str, Callable[..., Any] | None, str]]:
    yield name, app.registered_callback.callback if app.registered_callback else None, str(app.info.help or "")
    for command in app.registered_commands:
        yield (f"{name} {command.name or command.callback.__name__}".strip(), command.callback,
               str(command.short_help or ""))
    for group in app.registered_groups:
        yield from ((full, call, brief if full != group.name else str(group.short_help or brief))
                    for full, call, brief in _commands(group.typer_instance, group.name))


def _text(name: str, call: Callable[..., Any] | None, brief: str) -> str:
    lines = [f"convatlas {name}".strip(), brief, "", _filled(inspect.getdoc(call) or "") if call else ""]
    panels: dict[str, list[str]] = {}
    hints = get_type_hints(call, include_extras=True) if call else {}
    for key, parameter in inspect.signature(call).parameters.items() if call else ():
        kind, *rest = get_args(hints[key]) or (None,)
        info = next((each for each in rest if isinstance(each, ParameterInfo)), None)
        if info is None:        # Typer's own context
            continue
        words = [info.default, *(info.param_decls or ())] if isinstance(info, OptionInfo) else []
        words += [info.metavar] if info.metavar else []
        default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        said = f"  {' '.join(words)}  ({_kind(kind)}{default}{', shown' if info.show_default else ''})"
        panels.setdefault(info.rich_help_panel or "Arguments", []).extend([said, f"      {info.help}"])
    for panel, found in panels.items():
        lines += ["", panel, *found]
    return "\n".join(lines).rstrip() + "\n"


def _filled(text: str) -> str:
    """Each paragraph on one line, as a terminal's width decides where it is broken; indented lines as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


def _kind(hint: Any) -> str:
    """A type in words that are the same in every version of Python."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return "|".join(map(str, inner))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_kind, inner))
    return f"{hint.__name__} of {_kind(inner[0])}" if inner else "None" if hint is NoneType else hint.__name__


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for command, text in helps().items():
        (FOLDER / f"{command.replace(' ', '-')}.txt").write_text(text, encoding="utf-8")
