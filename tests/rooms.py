"""The order of rooms: each may import only those before it.

`uv run python tests/rooms.py` writes it into docs/architecture.md.
"""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by tests/rooms.py -->\n", "<!-- end of rooms -->\n"

ROOMS = {       # a file or folder of src/convatlas, and what is in it
    "version": "the version",
    "errors": "`ConvatlasError`, the nearest name",
    "files": "whole writes, digests, format versions, the cache folder, the mark of a deployed folder",
    "bounded": "files read within bounds of time and memory: text, JSON, gzip, zip, arrays",
    "memory": "how much memory is free",
    "known": "what is known of every network without torch: accounts that were computed, and stored",
    "pixels": "a picture as bytes of pixels: the one table of rules, for every reader",
    "run": "`Run` and its parts: frozen pydantic records; configuration",
    "parts": "one idea of the literature per file; knows only torch",
    "net": "`Convnet(stem, stages, head)`: the one forward, the one contract; `Segmenter`; the registry of variants; "
    "the layer table; receptive fields; folding; heads as convolutions",
    "arch": "one architecture per file, which never imports a sibling",
    "facts": "published figures as data, and their check",
    "recipes": "one file per paper: a function that returns a `Run`",
    "runs": "the run folder, in which nothing is lost; an index of many, and how they differ",
    "data": "data sets, caches, transforms and augmentation, loaders; `shards/`: tar files on a local disk or "
    "elsewhere",
    "weights": "files of weights: ours, which describe themselves; others' read safely, recognised and renamed by "
    "tables; public ones by name; `checkpoints`: into networks and out",
    "engine": "the training loop and its step, evaluation, optimisers and schedules, averages, masks, freezing, "
    "checkpoints, processes, trackers, speed; takes any `nn.Module`",
    "draw": "the drawing kit: sheets, cells, plots, pieces of HTML",
    "zoo": "create_model, list_models, info, transforms",
    "evaluation": "judging as the papers did: protocols of crops and scales, ensembles, calibration, statistics, and "
    "these as files",
    "segment": "networks that score pixels: pairs of images and masks, patches, losses' weights, tiles, objects, "
    "metrics",
    "inspect": "one picture per file of what a network is and does; reports, curves, sheets of images",
    "deploy": "networks that answer fast: `graph/` (tracing, rewriting, packing), `backends/` (the engines), `native/` "
    "(kernels of our own in C++, their planner, tuning and files, operators of torch for training), `int8/`, `bench/`, "
    "the deployed folder and its reader without torch",
    "tasks": "what a network is trained to answer (classes, pixels), as one contract: open, load, judge, report, "
    "evaluate, predict, tell",
    "api": "train, evaluate, predict as functions",
    "trials": "many trainings beside each other, on one thread each, that go on where they were interrupted",
    "integrations": "`import convatlas.timm`: every network under timm's registry; the same training inside Ray Train; "
    "a trained network as a folder for a model hub",
    "scale": "compound scaling: the rule for every family, budgets, the search for its coefficients, baselines found "
    "by search",
    "experiments": "the lecture's experiments, one per file: arms as differences, claims as predicates over paired "
    "seeds; `machinery/`: their conduct, verdicts, pictures and pages",
    "atlas": "the site that `convatlas atlas` writes: `build` puts pages and scripts together, `told` and its "
    "neighbours are their data, `front/` runs in the browser",
    "cli": "one command per file; flags become a `Run`; imports torch only inside commands",
    "__main__": "`python -m convatlas`",
    "__init__": "the public names, imported when first used; old module names that still work",
}


def table() -> str:
    """The rooms as a Markdown table, in their order."""
    house = Path(__file__).parents[1] / "src" / "convatlas"
    names = {name: f"`{name}/`" if (house / name).is_dir() else f"`{name}.py`" for name in ROOMS}
    return "\n".join(["| room | what is in it |", "|---|---|",
                      *(f"| {names[name]} | {what} |" for name, what in ROOMS.items()), ""])


def with_table(page: str) -> str:
    """The text of `page` with the table put between its marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
