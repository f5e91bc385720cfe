"""report.html of a run folder: one page that opens anywhere, without network, scripts or files beside it."""

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from ..data.images import ImageSet, UnreadableImage
from ..draw import plots
from ..draw.markup import COLORS, clean, counted, duration, lines, percent, prose
from ..engine.records import read_rows
from ..evaluation.statistics import wilson
from ..files import put
from ..run import Run
from ..runs.folder import CONFIG, METRICS, REPORT
from ..version import __version__

if TYPE_CHECKING:
    from ..engine.evaluate import Evaluation
    from ..net.layers import Layer

MISTAKES, FILTERS, PAIRS = 24, 96, 12       # most pictures, filters and confused pairs shown
LONG = 40                                   # layers from which their table is folded up
BESIDE = 12                                 # classes to which matrix and table fit side by side
# longest side of a picture in the page; to which its pixels stay sharp squares
SHOWN, CRISP = 96, 64


def write_report(folder: Path, *, run: Run, title: str, idea: str, layers: "Sequence[Layer]", evaluation: "Evaluation",
                 images: ImageSet, classes: Sequence[str], filters: Tensor | None, facts: Mapping[str, str]) -> Path:
    """Write `folder`/report.html, replacing an older one, and return its path.

    The curves come from the folder's metrics.csv, date and versions from its config.yaml, where they exist.
    `evaluation` is of the weights kept, on `images`, whose classes are `classes`; `filters` (cout, cin, h, w) are those
    of the first layer, `facts` label → text. Raises ConvatlasError where the folder cannot be written.
    """
    rows, name = read_rows(folder / METRICS), folder.resolve().name
    matrix, names = _in_use(evaluation.confusion, classes)
    right = int(evaluation.right.sum())
    params, macs = sum(layer.params for layer in layers), sum(layer.macs for layer in layers)
    page = environment().get_template("report.html.j2").render(
        title=title, idea=idea, folder=name, again=shlex.quote(f"{name}/{CONFIG}"), version=__version__,
        count=evaluation.count, right=right, interval=wilson(right, evaluation.count), skipped=evaluation.skipped,
        numbers=_numbers(run, _origin(folder), evaluation, rows, len(classes), params, macs),
        epochs=len(rows), metrics=METRICS, curves=_curves(rows),
        classes=len(names), confusion=_confusion(matrix, names) if matrix.sum() else None, PAIRS=PAIRS,
        mistakes=[_mistake(evaluation, images, names, row) for row in _worst(evaluation)], SHOWN=SHOWN,
        filters=None if filters is None or not len(filters) else _filters(filters, layers),
        layers=layers, params=params, macs=macs, LONG=LONG,
        facts=facts, config=run.to_yaml(), config_name=CONFIG,
    )
    put(folder / REPORT, page, "make room there, or write to another folder")
    return folder / REPORT


# -- text ------------------------------------------------------------------------------------------------------------

def environment() -> Environment:
    """The templates' surroundings: all text is cleaned, then escaped; only `Markup` passes as it is."""
    page = Environment(loader=FileSystemLoader([Path(__file__).parent, COLORS.parent]), autoescape=True,
                       finalize=_cleaned, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"counted": counted, "lines": lines, "number": "{:,}".format, "percent": percent, "prose": prose,
                     "share": _share}
    return page


def _cleaned(value: Any) -> Any:
    return clean(value) if type(value) is str else value        # Markup is a str too


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


# -- what the page shows ---------------------------------------------------------------------------------------------

def _numbers(run: Run, origin: "Origin", evaluation: "Evaluation", rows: Sequence[Mapping[str, float]],
             num_classes: int, params: int, macs: int) -> dict[str, str]:
    best = plots.best_row(rows)
    source = Path(run.data.source).name or run.data.source
    pairs = {
        "Network": run.model.name,
        "Data": f"{source}, {counted(num_classes, 'class')}",
        "Best epoch": f"{best['epoch']:.0f} of {rows[-1]['epoch']:.0f}" if best else "–",
        "Began": origin.began,
        "Took": duration(rows[-1]["seconds"]) if rows else "–",
        "Parameters": f"{params:,}",
        "Multiply-adds": f"{macs:,}",
        "Validation loss": f"{evaluation.loss:.4g}" if evaluation.count else "–",
        "Top-5 accuracy": f"{percent(evaluation.top5)} %" if evaluation.count else "–",
        "Seed": str(run.train.seed),
        "convatlas": origin.convatlas,
        "torch": origin.torch,
    }
    if num_classes <= 5:
        del pairs["Top-5 accuracy"]
    return pairs


