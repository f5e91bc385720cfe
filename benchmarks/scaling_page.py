"""Keep what `convatlas scale baseline` left, and write its comparison into docs/scaling-networks.md, the picture into
docs/images/scale.

uv run python benchmarks/scaling_page.py FOLDER …       # folders of searches; without any the page is written anew
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from report import RESULTS, put

KEPT = RESULTS / "scaling"
PAGE = Path(__file__).parents[1] / "docs/scaling-networks.md"
PICTURES = PAGE.parent / "images/scale"


def keep(folder: Path) -> None:
    """Copy results and picture of a finished search."""
    if not (folder / "results.json").is_file():
        sys.exit(f"{folder} has no results.json: the search is not finished")
    KEPT.mkdir(exist_ok=True)
    shutil.copyfile(folder / "results.json", KEPT / f"{folder.name}.json")
    shutil.copyfile(folder / "picture.svg", PICTURES / f"{folder.name}.svg")


def baseline(name: str, tree: dict[str, Any]) -> str:
    """The comparison of a baseline, as a table and two sentences."""
    compared, chosen = tree["compared"], tree["full"][tree["chosen"]]
    seeds = len(compared["accuracies"])

    def mean(values: list[float]) -> float:
        return 100 * sum(values) / len(values)

    rows = [f"| found | {chosen['price'] / 1e6:.2f}M | {mean(compared['accuracies']):.2f} | | |"]
    rows += [f"| {each['name']} | {each['price'] / 1e6:.2f}M | {mean(each['accuracies']):.2f} | {each['mean']:+.2f} "
             f"[{each['low']:+.2f}, {each['high']:+.2f}] | {each['word']} |" for each in compared["rivals"]]
    return "\n".join([
        f"`{tree['command']}`, on an {tree['machine']['processor']}, {tree['machine']['cores']} cores: "
        f"{len(tree['one_epoch'])} networks were trained for one epoch and {len(tree['full'])} in full.", "",
        f"| network | multiply-adds | test accuracy, mean of {seeds} seeds, % | what was found against it, points of accuracy | it is |",
        "|---|--:|--:|--:|---|", *rows, "", f"![What was tried, by accuracy and cost](images/scale/{name}.svg)"])


def main(folders: list[str]) -> None:
    for folder in folders:
        keep(Path(folder))
    trees = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))}
    put(PAGE, {"baseline": "\n\n".join(baseline(name, tree) for name, tree in trees.items())})


if __name__ == "__main__":
    main(sys.argv[1:])
