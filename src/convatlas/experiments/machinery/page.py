"""Files that an experiment leaves: results.json, its picture, a page to open in a browser; one page of them all."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isclose
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup

from ... import bounded
from ...deploy.machine import about as machine_of
from ...draw.plots import svg
from ...errors import ConvatlasError
from ...files import check_format, put
from ...inspect.report import environment
from .conduct import Conducted
from .pictures import intervals, picture_file
from .plan import Experiment, Protocol, Results, Size, same
from .verdict import Verdict, judge

FORMAT = 1
RESULTS, PICTURE, REPORT = "results.json", "picture.svg", "report.html"
ASIDE = ("train_loss", "test_loss", "seconds")     # figures that stand in results.json only
SHOWN = 90          # characters of a changed field's value on the page


def leave(out: Path, name: str, said: str, experiment: Experiment, protocol: Protocol, size: Size,
          conducted: Conducted, command: str = "") -> tuple[Verdict, ...]:
    """Write results.json, the picture and the page into `out`; returns the verdicts. `said` is the protocol in words,
    `command` what runs it again where that is not `reproduce`.
    """
    verdicts = judge(experiment.claimed(protocol), conducted.results.paired)
    stored = {
        "format": FORMAT, "experiment": name, "title": experiment.title, "paper": experiment.paper, "size": size,
        "protocol": protocol.plain(),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "tuning": {arm: {"chosen": each.chosen, "edge": each.edge, "errors": {f"{rate:g}": list(errors)
                                                           for rate, errors in each.errors.items()}}
                   for arm, each in conducted.tuning.items()},
        "figures": {str(seed): by_arm for seed, by_arm in conducted.results.figures.items()},
        "rows": {str(seed): {arm: columns(rows) for arm, rows in by_arm.items()}
                 for seed, by_arm in conducted.results.rows.items()},
        "cpu_minutes": round(conducted.cpu / 60, 2),
        "machine": machine_of(("convatlas", "torch")),
        "command": command or again(name, size, protocol.images.source if protocol.images else ""),
    }
    put(out / RESULTS, json.dumps(stored, separators=(",", ":")) + "\n", "name another folder with --out", parents=True)
    drawn = experiment.picture(conducted.results)
    put(out / PICTURE, picture_file(drawn, "svg"))
    put(out / REPORT, page(name, said, experiment, protocol, stored, verdicts, svg(drawn, "picture", experiment.title)))
    return verdicts


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Rows as columns, to five digits."""
    return {name: [float(f"{row.get(name, float('nan')):.5g}") for row in rows] for name in (rows[0] if rows else ())}


def read(path: Path) -> dict[str, Any]:
    """The stored results of an experiment; ConvatlasError where they cannot be read or are of a newer format."""
    try:
        stored: dict[str, Any] = json.loads(bounded.text(path))
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"{str(path)!r} cannot be read as results of an experiment: {error}") from error
    check_format(stored.get("format"), FORMAT, str(path))
    return stored


def results_of(stored: Mapping[str, Any]) -> Results:
    """The results that a file holds."""
    rows = {int(seed): {arm: [dict(zip(each, values, strict=True)) for values in zip(*each.values(), strict=True)]
                        for arm, each in by_arm.items()}
            for seed, by_arm in stored["rows"].items()}
    return Results(tuple(stored["protocol"]["arms"]),
                   {int(seed): by_arm for seed, by_arm in stored["figures"].items()}, rows)


def current(stored: Mapping[str, Any], experiment: Experiment) -> bool:
    """True where stored results are of the experiment's protocol as it stands, and its claims, asked of their figures,
    give the verdicts that are stored. The words of a claim are no part of it.
    """
    protocol = experiment.protocol(stored["size"])
    if not same(protocol, stored["protocol"]):
        return False
    now, then = judge(experiment.claimed(protocol), results_of(stored).paired), stored["verdicts"]
    return len(now) == len(then) and all(
        (each.word, each.above) == (old["word"], old["above"]) and len(each.effects) == len(old["effects"])
        and all(isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(each.effects, old["effects"], strict=True))
        for each, old in zip(now, then, strict=True))


def page(name: str, said: str, experiment: Experiment, protocol: Protocol, stored: Mapping[str, Any],
         verdicts: Sequence[Verdict], picture: str) -> str:
    """The page of one experiment."""
    return _render("experiment", told(name, said, experiment, protocol, stored, verdicts, picture))


def told(name: str, said: str, experiment: Experiment, protocol: Protocol, stored: Mapping[str, Any],
         verdicts: Sequence[Verdict], picture: str) -> dict[str, Any]:
    """The values of results.html.j2."""
    results = results_of(stored)
    figures = dict.fromkeys(figure for by_arm in results.paired for each in by_arm.values() for figure in each
                            if figure not in ASIDE and "/" not in figure)
    table = [(arm, _changes(protocol, arm), [_spread(results.of(arm, figure)) for figure in figures])
             for arm in results.arms]
    return {
        "name": name, "title": experiment.title, "paper": experiment.paper, "said": said.split("\n\n"),
        "verdicts": verdicts, "intervals": Markup(svg(intervals(verdicts), "intervals", "effects and intervals")),
        "picture": Markup(picture), "figures": list(figures), "table": table, "stored": stored,
        "tuning": stored["tuning"], "images": stored["protocol"]["images"], "seeds": len(results.paired),
    }


def overview(out: Path) -> Path:
    """index.html in `out`: one page that shows all results in the folders below it."""
    found = {path.parent.name: read(path) for path in sorted(out.glob(f"*/{RESULTS}"))}
    return put(out / "index.html", _render("overview", {"found": found, "picture": PICTURE, "report": REPORT}))


def again(name: str, size: Size, source: str) -> str:
    """The command that runs an experiment again: the standard size is the one that `--data` asks for."""
    return f"convatlas reproduce {name} " + (f"--data {shlex.quote(source)}" if size == "standard" else f"--{size}")


def place(out: Path, name: str, size: Size) -> Path:
    """The folder of an experiment's results below `out`: one per size."""
    return out / (name if size == "quick" else f"{name}-{size}")


def _render(template: str, values: Mapping[str, Any]) -> str:
    pages = environment()
    assert pages.loader is not None
    pages.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), pages.loader])
    return pages.get_template(f"{template}.html.j2").render(values)


def _changes(protocol: Protocol, name: str) -> list[str]:
    arm = next(each for each in protocol.arms if each.name == name)
    pairs = [(f"{field}.{key}", inner) for field, value in arm.changes.items() if field == "model.fields"
             for key, inner in value.items()]
    pairs += [(field, value) for field, value in arm.changes.items() if field != "model.fields"]
    return [f"{field} = {_short(value)}" for field, value in pairs]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _spread(values: Sequence[float]) -> str:
    """The mean and, of several, the least and the most."""
    mean = sum(values) / len(values)
    return f"{mean:.4g}" if min(values) == max(values) else f"{mean:.4g} ({min(values):.4g}–{max(values):.4g})"
