"""Files that a baseline's search leaves: network.yaml, results.json, its picture, a page to open in a browser."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup

from ..arch.efficientnet import EfficientNet
from ..deploy.machine import about
from ..draw.canvas import canvas, graph
from ..draw.canvas import save as save_sheet
from ..draw.numbers import duration, exact
from ..draw.plots import COLORS, svg
from ..files import put
from ..inspect.report import environment
from ..net import described, registry
from ..net.card import Card
from ..run import Model
from . import cost
from .baseline import OVER, Results, Searched
from .baseline_plan import BASE, Plan
from .baseline_rivals import FOUND, Compared
from .evolution import POPULATION, SAMPLE, W
from .price import said
from .space import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMAT = 1
NETWORK, RESULTS, PICTURE, REPORT = "network.yaml", "results.json", "picture.svg", "report.html"
WIDE, HIGH, LEFT, GAP = 330, 250, 58, 74        # of a graph, left of the first, and between two, in units
ROW = 24


def leave(out: Path, data: str, plan: Plan, searched: Searched, compared: Compared | None, command: str) -> Path:
    """Write the files into `out`; returns the network's."""
    spec = searched.spec
    put(out / RESULTS, json.dumps(_stored(plan, searched, compared, command), separators=(",", ":")) + "\n")
    drawn = picture(plan, searched)
    save_sheet(drawn, out / PICTURE)
    put(out / REPORT, page(data, plan, searched, compared, drawn, command))
    head = (f"Found by a search on {data}: {plan.price.words(spec)}, at most {said(plan.price.unit, plan.target)} "
            f"wanted.\n{exact(cost.params(spec))} parameters, {exact(cost.macs(spec))} multiply-adds.\n"
            f"convatlas train {NETWORK} DATA")
    return described.write(out / NETWORK, network(spec), head)


def network(spec: EfficientNet) -> Model:
    """The network as a file has it: what is changed of EfficientNet-B0, the rows of its table by their columns."""
    fields = Card(BASE, spec, registry.variant(BASE).spec).fields
    return Model(name=BASE, fields={**fields, "table": [row._asdict() for row in spec.table]})


def front(results: Results) -> list[int]:
    """Those that no other beats in both accuracy and price, from cheap to dear."""
    best, found = -1.0, []
    for number, (_, record) in sorted(results.items(), key=lambda each: (each[1][1].price, -each[1][1].accuracy)):
        if record.accuracy > best:
            best = record.accuracy
            found.append(number)
    return found


def ordered(searched: Searched) -> tuple[int, int]:
    """Of the pairs that were trained in full, those that one epoch put in the same order, and all."""
    first = {spec: record.accuracy for spec, record in searched.tried.values()}
    pairs = [(first[a], x.accuracy, first[b], y.accuracy) for (a, x), (b, y) in combinations(searched.full.values(), 2)
             if a in first and b in first]
    return sum((a - b) * (x - y) > 0 for a, x, b, y in pairs), len(pairs)


# -- pictures --------------------------------------------------------------------------------------------------------

def picture(plan: Plan, searched: Searched) -> "Figure":
    """Accuracy against cost of everything that was tried: after one epoch with the front, and of the few in full."""
    tried, full = searched.tried, searched.full
    lines = [f"{len(tried)} networks trained for one epoch, pale to dark as they were tried, their front, and the "
             "target, dashed.",
             f"{len(full)} of them, in rings, trained in full, {plan.run.train.epochs} epochs; blue: what was found, "
             f"number {_number(searched, searched.chosen)}."]
    with canvas(2 * (WIDE + GAP) + LEFT, HIGH + 190, "Accuracy against cost", lines) as (drawn, _):
        axes = graph(drawn, LEFT, 120, WIDE, HIGH)
        whole = {spec for spec, _ in full.values()}
        for i, (spec, record) in enumerate(tried.values()):
            axes.plot(_priced(plan, record.price), 100 * record.accuracy, "o", markersize=5, color=COLORS["train"],
                      alpha=0.25 + 0.6 * (i + 1) / len(tried), markeredgewidth=0)
            if spec in whole:
                color = COLORS["accent" if spec == searched.spec else "ink"]
                axes.plot(_priced(plan, record.price), 100 * record.accuracy, "o", markersize=9, fillstyle="none",
                          color=color, markeredgewidth=1.4)
        ends = [tried[number][1] for number in front(tried)]
        axes.plot([_priced(plan, each.price) for each in ends], [100 * each.accuracy for each in ends],
                  color=COLORS["wrong"], linewidth=1.2)
        _named(axes, plan, "after one epoch")
        axes = graph(drawn, LEFT + WIDE + GAP, 120, WIDE, HIGH)
        for number, (spec, record) in full.items():
            color = COLORS["accent" if spec == searched.spec else "ink"]
            axes.plot(_priced(plan, record.price), 100 * record.accuracy, "o", markersize=7, color=color)
            axes.annotate(str(_number(searched, number)), (_priced(plan, record.price), 100 * record.accuracy),
                          xytext=(8, 3), textcoords="offset points", fontsize=10, color=color)
        _named(axes, plan, f"after {plan.run.train.epochs} epochs")
        return drawn


