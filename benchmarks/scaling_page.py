"""Keep what `convatlas scale search`, `apply` and `baseline` left, and write their comparisons into
docs/scaling-networks.md, the pictures into docs/images/scale.

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
SEVERAL = ".apply-"             # between a search's name and φ, in the name of what was made of it
RIVALS = ("depth", "width", "resolution")


def keep(folder: Path) -> None:
    """Copy results and pictures of a finished search, and of what was applied of it."""
    if not (folder / "results.json").is_file():
        sys.exit(f"{folder} has no results.json: the search is not finished")
    KEPT.mkdir(exist_ok=True)
    for each in (folder, *sorted(folder.glob("apply-*"))):
        name = folder.name if each == folder else f"{folder.name}.{each.name}"
        shutil.copyfile(each / "results.json", KEPT / f"{name}.json")
        shutil.copyfile(each / "picture.svg", PICTURES / f"{name}.svg")


def mean(shares: list[float]) -> float:
    """Of shares, in per cent."""
    return 100 * sum(shares) / len(shares)


def machine(tree: dict[str, Any]) -> str:
    """Processor and cores, as results name them."""
    return f"{tree['machine']['processor']}, {tree['machine']['cores']} cores"


def baseline(name: str, tree: dict[str, Any]) -> str:
    """The comparison of a baseline, as a table and two sentences."""
    compared, chosen = tree["compared"], tree["full"][tree["chosen"]]
    rows = [f"| found | {chosen['price'] / 1e6:.2f}M | {mean(compared['accuracies']):.2f} | | |"]
    rows += [f"| {each['name']} | {each['price'] / 1e6:.2f}M | {mean(each['accuracies']):.2f} | {each['mean']:+.2f} "
             f"[{each['low']:+.2f}, {each['high']:+.2f}] | {each['word']} |" for each in compared["rivals"]]
    return "\n".join([
        f"`{tree['command']}`, on an {machine(tree)}: "
        f"{len(tree['one_epoch'])} networks were trained for one epoch and {len(tree['full'])} in full.", "",
        f"| network | multiply-adds | test accuracy, mean of {len(compared['accuracies'])} seeds, % | what was found "
        "against it, points of accuracy | it is |",
        "|---|--:|--:|--:|---|", *rows, "", f"![What was tried, by accuracy and cost](images/scale/{name}.svg)"])


def against(tree: dict[str, Any], name: str) -> str:
    """Cells of the accuracy of the network with all three scaled, and of its differences from each dimension alone."""
    found = {tree["networks"][each["rival"]]["way"]: each for each in tree["versus"] if each["network"] == name}
    cells = [f"{each['points']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}], {each['verdict']}"
             for each in map(found.__getitem__, RIVALS)]
    return " | ".join([f"{mean(tree['networks'][name]['test']):.2f}", *cells])


def searches(trees: dict[str, dict[str, Any]]) -> str:
    """What searches have found: the ranking, the comparisons at φ = 1 and beyond, and a picture of each."""
    ranks, first, later, pictures = [], [], [], []
    for name, tree in trees.items():
        if SEVERAL in name:
            continue
        chosen, base = tree["networks"][tree["chosen"]], tree["networks"]["as it is"]
        others = tree["ranking"][1:]
        stopped = sum(each["stopped"] for each in others)
        near = sum(not each["stopped"] and each["low"] <= 0 for each in others)
        ranks.append(f"| {name} | {' · '.join(f'{each:.3f}' for each in chosen['coefficients'])} | "
                     f"{mean(tree['ranking'][0]['search']):.2f} | {len(tree['ranking'])} | {stopped} | {near} |")
        first.append(f"| {name} | {mean(base['test']):.2f} | {against(tree, tree['chosen'])} |")
        made = {each: trees[each] for each in trees if each.startswith(name + SEVERAL)}
        later += [f"| {name}, φ = {applied['networks'][each]['phi']:g} | {against(applied, each)} |"
                  for applied in made.values() for each in dict.fromkeys(one["network"] for one in applied["versus"])]
        pictures += [f"![{name}: accuracy against multiply-adds](images/scale/{each}.svg)" for each in made or [name]]
    if not ranks:
        return "None has been run yet."
    seeds = {len(each["test"]) for tree in trees.values() for each in tree["networks"].values() if each["test"]}
    rivals = "against depth | against width | against resolution"
    return "\n".join([
        f"Run on an {' and an '.join(sorted({machine(tree) for tree in trees.values()}))}. The ranking, by the search "
        "part:", "",
        "| search | chosen: α · β · γ | search part, % | candidates | stopped | inside the noise |",
        "|---|---|--:|--:|--:|--:|", *ranks, "",
        f"At twice the cost, by the test part; means of {'/'.join(map(str, sorted(seeds)))} seeds in per cent, then "
        "points by which all three together are right more often, with their interval and the verdict:", "",
        f"| search | as it is | all three | {rivals} |", "|---|--:|--:|---|---|---|", *first, "",
        "What was found, applied at larger cost:", "",
        f"| search | all three | {rivals} |", "|---|--:|---|---|---|", *later, "", *pictures])


def main(folders: list[str]) -> None:
    for folder in folders:
        keep(Path(folder))
    trees = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))}
    found = {name: tree for name, tree in trees.items() if "ranking" in tree}
    put(PAGE, {"baseline": "\n\n".join(baseline(name, tree) for name, tree in trees.items() if name not in found),
               "searches": searches(found)})


if __name__ == "__main__":
    main(sys.argv[1:])
