"""Train on real data by the commands that docs/results.md gives, and write that page and its curves anew.

    uv run python benchmarks/real_data.py --data-dir DATA [NAME …]

DATA holds MNIST and USPS as `convatlas train --help` says. Each run's metrics are kept in results/real_data.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from convatlas.draw.plots import curves
from convatlas.engine.records import read_rows
from report import RESULTS, machine, save

DOCS = Path(__file__).parents[1] / "docs"

#        name              model                data    what the paper says of it, and the target set for it here
RUNS = {
    "lenet5-mnist": ("lenet5", "mnist", "LeNet-5 as published, on MNIST",
                     "0.95 % test error (LeCun et al. 1998, Fig. 9, no distortions), on the same data", 1.0),
    "zipcode-usps": ("lecun1989_zipcode", "usps", "The 1989 zip-code network, on USPS",
                     "5.0 % test error (LeCun et al. 1989), 102 of 2 007, on its own scans of 7 291 and 2 007 digits",
                     5.5),
}


def train(model: str, data: str, data_dir: str) -> dict[str, Any]:
    """One run through the command line."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        words = ["train", model, data, "--data-dir", data_dir, "--out", str(folder)]
        subprocess.run([sys.executable, "-m", "convatlas", *words], check=True)
        command = f"convatlas train {model} {data} --data-dir DATA"
        return {"command": command, "machine": machine(), "rows": read_rows(folder / "metrics.csv")}


def page(results: dict[str, Any]) -> str:
    """docs/results.md."""
    lines = ["# What was trained on real data", "",
             "Written by `uv run python benchmarks/real_data.py --data-dir DATA` from "
             "`benchmarks/results/real_data.json`.", "The curves show the test error after every epoch. What counts is "
             "the last epoch; the lowest of any epoch is chosen on", "the test set itself and flatters.", ""]
    for name, (_, _, title, paper, target) in RUNS.items():
        if name not in results:
            continue
        rows, box = results[name]["rows"], results[name]["machine"]
        last, best = 100 - 100 * rows[-1]["val_top1"], 100 - 100 * max(row["val_top1"] for row in rows)
        lines += [f"## {title}", "", "```sh", results[name]["command"], "```", "", "| | |", "|---|---|",
                  f"| test error after the last of {len(rows)} epochs | **{last:.2f} %** |",
                  f"| lowest test error of any epoch | {best:.2f} % |",
                  f"| training error in the last epoch (running mean) | {100 - 100 * rows[-1]['train_top1']:.2f} % |",
                  f"| the paper | {paper} |",
                  f"| our target | at most {target} %: {'reached' if last <= target else 'missed'} |",
                  f"| time | {rows[-1]['seconds'] / 60:.0f} min on {box['processor']}, {box['cores']} cores, torch "
                  f"{box['torch']} |", "", f"![loss, error and learning rate per epoch](images/{name}.png)", ""]
    return "\n".join([*lines, NOTES, ""])


NOTES = """## What differs from the papers

Both recipes keep the paper's data preparation, loss, number of epochs and initialisation; `convatlas recipe show NAME` prints
them, and the recipes' files in `src/convatlas/recipes/` say where they depart. The papers step with a diagonal approximation of
the Hessian that gives each weight a rate of its own; LeNet-5's recipe uses Adam for that, the zip-code network's a plain
gradient step, one image at a time in the file's order as published, whose rate falls to zero.

USPS has the 1989 paper's split sizes and comes from the same source, but it is not known to be the same scans with the same
normalisation, so neither of the two zip-code figures reproduces the other. One run each, seed 0:
how much other seeds differ has not been measured. The times are not a benchmark: other programs used the same two cores.
"""


def main() -> None:
    """Run what is named, then write the page from everything kept."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data-dir")
    words.add_argument("--page-only", action="store_true", help="write the page from what was kept, train nothing")
    words.add_argument("names", nargs="*", default=list(RUNS))
    asked = words.parse_args()
    kept = RESULTS / "real_data.json"
    results = json.loads(kept.read_text(encoding="utf-8"))["results"] if kept.exists() else {}
    for name in [] if asked.page_only else asked.names:
        model, data, *_ = RUNS[name]
        results[name] = train(model, data, asked.data_dir)
        save("real_data", results)
    (DOCS / "images").mkdir(exist_ok=True)
    for name, result in results.items():
        figure = curves(result["rows"])
        figure.savefig(DOCS / "images" / f"{name}.png", dpi=120, facecolor="white")
    (DOCS / "results.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
