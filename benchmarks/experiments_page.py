"""Keep the results of experiments in docs/experiments, and write docs/experiments.md from them.

uv run convatlas reproduce --all --quick
uv run python benchmarks/experiments_page.py reproductions

Without a folder the page is written anew from what is kept. `docs/experiments/looked_into.yaml` holds what was found
where a claim did not hold.
"""

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from convatlas.draw.markup import duration
from convatlas.experiments import about, experiment, names
from convatlas.experiments.machinery.page import RESULTS, again, place, read, results_of
from convatlas.experiments.machinery.pictures import picture_file
from convatlas.experiments.machinery.plan import digest
from convatlas.files import put

DOCS = Path(__file__).parents[1] / "docs"
KEPT, PAGE = DOCS / "experiments", DOCS / "experiments.md"
MARK = {"holds": "✓", "does not hold here": "✗", "too small to tell": "?"}


def keep(folder: Path) -> None:
    """Copy the results of every experiment in `folder`, if they are of its protocol as it stands."""
    KEPT.mkdir(exist_ok=True)
    for path in sorted(folder.glob(f"*/{RESULTS}")):
        stored = read(path)
        if stored["experiment"] in names():
            name, found = _file(stored), experiment(stored["experiment"])
            protocol = found.protocol(stored["size"])
            if stored["digest"] != digest(protocol, found.claimed(protocol), stored["protocol"]):
                print(f"{path}: of another protocol than today's, left out")
                continue
            shutil.copyfile(path, KEPT / f"{name}.json")


def _file(stored: dict[str, Any]) -> str:
    return place(KEPT, stored["experiment"], stored["size"]).name


def page() -> str:
    """The page, whole, and beside it each picture."""
    found = [read(path) for path in sorted(KEPT.glob("*.json"))]
    for stored in found:
        drawn = experiment(stored["experiment"]).picture(results_of(stored))
        put(KEPT / f"{_file(stored)}.svg", picture_file(drawn, "svg"))
    done = {stored["experiment"] for stored in found}
    words = Counter(verdict["word"] for stored in found for verdict in stored["verdicts"])
    notes = yaml.safe_load((KEPT / "looked_into.yaml").read_text(encoding="utf-8")) or {}
    machines = sorted({stored["machine"]["processor"] for stored in found})
    missing = [name for name in names() if name not in done]
    minutes = sum(stored["cpu_minutes"] for stored in found)
    lines = [
        "# The lecture's experiments", "",
        "Written by `benchmarks/experiments_page.py` from `docs/experiments/*.json`, which `convatlas reproduce` leaves.",
        "",
        "Each experiment trains networks that differ in one idea, from the same seeds, and compares them in pairs. What "
        "is claimed, how large the effect must be, images, epochs and seeds were written down and committed before it "
        "ran (the docstring of `src/convatlas/experiments/NAME.py`; each result carries a digest of it, which a test "
        "compares). A claim **holds** (✓) where the whole interval of its mean effect lies above what it must pass, "
        "**does not hold here** (✗) where all of it lies below, and is **too small to tell** (?) otherwise. The "
        "intervals of one experiment (Student's t, Bonferroni) cover their effects together with a probability of 95 %. "
        "Figures are of the last epoch, which is fixed beforehand. Quick forms are small: they say what holds on "
        "thousands of images of 28×28 pixels, not what holds on ImageNet.", "",
        f"{len(found)} results; verdicts on {words.total()} claims: {', '.join(f'*{word}* {words[word]}' for word in MARK)}. "
        f"Together {minutes:.0f} min of processor time, "
        f"one thread per trial, on {' and '.join(machines) or 'no machine yet'}.", "",
    ]
    lines += [
        "<!-- not run, `relu-vs-tanh`: takes minutes -->", "<!-- not run, `degradation`: takes hours -->",
        "<!-- not run, `--all`: takes hours -->", "```sh", "convatlas reproduce --list",
        "convatlas reproduce relu-vs-tanh                                # quick, on data that comes along",
        "convatlas reproduce degradation --data cifar10 --data-dir DATA  # the standard form, on the paper's data",
        "convatlas reproduce --all --quick                               # everything; goes on where it was interrupted",
        "convatlas ablate alexnet_owt photos/ --without dropout --with act=tanh     # a question of your own", "```", "",
        "Trials run on one thread each, `--workers` at a time; no figure depends on their number. `--seeds N` takes the "
        "place of the protocol's. Each trial is a run folder in `reproductions/NAME/trials`, beside `results.json`, the "
        "picture and `report.html`.", "",
    ]
    if missing:
        lines += ["Protocol written, not run yet: " + ", ".join(f"`{name}`" for name in missing) + ".", ""]
    lines += ["| experiment | claim | effect | |", "|---|---|---|---|"]
    for stored in found:
        for verdict in stored["verdicts"]:
            lines.append(f"| [{_file(stored)}](#{_file(stored)}) | {_said(verdict)} | {_effect(verdict)} | "
                         f"{MARK[verdict['word']]} |")
    for stored in found:
        lines += ["", *_section(stored, notes.get(_file(stored), ""))]
    return "\n".join(lines) + "\n"


def _said(verdict: dict[str, Any]) -> str:
    return verdict["text"][0].upper() + verdict["text"][1:]


def _effect(verdict: dict[str, Any]) -> str:
    interval = "" if verdict["low"] == verdict["high"] else f" [{verdict['low']:.3g}, {verdict['high']:.3g}]"
    passed = f", above {verdict['above']:g}" if verdict["above"] else ""
    return f"{verdict['effect']:.3g}{interval} {verdict['unit']}{passed}"


def _section(stored: dict[str, Any], note: str) -> list[str]:
    name, images, protocol = _file(stored), stored["protocol"]["images"], stored["protocol"]
    found = experiment(stored["experiment"])
    source = f"`{images['source']}`" if images else f"`{protocol['base']['data']['source']}`" if protocol["base"] else ""
    if "cifar" in source:
        source += " (a JPEG copy)"
    said = ", ".join(part for part in (
        source, f"{images['train']:,} images to learn from" if images and images["train"] else "",
        f"{len(stored['figures'])} seeds", f"{duration(60 * stored['cpu_minutes'])} of processor time") if part)
    return [
        f"## {name}", "", f"**{found.title}** {found.paper}. {said[0].upper() + said[1:]}. `{again(stored['experiment'], stored['size'], images['source'] if images else '')}`", "",
        f"![{found.title}](experiments/{name}.svg)", "",
        *(f"- {MARK[verdict['word']]} {_said(verdict)}: {_effect(verdict)}" for verdict in stored["verdicts"]),
        *(["", note.strip()] if note else []), "",
        "<details><summary>Protocol</summary>", "", about(stored["experiment"]), "", "</details>",
    ]


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        keep(Path(folder))
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
