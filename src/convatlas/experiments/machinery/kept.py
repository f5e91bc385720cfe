"""Results of experiments that come with the package, as `convatlas reproduce` left them, and what was found of claims
that did not hold. `benchmarks/experiments_page.py` keeps them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ...run import read_yaml
from .page import again, place, read

KEPT = Path(__file__).parents[1] / "results"
LOOKED_INTO = KEPT / "looked_into.yaml"
MARKS = {"holds": "✓", "does not hold here": "✗", "too small to tell": "?"}


@cache
def kept() -> dict[str, dict[str, Any]]:
    """Results by their names, in alphabetical order: an experiment's, with its size where that is not the quick one."""
    return {path.stem: _whole(read(path)) for path in sorted(KEPT.glob("*.json"))}


def _whole(stored: dict[str, Any]) -> dict[str, Any]:
    """Results with the command that runs them again, which older ones lack."""
    images = stored["protocol"]["images"]
    return {"command": again(stored["experiment"], stored["size"], images["source"] if images else ""), **stored}


def name_of(stored: Mapping[str, Any]) -> str:
    """The name under which these results are kept."""
    return place(KEPT, stored["experiment"], stored["size"]).name


def looked_into() -> dict[str, str]:
    """Notes on claims that did not hold: the name of a result → Markdown."""
    return {name: text.strip() for name, text in (read_yaml(LOOKED_INTO.read_text(encoding="utf-8")) or {}).items()}


def said(verdict: Mapping[str, Any]) -> str:
    """The claim as a sentence without its full stop."""
    return str(verdict["text"][0].upper() + verdict["text"][1:])


def effect(verdict: Mapping[str, Any]) -> str:
    """The effect, its interval where it has one, the unit, and what it must pass."""
    interval = "" if verdict["low"] == verdict["high"] else f" [{verdict['low']:.3g}, {verdict['high']:.3g}]"
    passed = f", above {verdict['above']:g}" if verdict["above"] else ""
    return f"{verdict['effect']:.3g}{interval} {verdict['unit']}{passed}"
