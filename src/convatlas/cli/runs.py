"""`convatlas runs`: list, show, compare and plot."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from . import console
from .evaluated import evaluate_runs, show_evaluated
from .options import OUTPUT, REAL, DataDir, Debug, Device, Json, Workers, argument, option, switch

if TYPE_CHECKING:
    from ..runs.index import Stored

FILTERS = "Filters"
METRICS = "val_top1,train_loss"
COLORS = {"done": "green", "running?": "cyan", "interrupted": "yellow", "failed": "red", "unreadable": "red"}

runs = typer.Typer(rich_markup_mode="rich")

Names = Annotated[list[str], argument("RUN", "Run folders, or names of folders below runs/.")]


@runs.callback(invoke_without_command=True)
def top(context: typer.Context) -> None:
    """List the runs in runs/, look into one, put several side by side, overlay their curves.

    [bold]Examples[/]
      convatlas runs
      convatlas runs list --sort val_top1 --where optim.lr=0.1 --model 'resnet*'
      convatlas runs compare RUN RUN
      convatlas runs plot RUN RUN --metric val_top1,train_loss --out curves.png
    """
    if context.invoked_subcommand is None:
        list_all()


@runs.command("list")
def list_all(
    places: Annotated[list[str] | None, argument(
        "DIR", "Run folders, or folders with runs in them. Left out: runs/.")] = None,
    model: Annotated[str | None, option("--model", panel=FILTERS, metavar="NAME",
                                        help="Only this network; * for any letters.")] = None,
    data: Annotated[str | None, option("--data", panel=FILTERS, metavar="NAME",
                                       help="Only this data; * for any letters.")] = None,
    where: Annotated[list[str] | None, option(
        "--where", panel=FILTERS, metavar="FIELD=VALUE", help="Only where a field of the configuration or a column of "
        "metrics.csv is this; also != < <= > >=. Repeatable.")] = None,
    sort: Annotated[str, option(
        "--sort", panel=OUTPUT, metavar="FIELD", show_default=True,
        help="Any field: name, val_top1, seconds, optim.lr …; numbers best or latest first.")] = "started",
    reverse: Annotated[bool, switch("--reverse", panel=OUTPUT, help="The other way round.")] = False,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """List runs: what was trained on what, how far, how well (in the best epoch), how fast. 'running?' is said of an
    unfinished run that wrote something lately; nothing but its files is looked at.

    [bold]Examples[/]
      convatlas runs list
      convatlas runs list runs/ old/ --sort val_top1
      convatlas runs list --where 'val_top1>=0.98' --where optim.name=sgd
    """
    from ..runs.index import list_runs

    conditions = [*(where or ()), *(f"{name}={value}" for name, value in (("model", model), ("data", data)) if value)]
    found = list_runs(places or ["runs"], where=conditions, sort=sort, reverse=reverse)
    if json:
        console.document([_plain(run) for run in found])
        return
    if not found:
        fitting = f" that fits {' and '.join(conditions)}" if conditions else ""
        console.error(f"there is no run{fitting} in {', '.join(places or ['runs'])}; `convatlas train` makes one")
        raise typer.Exit(1)
    _table(found)


def _table(found: list["Stored"]) -> None:
    from ..runs.index import value_of

    table = console.table("run", "model", "data", "recipe", ">epochs", ">val acc", ">val loss", ">time", ">images/s",
                          "state", "started")
    for run in found:
        state = run.state()
        table.add_row(f"[bold cyan]{escape(run.name)}[/]",
                      *(escape(_shown(value_of(run, name))) for name in ("model", "data", "recipe")),
                      f"{run.epochs}/{run.wanted or '–'}",
                      *(_figure(name, value_of(run, name))
                        for name in ("val_top1", "val_loss", "seconds", "images_per_second")),
                      f"[{COLORS[state]}]{state}[/]", _date(run.began))
    console.out.print(table)


def _plain(run: "Stored") -> dict[str, Any]:
    from ..runs.index import SHORT

    return {**{name: value(run) for name, value in SHORT.items()}, "best": run.best, "last": run.last,
            "problem": run.problem, "config": run.config}


@runs.command("show")
def show(
    name: Annotated[str, argument("RUN", "A run folder, or its name below runs/.")],
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Show one run: its figures, where its configuration differs from its recipe, and its files."""
    from ..runs.index import changes, files, find

    run = find(name)
    base, fields = changes(run)
    sizes = files(run)
    if json:
        console.document({**_plain(run), "changes": {field: {"there": old, "here": new}
                                                     for field, (old, new) in fields.items()}, "files": sizes})
        return
    facts = console.table("figure", ">best epoch", ">last epoch")
    for column in dict.fromkeys((*run.best, *run.last)):
        facts.add_row(column, _figure(column, run.best.get(column)), _figure(column, run.last.get(column)))
    console.out.print(f"[bold cyan]{escape(run.folder)}[/]  {run.state()}, {run.epochs} of {run.wanted or '–'} epochs, "
                      f"begun {_date(run.began)}", soft_wrap=True)
    if run.problem:
        console.warn(run.problem)
    if run.best:
        console.out.print(facts)
    differs = console.table("field", base, "here")
    for field, (old, new) in fields.items():
        differs.add_row(escape(field), escape(_shown(old)), f"[bold]{escape(_shown(new))}[/]")
    console.out.print(differs if fields else f"\nIts configuration is {base}.\n")
    listing = console.table("file", ">bytes")
    for file, size in sizes.items():
        listing.add_row(file, console.exact(size))
    console.out.print(listing)


