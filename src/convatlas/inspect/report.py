"""report.html of a run folder: one page that opens anywhere, without network, scripts or files beside it."""

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ..data.images import ImageSet, UnreadableImage
from ..draw import plots
from ..draw.markup import bar, counted, duration, folded, lines, percent, prose, safe, section, table
from ..engine.records import read_rows
from ..files import whole_write
from ..run import Run
from ..runs.folder import CONFIG, METRICS, REPORT
from ..version import __version__

if TYPE_CHECKING:
    from ..engine.evaluate import Evaluation
    from ..net.layers import Layer

MISTAKES, FILTERS, PAIRS = 24, 96, 12       # most pictures, filters and confused pairs shown
LONG = 40                                   # layers from which their table is folded up
BESIDE = 12                                 # classes to which matrix and table fit side by side
SHOWN, CRISP = 96, 64                       # longest side of a picture in the page; to which its pixels stay sharp squares

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{css}</style>
</head>
<body>
{body}
<footer>Written by convatlas {version}. This page is whole: it needs no network and no other file.</footer>
</body>
</html>
"""


def write_report(folder: Path, *, run: Run, title: str, idea: str, layers: "Sequence[Layer]", evaluation: "Evaluation",
                 images: ImageSet, classes: Sequence[str], filters: Tensor | None, facts: Mapping[str, str]) -> Path:
    """Write `folder`/report.html, replacing an older one, and return its path.

    The curves come from the folder's metrics.csv, date and versions from its config.yaml, where they exist. `evaluation`
    is of the weights kept, on `images`, whose classes are `classes`; `filters` (cout, cin, h, w) are those of the first
    layer, `facts` label → text. Raises ConvatlasError where the folder cannot be written.
    """
    rows = read_rows(folder / METRICS)
    matrix, names = _in_use(evaluation.confusion, classes)
    sections = (
        f'<header>\n<div class="over">Training report</div>\n<h1>{safe(title)}</h1>\n<p class="lead">{prose(idea)}</p>',
        _headline(evaluation, len(rows)),
        _numbers(run, _origin(folder), layers, evaluation, rows, len(classes)),
        _command(folder.resolve().name),
        "</header>",
        _curves(rows),
        _confusion(matrix, names),
        _mistakes(evaluation, images, names),
        _filters(filters, layers),
        _layers(layers),
        _facts(facts),
        section("Configuration", folded(f"All of {CONFIG}", f"<pre>{lines(run.to_yaml())}</pre>")),
    )
    css = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    page = PAGE.format(title=safe(title), css=css, body="\n".join(filter(None, sections)), version=safe(__version__))
    with whole_write(folder / REPORT, "make room there, or write to another folder") as beside:
        beside.write_text(page, encoding="utf-8")
    return folder / REPORT


# -- the top ---------------------------------------------------------------------------------------------------------

def _headline(evaluation: "Evaluation", epochs: int) -> str:
    count, right = evaluation.count, int(evaluation.right.sum())
    notes = []
    if count:
        low, high = wilson(right, count)
        number = f"{percent(right / count)}<span>%</span>"
        text = f"validation accuracy: <strong>{right:,} of {counted(count, 'picture')} right, {count - right:,} wrong</strong>"
        notes.append(f"95&nbsp;% interval {percent(low)} to {percent(high)}&nbsp;% (Wilson)")
        if epochs > 1:
            notes.append(f"The weights of the best of {epochs} epochs, chosen on the same pictures.")
    else:
        number, text = "–", "no validation picture could be measured"
    if evaluation.skipped:
        notes.append(f"{counted(evaluation.skipped, 'picture')} could not be read and count for nothing.")
    more = "".join(f"<br><span class='note'>{note}</span>" for note in notes)
    return f"<div class='headline'><b>{number}</b> <p>{text}{more}</p></div>"


def _numbers(run: Run, origin: "Origin", layers: "Sequence[Layer]", evaluation: "Evaluation",
             rows: Sequence[Mapping[str, float]], num_classes: int) -> str:
    best = plots.best_row(rows)
    source = Path(run.data.source).name or run.data.source
    pairs = {
        "Network": run.model.name,
        "Data": f"{source}, {counted(num_classes, 'class')}",
        "Best epoch": f"{best['epoch']:.0f} of {rows[-1]['epoch']:.0f}" if best else "–",
        "Began": origin.began,
        "Took": duration(rows[-1]["seconds"]) if rows else "–",
        "Parameters": f"{sum(layer.params for layer in layers):,}",
        "Multiply-adds": f"{sum(layer.macs for layer in layers):,}",
        "Validation loss": f"{evaluation.loss:.4g}" if evaluation.count else "–",
        "Top-5 accuracy": f"{percent(evaluation.top5)} %" if evaluation.count else "–",
        "Seed": str(run.train.seed),
        "convatlas": origin.convatlas,
        "torch": origin.torch,
    }
    if num_classes <= 5:
        del pairs["Top-5 accuracy"]
    items = "".join(f"<div><dt>{safe(label)}</dt><dd>{safe(text)}</dd></div>" for label, text in pairs.items())
    return f"<dl class='facts'>{items}</dl>"


def _command(name: str) -> str:
    return (f"<p class='note again'>The same run again, from the folder that holds <code>{safe(name)}</code>:</p>\n"
            f"<pre>convatlas train --config {safe(shlex.quote(f'{name}/{CONFIG}'))}</pre>")


class Origin(NamedTuple):
    """Which versions wrote a run, and when it began."""

    convatlas: str
    torch: str
    began: str


def _origin(folder: Path) -> Origin:
    """What the first line of config.yaml says; without it today's versions and the time of metrics.csv."""
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


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share after Wilson (1927): (low, high), both in 0..1; `count` is at least 1."""
    share, spread = right / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    low = 0.0 if right == 0 else centre - half              # exactly, where rounding would leave a trace
    return low, 1.0 if right == count else centre + half


# -- sections --------------------------------------------------------------------------------------------------------

def _curves(rows: Sequence[Mapping[str, float]]) -> str:
    if not rows:
        return section("Curves", f"<p>{METRICS} holds no whole epoch.</p>")
    note = "One epoch: a single point each." if len(rows) == 1 else (
        "The dotted line marks the epoch whose weights were kept. Training values are running means within an epoch, with "
        "augmentation and dropout where there are any. Values that span more than a factor of twelve are on a logarithmic axis.")
    figures = "".join(f"<figure>{plots.svg(plots.curves(rows, [name]), name, panel.title)}</figure>\n"
                      for name, panel in plots.PANELS.items())
    return section("Curves", f"<p>{note}</p>\n<div class='curves'>{figures}</div>")


def _confusion(matrix: Tensor, names: Sequence[str]) -> str:
    if not matrix.sum():
        return ""
    k, numbered = len(names), len(names) <= plots.NUMBERED
    text, parts, after = "Rows are true classes, columns what the network said.", [], ""
    if k <= plots.MAPPED:
        figure = plots.confusion(matrix, names)
        least = figure.get_figwidth() * plots.UNITS * (0.75 if numbered else 0.55)      # pixels; narrower pages scroll
        drawn = plots.svg(figure, "confusion", "Confusion matrix: true classes in rows, predictions in columns")
        parts.append(f"<figure class='scroll' style='--least: {least:.0f}px'>{drawn}</figure>")
    else:
        text = f"{k:,} classes are too many to draw as a matrix."
    if numbered:
        parts.append(_per_class(matrix, names))
    else:
        parts.append(_most_confused(matrix, names))
        after = folded(f"Precision and recall of all {k:,} classes", _per_class(matrix, names))
    layout = "stack" if BESIDE < k <= plots.NUMBERED else "pair"
    return section("Confusion", f"<p>{text}</p>\n<div class='{layout}'>{''.join(parts)}</div>{after}")


def _per_class(matrix: Tensor, names: Sequence[str]) -> str:
    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.1f} %" if whole else "–"

    def errors(n: int) -> str:
        return f"{n:,}" if n else ""

    columns = zip(names, matrix.sum(1).tolist(), matrix.sum(0).tolist(), matrix.diagonal().tolist(), strict=True)
    rows = [[safe(name), f"{true:,}", share(hits, true), errors(true - hits), share(hits, said), errors(said - hits)]
            for name, true, said, hits in columns]
    return table(["class", "pictures", "recall", "missed", "precision", "false"], rows, "_nnxnx",
                 "missed: of this class, taken for another; false: of another class, taken for this one")


def _most_confused(matrix: Tensor, names: Sequence[str]) -> str:
    pairs = [(int(matrix[i, j]), i, j) for i, j in matrix.nonzero().tolist() if i != j]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = [[safe(names[i]), safe(names[j]), f"{n:,}", f"{100 * n / int(matrix[i].sum()):.1f} %"] for n, i, j in pairs[:PAIRS]]
    caption = f"Most confused: {min(PAIRS, len(pairs))} of {counted(len(pairs), 'pair')}"
    return table(["true", "predicted", "times", "of its class"], rows, "_wnn", caption) if rows else ""


def _mistakes(evaluation: "Evaluation", images: ImageSet, names: Sequence[str]) -> str:
    title, wrong = "Most confident mistakes", (~evaluation.right).nonzero().flatten()
    if not evaluation.count:
        return ""
    if not len(wrong):
        return section(title, f"<p>There are none: no mistake in {counted(evaluation.count, 'picture')}.</p>")
    order = wrong[evaluation.confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist()
    shots = "".join(_mistake(evaluation, images, names, row) for row in order)
    which = f"The {len(order)} most confident of {len(wrong):,} mistakes" if len(wrong) > len(order) else (
        "The only mistake" if len(wrong) == 1 else f"All {len(wrong)} mistakes, the most confident first")
    return section(title, f"<p>{which}: true class → prediction, and the probability the network gave it.</p>\n"
                          f"<div class='shots'>{shots}</div>")


def _mistake(evaluation: "Evaluation", images: ImageSet, names: Sequence[str], row: int) -> str:
    index = int(evaluation.indices[row])
    label, said = evaluation.labels[row], names[int(evaluation.predictions[row])]
    true = label.nonzero().flatten().tolist() if label.ndim else [int(label)]
    truth = ", ".join(names[number] for number in true) or "none"
    where = "/".join(Path(images.name(index)).parts[-2:])       # enough to find it; the rest of the path stays private
    return (f"<figure>{_picture(images, index)}<figcaption>{safe(truth)}&nbsp;→ <em>{safe(said)}</em> "
            f"{100 * float(evaluation.confidence[row]):.1f}&nbsp;%<small>{safe(where)}</small></figcaption></figure>\n")


def _picture(images: ImageSet, index: int) -> str:
    try:
        image = plots.to_image(images.read(index))
    except UnreadableImage:
        return "<div class='none'>unreadable</div>"
    crisp = " class='crisp'" if max(image.size) <= CRISP else ""
    image.thumbnail((SHOWN, SHOWN))
    return f"<img{crisp} alt='' width='{SHOWN}' height='{SHOWN}' src='{plots.data_uri(image)}'>"


def _filters(filters: Tensor | None, layers: "Sequence[Layer]") -> str:
    if filters is None or not len(filters):
        return ""
    count, cin, high, wide = filters.shape
    layer = next((layer for layer in layers if layer.params), None)
    fits = layer is not None and (
        re.match(rf"{high}×{wide}\b", layer.kernel) or (not layer.kernel and layer.kind == "Linear"))
    whose = f" of <code>{safe(layer.name)}</code>" if layer and fits else ""
    which = f"The first {FILTERS} of {count:,} filters" if count > FILTERS else (
        "The only filter" if count == 1 else f"All {count} filters")
    signs = "grey is zero, white positive, black negative"
    how = {1: signs, 3: "red, green and blue as they are weighed, grey is zero"}.get(cin, f"the mean over {cin} channels, {signs}")
    zoom = max(round(56 / max(high, wide)), 1)
    pictures = "".join(f"<img class='crisp' alt='' width='{wide * zoom}' height='{high * zoom}' src='{plots.data_uri(image)}'>\n"
                       for image in plots.filter_pictures(filters, FILTERS))
    return section("First layer", f"<p>{which}{whose}, {high}×{wide} pixels: {how}. Each is scaled by its own largest weight.</p>\n"
                                  f"<div class='filters'>{pictures}</div>")


def _layers(layers: "Sequence[Layer]") -> str:
    if not layers:
        return ""
    params, macs = sum(layer.params for layer in layers), sum(layer.macs for layer in layers)
    rows = [[f"<code>{safe(layer.name)}</code>", safe(layer.kind), "×".join(map(str, layer.output)), safe(layer.kernel),
             bar(layer.params, params), bar(layer.macs, macs)] for layer in layers]
    head = ["layer", "type", "output", "kernel", "parameters", "multiply-adds"]
    body = table(head, rows, "_oo_nn", foot=["total", "", "", "", f"{params:,}", f"{macs:,}"])
    text = "in the order in which they run. Multiply-adds are for one picture; the bars show shares of the total."
    return section("The network", f"<p>{counted(len(layers), 'layer')}, {text}</p>\n"
                                  f"{folded('All layers', body) if len(layers) > LONG else body}")


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(f"<dt>{safe(label)}</dt><dd>{prose(text)}</dd>\n" for label, text in facts.items())
    return section("Sources and departures", f"<dl class='about'>{items}</dl>") if items else ""


def _in_use(matrix: Tensor, classes: Sequence[str]) -> tuple[Tensor, list[str]]:
    """The confusion matrix to the last class that has a name or a count, and names; outputs beyond `classes` are numbered."""
    used = (matrix.sum(0) + matrix.sum(1)).nonzero().flatten().tolist()
    k = max(len(classes), used[-1] + 1 if used else 0)
    return matrix[:k, :k], [*classes, *(f"output {i}" for i in range(len(classes), k))]
