"""Keep the results of experiments in src/convatlas/experiments/results, and write docs/experiments.md from them, its
pictures beside it.

uv run convatlas reproduce --all --quick
uv run python benchmarks/experiments_page.py reproductions

Without a folder the page is written anew from what is kept. `looked_into.yaml` among the results holds what was found
where a claim did not hold.
"""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from convatlas.draw.markup import duration
from convatlas.experiments import about, experiment, names
from convatlas.experiments.machinery.kept import KEPT, MARKS, effect, kept, looked_into, name_of, said
from convatlas.experiments.machinery.page import RESULTS, again, current, read, results_of
from convatlas.experiments.machinery.pictures import picture_file
from convatlas.files import put

DOCS = Path(__file__).parents[1] / "docs"
PICTURES, PAGE = DOCS / "experiments", DOCS / "experiments.md"


def keep(folder: Path) -> None:
    """Copy the results of every experiment in `folder`, if they are of its protocol as it stands."""
    for path in sorted(folder.glob(f"*/{RESULTS}")):
        stored = read(path)
        if stored["experiment"] in names():
            if not current(stored, experiment(stored["experiment"])):
                print(f"{path}: of another protocol than today's, left out")
                continue
            shutil.copyfile(path, KEPT / f"{name_of(stored)}.json")


def reword() -> None:
    """Give the verdicts that are kept the words that their claims have today."""
    for path in sorted(KEPT.glob("*.json")):
        stored = read(path)
        found = experiment(stored["experiment"])
        claims = found.claimed(found.protocol(stored["size"]))
        words = [{"text": claim.text, "unit": claim.unit} for claim in claims]
        if current(stored, found) and words != [{name: each[name] for name in ("text", "unit")}
                                                for each in stored["verdicts"]]:
            stored["verdicts"] = [verdict | said for verdict, said in zip(stored["verdicts"], words, strict=True)]
            put(path, json.dumps(stored, separators=(",", ":")) + "\n")


def page() -> str:
    """The page, whole, and beside it each picture."""
    found = list(kept().values())
    for stored in found:
        drawn = experiment(stored["experiment"]).picture(results_of(stored))
        put(PICTURES / f"{name_of(stored)}.svg", picture_file(drawn, "svg"))
    done = {stored["experiment"] for stored in found}
    words = Counter(verdict["word"] for stored in found for verdict in stored["verdicts"])
    notes = looked_into()
    machines = sorted({stored["machine"]["processor"] for stored in found})
    missing = [name for name in names() if name not in done]
    minutes = sum(stored["cpu_minutes"] for stored in found)
    lines = [
        "# The lecture's experiments", "",
        "Written by `benchmarks/experiments_page.py` from `src/convatlas/experiments/results/*.json`, which "
        "`convatlas reproduce` leaves.",
        "",
        "Each experiment trains networks that differ in one idea, from the same seeds, and compares them in pairs. What "
        "is claimed, how large the effect must be, images, epochs and seeds were written down and committed before it "
        "ran (the docstring of `src/convatlas/experiments/NAME.py`; each result carries it, and a test "
        "compares). A claim **holds** (✓) where the whole interval of its mean effect lies above what it must pass, "
        "**does not hold here** (✗) where all of it lies below, and is **too small to tell** (?) otherwise. The "
        "intervals of one experiment (Student's t, Bonferroni) cover their effects together with a probability of 95 %. "
        "Figures are of the last epoch, which is fixed beforehand. Quick forms are small: they say what holds on "
        "thousands of images of 28×28 pixels, not what holds on ImageNet.", "",
        f"{len(found)} results; verdicts on {words.total()} claims: {', '.join(f'*{word}* {words[word]}' for word in MARKS)}. "
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
            lines.append(f"| [{name_of(stored)}](#{name_of(stored)}) | {said(verdict)} | {effect(verdict)} | "
                         f"{MARKS[verdict['word']]} |")
    for stored in found:
        lines += ["", *_section(stored, notes.get(name_of(stored), ""))]
    return "\n".join(lines) + "\n"


def _section(stored: dict[str, Any], note: str) -> list[str]:
    name, images, protocol = name_of(stored), stored["protocol"]["images"], stored["protocol"]
    found = experiment(stored["experiment"])
    source = f"`{images['source']}`" if images else f"`{protocol['base']['data']['source']}`" if protocol["base"] else ""
    if "cifar" in source:
        source += " (a JPEG copy)"
    about_it = ", ".join(part for part in (
        source, f"{images['train']:,} images to learn from" if images and images["train"] else "",
        f"{len(stored['figures'])} seeds", f"{duration(60 * stored['cpu_minutes'])} of processor time") if part)
    return [
        f"## {name}", "", f"**{found.title}** {found.paper}. {about_it[0].upper() + about_it[1:]}. `{again(stored['experiment'], stored['size'], images['source'] if images else '')}`", "",
        f"![{found.title}](experiments/{name}.svg)", "",
        *(f"- {MARKS[verdict['word']]} {said(verdict)}: {effect(verdict)}" for verdict in stored["verdicts"]),
        *(["", note] if note else []), "",
        "<details><summary>Protocol</summary>", "", about(stored["experiment"]), "", "</details>",
    ]


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        keep(Path(folder))
    reword()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