def rows_of_dots(compared: Compared) -> "Figure":
    """A row per network: a dot per seed, a bar at their mean."""
    rows = {FOUND: compared.accuracies, **{rival.name: rival.accuracies for rival in compared.rivals}}
    with canvas(LEFT + WIDE + 320, 170 + ROW * len(rows), "By the test part",
                [f"a dot per seed, {len(compared.accuracies)} each, and their mean"]) as (drawn, _):
        axes = graph(drawn, 220, 90, WIDE + 60, ROW * len(rows))
        for i, values in enumerate(rows.values()):
            y, mean = len(rows) - 1 - i, 100 * sum(values) / len(values)
            axes.plot([100 * value for value in values], [y] * len(values), "o", color=COLORS["accent"], alpha=0.5,
                      markersize=6, markeredgewidth=0)
            axes.plot([mean, mean], [y - 0.3, y + 0.3], color=COLORS["ink"], linewidth=1.8)
            axes.annotate(f"{mean:.2f}", (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=10.5,
                          color=COLORS["ink"])
        axes.set_yticks(range(len(rows)), [*rows][::-1], color=COLORS["ink"])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel("accuracy, %", fontsize=10.5, color=COLORS["soft"])
        return drawn


def _named(axes: "Axes", plan: Plan, when: str) -> None:
    axes.axvline(_priced(plan, plan.target), color=COLORS["soft"], linewidth=1, linestyle=(0, (4, 3)))
    axes.grid(color=COLORS["line"], linewidth=0.7)
    axes.set_xlabel("million multiply-adds" if plan.price.unit == "macs" else "ms", fontsize=10.5, color=COLORS["soft"])
    axes.set_ylabel(f"accuracy {when}, %", fontsize=10.5, color=COLORS["soft"])


def _priced(plan: Plan, price: float) -> float:
    return price / 1e6 if plan.price.unit == "macs" else 1000 * price


def _number(searched: Searched, full: int) -> int:
    """The number under which a network that was trained in full was tried first."""
    spec = searched.full[full][0]
    return next(number for number, (tried, _) in searched.tried.items() if tried == spec)


# -- the page --------------------------------------------------------------------------------------------------------

def page(data: str, plan: Plan, searched: Searched, compared: Compared | None, drawn: "Figure", command: str) -> str:
    """The page of a search."""
    pages = environment()
    assert pages.loader is not None
    pages.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent), pages.loader])
    same, pairs = ordered(searched)
    spent = sum(record.seconds for results in (searched.tried, searched.full) for _, record in results.values())
    return pages.get_template("baseline.html.j2").render({
        "data": data, "network": NETWORK, "price": plan.price.words(searched.spec),
        "target": said(plan.price.unit, plan.target), "over": OVER,
        "params": cost.params(searched.spec), "macs": cost.macs(searched.spec),
        "accuracy": searched.full[searched.chosen][1].accuracy, "searched": plan.images.searched,
        "picture": Markup(svg(drawn, "picture", "accuracy against cost")),
        "rows": list(zip(_rows(searched.spec.table), _rows(plan.start.table), strict=True)),
        "image_size": searched.spec.image_size, "few": _few(plan, searched), "same": same, "pairs": pairs,
        "compared": compared,
        "dots": compared and Markup(svg(rows_of_dots(compared), "dots", "accuracies by the test part")),
        "tested": plan.images.tested, "learnt": plan.images.learnt, "epochs": plan.run.train.epochs,
        "tried": len(searched.tried), "size": f"{plan.space.size:.1e}", "w": W, "population": POPULATION,
        "sample": SAMPLE, "unit": plan.price.unit, "error": plan.price.error, "spent": duration(spent),
        "zipped": zip, "words": partial(said, plan.price.unit),
        "recipe": plan.run.recipe, "machine": about(("convatlas", "torch")), "command": command,
    })


def _rows(table: Table) -> list[tuple[str, ...]]:
    return [(f"MBConv{row.expand}" if row.expand else "Conv", f"{row.kernel}×{row.kernel}", str(row.channels),
             str(row.layers), ("yes" if row.se else "no") if row.expand else "") for row in table]


def _few(plan: Plan, searched: Searched) -> Sequence[dict[str, object]]:
    first = dict(searched.tried.values())
    return [{"number": _number(searched, number), "price": said(plan.price.unit, record.price),
             "first": first[spec].accuracy, "full": record.accuracy, "start": spec == plan.start,
             "found": number == searched.chosen} for number, (spec, record) in searched.full.items()]


def _stored(plan: Plan, searched: Searched, compared: Compared | None, command: str) -> dict[str, object]:
    def listed(results: Results) -> list[dict[str, object]]:
        return [{"number": number, "decided": plan.space.decided(spec), **asdict(record)}
                for number, (spec, record) in results.items()]

    return {"format": FORMAT, "unit": plan.price.unit, "target": plan.target, "start": network(plan.start).fields,
            "one_epoch": listed(searched.tried), "full": listed(searched.full), "chosen": searched.chosen,
            "found": network(searched.spec).fields,
            "compared": compared and {"accuracies": compared.accuracies,
                                      "latencies": {name: asdict(each) for name, each in compared.latencies.items()},
                                      "rivals": [{**asdict(each), "word": each.word} for each in compared.rivals],
                                      "networks": {name: network(spec).fields
                                                   for name, spec in compared.specs.items()}},
            "machine": about(("convatlas", "torch")), "command": command}
