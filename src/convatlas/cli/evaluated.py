"""Runs judged on the same images: what `convatlas runs compare RUN RUN DATA` adds."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from rich.markup import escape

from . import console


def evaluate_runs(folders: Sequence[str], data: str, data_dir: str | None, device: str, workers: int) -> dict[str, Any]:
    """Each run's accuracy on `data`, and McNemar's test for every two of them, as plain values."""
    from .progress import Progress

    with console.loading():
        from ..api import evaluate_each
        from ..evaluation.result import compare

    watch = Progress(console.err)
    try:
        found = evaluate_each(folders, data, data_dir=data_dir, device=device, workers=workers, watch=watch)
    finally:
        watch.close()
    return {
        "data": found[0].data,
        "runs": [{"run": each.model, "count": each.evaluation.count, "top1": each.evaluation.top1,
                  "top1_interval": each.interval} for each in found],
        "mcnemar": [{"a": a.model, "b": b.model, **asdict(compare(a, b))} for a, b in combinations(found, 2)],
    }


def show_evaluated(judged: dict[str, Any]) -> None:
    """The same for people."""
    table = console.table(f"judged on {escape(judged['data'])}", ">images", ">top-1", ">95 % confidence")
    for run in judged["runs"]:
        low, high = run["top1_interval"]
        table.add_row(escape(run["run"]), console.exact(run["count"]), console.percent(run["top1"]),
                      f"{console.percent(low)} to {console.percent(high)}")
    console.out.print(table)
    for test in judged["mcnemar"]:
        how = "exact" if test["exact"] else "chi-squared"
        console.plain(f"Only {test['a']} is right on {test['only_a']} images, only {test['b']} on {test['only_b']}. "
                      f"Were both equally good, so uneven a split had probability {test['p']:.2g} (McNemar's "
                      f"test, {how}).")
