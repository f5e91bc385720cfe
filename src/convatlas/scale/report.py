"""Files that a search leaves: results.json, and a page with the picture that papers on scaling draw."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup

from .. import bounded
from ..deploy.machine import about as machine_of
from ..draw.canvas import save as save_sheet
from ..draw.graphs import Mark, tradeoff
from ..draw.numbers import short
from ..draw.plots import svg
from ..files import check_format, put
from ..inspect.report import environment
from ..net.model import pair
from .candidates import DIMENSIONS
from .plan import BASE, TOGETHER, Network, Result, Way

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
RESULTS, PICTURE, REPORT = "results.json", "picture.svg", "report.html"


def leave(result: Result, command: str = "", held: Sequence[str] = (), before: Path | None = None) -> Path:
    """Write results.json, its picture and report.html into the folder of the plan, and return the page's path; `held`
    are sentences on whether a rule that was found before held, `before` is the folder of the search that found it.
    """
    plan = result.plan
    stored = {
        "format": FORMAT, "asked": plan.asked, "chosen": result.chosen, "machine": machine_of(("convatlas", "torch")),
        "networks": {name: {"way": each.way, "phi": each.phi, "coefficients": each.coefficients,
                            "fields": each.fields, "macs": each.macs, "params": each.params, "memory": each.memory,
                            "deviation": each.deviation, "departure": each.departure, "latency": each.latency,
                            "test": result.tested.get(name, [])}
                     for name, each in plan.networks.items()},
        "ranking": [{"network": rank.name, "search": list(rank.accuracies), "stopped": rank.behind is None,
                     "behind": None if rank.behind is None else _finite(rank.behind.mean),
                     "low": None if rank.behind is None else _finite(rank.behind.low),
                     "high": None if rank.behind is None else _finite(rank.behind.high)} for rank in result.ranks],
        "versus": [{"network": each.name, "rival": each.rival, "points": each.difference, "low": _finite(each.low),
                    "high": _finite(each.high), "verdict": each.word} for each in result.versus],
        "held": list(held), "command": command,
    }
    put(plan.folder / RESULTS, json.dumps(stored, indent=1) + "\n")
    title = f"{plan.run.model.name} on {Path(plan.run.data.source).name}, scaled"
    drawn = picture(result, _marks(before) if before else {})
    save_sheet(drawn, plan.folder / PICTURE)
    return put(plan.folder / REPORT, page(result, stored, title, drawn, command))


def page(result: Result, stored: dict[str, Any], title: str, drawn: "Figure", command: str) -> str:
    """The page."""
    plan = result.plan
    pages = environment()
    assert pages.loader is not None
    pages.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), pages.loader])
    return pages.get_template("scaling.html.j2").render(
        title=title, result=result, plan=plan, picture=Markup(svg(drawn, "picture", title)),
        chosen=plan.networks.get(result.chosen), rows=[_row(result, each) for each in _shown(result)],
        timed=any(each.latency for each in plan.networks.values()), command=command, held=stored["held"],
        machine=stored["machine"])


def picture(result: Result, before: Mapping[Way, Sequence[Mark]]) -> "Figure":
    """Accuracy on the test part against multiply-adds (the paper's Figures 3 and 8), from the network as it is on;
    `before` are the networks of the search, where what it found is applied.
    """
    networks = [each for each in result.plan.networks.values() if each.name in result.tested]

    def line(way: Way) -> list[Mark]:
        those = [each for each in networks if each.way in (BASE, way) and
                 (way != TOGETHER or each.way == BASE or not result.chosen or each.name == result.chosen)]
        marks = [Mark(each.macs, [100 * share for share in result.tested[each.name]]) for each in those]
        return sorted([*marks, *before.get(way, ())], key=lambda mark: mark.cost)

    ways: tuple[Way, ...] = (*DIMENSIONS, TOGETHER)
    return tradeoff({way: line(way) for way in ways}, "Depth, width, resolution, and all three",
                    names=("multiply-adds", "test part that is right, %"))


def _marks(search: Path) -> dict[Way, list[Mark]]:
    """The chosen network of a search and its rivals, as its results.json has them; none where it has not ended."""
    path = search / RESULTS
    if not path.is_file():
        return {}
    tree = bounded.read_json(path)
    check_format(tree.get("format"), FORMAT, str(path))
    found: dict[Way, list[Mark]] = {}
    for name, each in tree["networks"].items():
        if each["test"] and (each["way"] in DIMENSIONS or name == tree["chosen"]):
            found.setdefault(each["way"], []).append(Mark(each["macs"], [100 * share for share in each["test"]]))
    return found


def _shown(result: Result) -> Iterable[Network]:
    """The networks that saw the test part, then the others."""
    return sorted(result.plan.networks.values(), key=lambda each: each.name not in result.tested)


def _row(result: Result, each: Network) -> dict[str, Any]:
    """One network as the page's table has it."""
    high, wide = pair(result.plan.spec(each.name).image_size)
    accuracies = [100 * share for share in result.tested.get(each.name, ())]
    size = f"{high}×{wide}" + (f" ({100 * each.departure:+.0f} %)" if abs(each.departure) > 0.005 else "")
    return {"name": each.name, "way": each.way, "size": size, "macs": short(each.macs),
            "params": short(each.params), "memory": f"{each.memory / 1e6:.1f} MB",
            "latency": "" if each.latency is None else f"{1000 * each.latency:.2f} ms",
            "deviation": f"{100 * each.deviation:+.1f} %" if each.way != BASE else "",
            "test": f"{sum(accuracies) / len(accuracies):.2f} ({min(accuracies):.2f}–{max(accuracies):.2f})"
            if accuracies else ""}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
