"""A trained network as a folder for a hub: model.safetensors, config.json, and a page that says what it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from .. import weights, zoo
from ..draw.markup import markdown
from ..errors import ConvatlasError
from ..files import put, unfinished, whole_files
from ..net import registry
from ..net.card import Card
from ..runs import folder
from ..tasks import task_of
from ..weights.own import FORMAT

WEIGHTS = "model.safetensors"                   # written last: a folder that has it is whole
FILES = (WEIGHTS, "config.json", "README.md")


def publish(run: str | Path, out: str | Path, *, licence: str | None = None, name: str | None = None,
            force: bool = False) -> Path:
    """Write `run`, a run folder or one of our files of weights, as a folder that any hub of models can hold; returns
    it.

    `convatlas.load(out)` reads it, and so does `hf-hub:org/name` once it is uploaded, with `hf upload org/name out`.
    `licence` is an identifier such as mit: without one the page says that none is given. Raises ConvatlasError for a
    folder that holds other things, and for weights that are not ours (`convatlas weights convert` makes them so).
    """
    source, target = weights.find(run), Path(out).expanduser()
    card = weights.read_card(source)
    begun = unfinished(target, WEIGHTS)
    if target.is_file() or (target.is_dir() and not begun
                            and any(file.name not in FILES for file in target.iterdir())):
        raise ConvatlasError(f"{str(target)!r} holds other things than a published network: name a new folder")
    if target.is_dir() and any(target.iterdir()) and not force and ((target / WEIGHTS).exists() or not begun):
        raise ConvatlasError(f"{str(target)!r} holds a published network already: replace it with --force, or name "
                             "another folder")
    trained = folder.run_of(run) if (Path(run) / folder.CONFIG).is_file() else None
    with whole_files(target, WEIGHTS, FILES) as fresh:
        shutil.copyfile(source, fresh / WEIGHTS)
        put(fresh / "config.json", json.dumps(config(card), indent=2, ensure_ascii=False) + "\n")
        put(fresh / "README.md", page(card, name or target.resolve().name, licence,
                                      None if trained is None else trained.to_yaml()))
    return target


def config(card: Card) -> dict[str, Any]:
    """A card as config.json has it, for hubs: `convatlas.load` reads the one in model.safetensors."""
    spec, was = registry.plain(card.spec), card.provenance
    return {"library_name": "convatlas", "format": FORMAT, "architecture": card.model, "fields": card.fields,
            "num_classes": spec["num_classes"], "in_chans": spec["in_chans"], "image_size": spec["image_size"],
            "label_names": list(card.classes),
            "preprocess": weights.conventions(card)[0].model_dump(mode="json"), "metrics": was.metrics,
            "versions": was.versions}


def page(card: Card, name: str, licence: str | None, trained: str | None) -> str:
    """README.md, the hub's model card: a head that hubs read, and a page for people."""
    info, was = zoo.info(card.model, **card.fields), card.provenance
    task = task_of(card.model)
    head: dict[str, Any] = {"library_name": "convatlas", "pipeline_tag": task.pipeline,
                            "tags": [task.pipeline, "convatlas", info.family], "license": licence or "unknown"}
    # with five classes every answer is among the five likeliest
    few = len(card.classes or range(info.spec.num_classes)) <= 5
    measured = [(measure, was.metrics[measure.column]) for measure in task.measures
                if measure.column in was.metrics and not (few and measure.column == "val_top5")]
    if measured:
        results = [{"task": {"type": task.pipeline}, "dataset": {"name": was.data, "type": was.data},
                    "metrics": [{"type": measure.kind, "name": measure.name, "value": value}
                                for measure, value in measured]}]
        head["model-index"] = [{"name": name, "results": results}]
    size = info.spec.image_size
    shape = "×".join(map(str, (info.spec.in_chans, *((size, size) if isinstance(size, int) else size))))
    more = f" and {len(card.classes) - 12} more" if len(card.classes) > 12 else ""
    names = ", ".join(map(markdown, card.classes[:12])) + more
    rows = [("network", f"{card.model}: {info.title}"), ("parameters", f"{info.params:,}"),
            ("multiply-adds", f"{info.macs:,}"),
            ("input", shape), ("classes", f"{len(card.classes)}: {names}" if card.classes else "without names"),
            ("trained on", markdown(was.data or "not said")), ("licence", markdown(licence or "none given"))]
    rows += [(measure.name, f"{100 * value:.2f} % {measure.of}") for measure, value in measured]
    command, python = task.usage
    lines = ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), "---", "",
             f"# {markdown(name)}", "", info.idea, "",
             "| | |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows), "",
             "## How it is used", "", "With convatlas installed:", "", "```bash", command, "```", "", "```python",
             "import convatlas", "",
             f'model = convatlas.load("FOLDER")        # or "hf-hub:ORGANISATION/{name}", download=True',
             python, "```", ""]
    if trained is not None:
        lines += ["## How it was trained", "", "```yaml", trained.rstrip(), "```", ""]
    return "\n".join(lines)