@runs.command("compare")
def compare(
    names: Annotated[list[str], argument(
        "RUN", "Run folders, or names of folders below runs/; after them DATA, if they are to be judged on the same "
        "images.")],
    data_dir: DataDir = None,
    device: Device = "auto",
    workers: Workers = 0,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Put runs side by side: the fields in which their configurations differ, and their figures in their best epochs.
    The best of each figure is marked with a star. With DATA as the last word each is judged on it, and McNemar's test
    says for every two whether they differ: it counts the images on which only one of them is right.

    [bold]Examples[/]
      convatlas runs compare 2026-11-23-lenet5-digits 2026-11-23-lenet5-digits-2
      convatlas runs compare a b photos/
    """
    from ..runs.index import compare as put
    from ..runs.index import find

    data = names[-1] if len(names) > 2 and not _is_run(names[-1]) else None
    found = put([find(name) for name in names if name != data])
    judged = (evaluate_runs([run.folder for run in found.runs], data, data_dir, device, workers)
              if data is not None else None)
    if json:
        console.document({"runs": [run.folder for run in found.runs], "fields": found.fields, "figures": found.figures,
                          "best": found.best, **({} if judged is None else {"judged": judged})})
        return
    table = console.table("", *(f">{escape(run.name)}" for run in found.runs))
    for field, values in found.fields.items():
        table.add_row(escape(field), *(escape(_shown(value)) for value in values))
    table.add_section()
    for figure, values in found.figures.items():
        best = found.best.get(figure, ())
        table.add_row(figure, *(f"[bold green]★ {_figure(figure, value)}[/]" if i in best else _figure(figure, value)
                                for i, value in enumerate(values)))
    console.out.print(table)
    if judged is not None:
        show_evaluated(judged)


def _is_run(name: str) -> bool:
    from ..runs.folder import CONFIG

    return any((folder / CONFIG).is_file() for folder in (Path(name), Path("runs") / name))


@runs.command("plot")
def plot(
    names: Names,
    metric: Annotated[str, option(
        "--metric", panel=OUTPUT, metavar="NAME,…", show_default=True,
        help="Columns of metrics.csv, a graph for each.")] = METRICS,
    x: Annotated[Literal["epoch", "step", "seconds"], option(
        "--x", panel=OUTPUT, help="What runs to the right.", show_default=True)] = "epoch",
    smooth: Annotated[float, option(
        "--smooth", panel=OUTPUT, parser=REAL,
        help="From 0 to below 1: share of the past in a running mean; the raw line stays, pale.")] = 0.0,
    out: Annotated[Path, option(
        "--out", panel=OUTPUT, metavar="FILE", show_default=True,
        help="Where to write: .png, .svg or .pdf.")] = Path("curves.png"),
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Overlay the curves of runs in one picture, the best epoch of each marked.

    [bold]Examples[/]
      convatlas runs plot runs/a runs/b
      convatlas runs plot a b c --metric val_top1,val_loss,lr --x seconds --out curves.svg
    """
    from ..runs.index import find, rows_of

    found = {run.name if names.count(run.name) < 2 else run.folder: rows_of(Path(run.folder))
             for run in map(find, names)}
    with console.loading():
        from ..inspect.curves import save
    metrics = [name.strip() for name in metric.split(",") if name.strip()]
    save(found, out, metrics, x=x, smooth=smooth)
    if json:
        columns = list(dict.fromkeys((x, *metrics)))
        console.document({"written": str(out), "x": x, "curves": {
            name: {column: [row.get(column) for row in rows] for column in columns} for name, rows in found.items()}})
        return
    console.plain(f"written: {out}")


def _figure(name: str, value: Any) -> str:
    """A figure for a person: shares in per cent, times as a clock shows them."""
    if value is None:
        return "–"
    if "top1" in name or "top5" in name:
        return console.percent(value)
    if name == "seconds":
        return console.duration(value)
    return f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.4g}"


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}" if seconds else "–"