class Origin(NamedTuple):
    """Versions that wrote a run, and when it began."""

    convatlas: str
    torch: str
    began: str


def _origin(folder: Path) -> Origin:
    """Versions and time from the first line of config.yaml; without it today's versions and the time of metrics.csv."""
    try:
        head = (folder / CONFIG).read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, UnicodeDecodeError):
        head = ""
    found = re.match(r"# convatlas (\S+), torch (\S+), .*?(\d{4}-\d\d-\d\d \d\d:\d\d(?: \S+)?)\s*$", head)
    if found:
        return Origin(found[1], found[2], found[3])
    metrics = folder / METRICS
    when = datetime.fromtimestamp(metrics.stat().st_mtime if metrics.exists() else time.time())
    return Origin(__version__, version("torch"), f"{when:%Y-%m-%d %H:%M}")


def _curves(rows: Sequence[Mapping[str, float]]) -> list[Markup]:
    return [Markup(plots.svg(plots.curves(rows, [name]), name, panel.title))
            for name, panel in plots.PANELS.items()] if rows else []


def _confusion(matrix: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Drawn where the classes are not too many; beside it, or folded below it, a row per class."""
    k, numbered = len(names), len(names) <= plots.NUMBERED
    found: dict[str, Any] = {
        "drawn": None, "folded": not numbered, "layout": "stack" if BESIDE < k <= plots.NUMBERED else "pair",
        "per_class": list(zip(names, matrix.sum(1).tolist(), matrix.sum(0).tolist(), matrix.diagonal().tolist(),
                              strict=True)), "pairs": [] if numbered else _pairs(matrix, names),
    }
    if k <= plots.MAPPED:
        figure = plots.confusion(matrix, names)
        # pixels; narrower pages scroll
        found["least"] = figure.get_figwidth() * plots.UNITS * (0.75 if numbered else 0.55)
        found["drawn"] = Markup(plots.svg(figure, "confusion",
                                          "Confusion matrix: true classes in rows, predictions in columns"))
    return found


def _pairs(matrix: Tensor, names: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """Classes taken for others, the most frequent first: true, said, how often, pictures of the true one."""
    found = [(int(matrix[i, j]), i, j) for i, j in matrix.nonzero().tolist() if i != j]
    found.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [(names[i], names[j], times, int(matrix[i].sum())) for times, i, j in found]


def _worst(evaluation: "Evaluation") -> list[int]:
    """The rows of the most confident mistakes."""
    wrong = (~evaluation.right).nonzero().flatten()
    rows: list[int] = wrong[evaluation.confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist()
    return rows


def _mistake(evaluation: "Evaluation", images: ImageSet, names: Sequence[str], row: int) -> dict[str, Any]:
    index, label = int(evaluation.indices[row]), evaluation.labels[row]
    true = label.nonzero().flatten().tolist() if label.ndim else [int(label)]
    found = {
        "truth": ", ".join(names[number] for number in true) or "none",
        "said": names[int(evaluation.predictions[row])],
        "confidence": float(evaluation.confidence[row]),
        # enough to find it; the rest of the path stays private
        "where": "/".join(Path(images.name(index)).parts[-2:]),
    }
    try:
        image = plots.to_image(images.read(index))
    except UnreadableImage:
        return found | {"picture": None}
    crisp = max(image.size) <= CRISP
    image.thumbnail((SHOWN, SHOWN))
    return found | {"picture": plots.data_uri(image), "crisp": crisp}


def _filters(filters: Tensor, layers: "Sequence[Layer]") -> dict[str, Any]:
    count, cin, high, wide = filters.shape
    layer = next((layer for layer in layers if layer.params), None)
    fits = layer is not None and (
        re.match(rf"{high}×{wide}\b", layer.kernel) or (not layer.kernel and layer.kind == "Linear"))
    return {
        "count": count, "cin": cin, "high": high, "wide": wide, "zoom": max(round(56 / max(high, wide)), 1),
        "layer": layer.name if layer is not None and fits else "",
        "pictures": [plots.data_uri(image) for image in plots.filter_pictures(filters, FILTERS)],
    }


def _in_use(matrix: Tensor, classes: Sequence[str]) -> tuple[Tensor, list[str]]:
    """The confusion matrix to the last class that has a name or a count, and names; outputs beyond `classes` are
    numbered.
    """
    used = (matrix.sum(0) + matrix.sum(1)).nonzero().flatten().tolist()
    k = max(len(classes), used[-1] + 1 if used else 0)
    return matrix[:k, :k], [*classes, *(f"output {i}" for i in range(len(classes), k))]
