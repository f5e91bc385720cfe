"""Files that a search leaves: results.json, and a page with the picture that papers on scaling draw."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup

from ..deploy.machine import about as machine_of
from ..draw.graphs import Mark, tradeoff
from ..draw.numbers import short
from ..draw.plots import svg
from ..files import put
from ..inspect.report import environment
from ..net.model import pair
from .candidates import DIMENSIONS
from .plan import BASE, TOGETHER, Network, Result, Way

FORMAT = 1
RESULTS, REPORT = "results.json", "report.html"


def leave(result: Result, command: str = "", held: Sequence[str] = ()) -> Path:
    """Write results.json and report.html into the folder of the plan, and return the page's path; `held` are sentences
    on whether a rule that was found before held.
    """
    plan = result.plan
    stored = {
        "format": FORMAT, "asked": plan.asked, "chosen": result.chosen, "machine": machine_of(("convatlas", "torch")),
        "networks": {name: {"way": each.way, "phi": each.phi, "coefficients": each.coefficients,
                            "fields": each.fields, "macs": each.macs, "params": each.params, "memory": each.memory,
                            "deviation": each.deviation, "latency": each.latency, "test": result.tested.get(name, [])}
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
    return put(plan.folder / REPORT, page(result, stored, command))


def page(result: Result, stored: dict[str, Any], command: str) -> str:
    """The page."""
    plan = result.plan
    pages = environment()
    assert pages.loader is not None
    pages.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), pages.loader])
    title = f"{plan.run.model.name} on {Path(plan.run.data.source).name}, scaled"
    return pages.get_template("scaling.html.j2").render(
        title=title, result=result, plan=plan, picture=Markup(svg(picture(result), "picture", title)),
        chosen=plan.networks.get(result.chosen), rows=[_row(result, each) for each in _shown(result)],
        timed=any(each.latency for each in plan.networks.values()), command=command, held=stored["held"],
        machine=stored["machine"])


def picture(result: Result) -> Any:
    """Accuracy on the test part against multiply-adds (the paper's Figures 3 and 8), from the network as it is on."""
    networks = [each for each in result.plan.networks.values() if each.name in result.tested]

    def line(way: Way) -> list[Mark]:
        those = [each for each in networks if each.way in (BASE, way) and
                 (way != TOGETHER or each.way == BASE or not result.chosen or each.name == result.chosen)]
        return [Mark(each.macs, [100 * share for share in result.tested[each.name]])
                for each in sorted(those, key=lambda each: each.macs)]

    ways: tuple[Way, ...] = (*DIMENSIONS, TOGETHER)
    return tradeoff({way: line(way) for way in ways}, "Depth, width, resolution, and all three",
                    names=("multiply-adds", "test part that is right, %"))


def _shown(result: Result) -> Iterable[Network]:
    """The networks that saw the test part, then the others."""
    return sorted(result.plan.networks.values(), key=lambda each: each.name not in result.tested)


def _row(result: Result, each: Network) -> dict[str, Any]:
    """One network as the page's table has it."""
    high, wide = pair(result.plan.spec(each.name).image_size)
    accuracies = [100 * share for share in result.tested.get(each.name, ())]
    return {"name": each.name, "way": each.way, "size": f"{high}×{wide}", "macs": short(each.macs),
            "params": short(each.params), "memory": f"{each.memory / 1e6:.1f} MB",
            "latency": "" if each.latency is None else f"{1000 * each.latency:.2f} ms",
            "deviation": f"{100 * each.deviation:+.1f} %" if each.way != BASE else "",
            "test": f"{sum(accuracies) / len(accuracies):.2f} ({min(accuracies):.2f}–{max(accuracies):.2f})"
            if accuracies else ""}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
