"""A trained network as a folder for a hub: model.safetensors, config.json, and a card that says what it is."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from .. import weights, zoo
from ..errors import ConvatlasError
from ..net import registry
from ..runs import folder
from ..weights import Meta

FILES = ("model.safetensors", "config.json", "README.md")


def publish(run: str | Path, out: str | Path, *, licence: str | None = None, name: str | None = None, force: bool = False) -> Path:
    """Write `run`, a run folder or one of our files of weights, as a folder that any hub of models can hold; returns it.

    `convatlas.load(out)` reads it, and so does `hf-hub:org/name` once it is uploaded, with `hf upload org/name out`. `licence` is an
    identifier such as mit: without one the card says that none is given. Raises ConvatlasError for a folder that holds other things,
    and for weights that are not ours (`convatlas weights convert` makes them so).
    """
    source, target = weights.find(run), Path(out).expanduser()
    meta = weights.read_meta(source)
    if target.is_file() or (target.is_dir() and any(file.name not in FILES for file in target.iterdir())):
        raise ConvatlasError(f"{str(target)!r} holds other things than a published network: name a new folder")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise ConvatlasError(f"{str(target)!r} holds a published network already: replace it with --force, or name another folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / "model.safetensors")
        (target / "config.json").write_text(json.dumps(config(meta), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        trained = folder.run_of(run) if (Path(run) / folder.CONFIG).is_file() else None
        text = card(meta, name or target.resolve().name, licence, None if trained is None else trained.to_yaml())
        (target / "README.md").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConvatlasError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
    return target


def config(meta: Meta) -> dict[str, Any]:
    """What the weights say of themselves, as config.json."""
    spec = registry.plain(registry.change(registry.variant(meta.model).spec, meta.fields, meta.model))
    return {"library_name": "convatlas", "format": meta.format, "architecture": meta.model, "fields": meta.fields,
            "num_classes": spec["num_classes"], "in_chans": spec["in_chans"], "image_size": spec["image_size"],
            "label_names": list(meta.classes), "preprocess": meta.preprocess.model_dump(mode="json"), "metrics": meta.metrics,
            "versions": meta.versions}


def card(meta: Meta, name: str, licence: str | None, trained: str | None) -> str:
    """The model card: a head that hubs read, and a page for people."""
    info = zoo.info(meta.model, **meta.fields)
    task = "image-segmentation" if info.recipe in ("unet", "fcn") else "image-classification"
    head: dict[str, Any] = {"library_name": "convatlas", "pipeline_tag": task, "tags": [task, "convatlas", info.family],
                            "license": licence or "unknown"}
    top1, top5 = meta.metrics.get("val_top1"), meta.metrics.get("val_top5")
    if top1 is not None:
        results = [{"task": {"type": task}, "dataset": {"name": meta.data, "type": meta.data},
                    "metrics": [{"type": "accuracy", "name": f"top-{k}", "value": value}
                                for k, value in ((1, top1), (5, top5)) if value is not None]}]
        head["model-index"] = [{"name": name, "results": results}]
    size = info.spec.image_size
    shape = "×".join(map(str, (info.spec.in_chans, *((size, size) if isinstance(size, int) else size))))
    names = ", ".join(meta.classes[:12]) + (f" and {len(meta.classes) - 12} more" if len(meta.classes) > 12 else "")
    rows = [("network", f"{meta.model}: {info.title}"), ("parameters", f"{info.params:,}"), ("multiply-adds", f"{info.macs:,}"),
            ("input", shape), ("classes", f"{len(meta.classes)}: {names}" if meta.classes else "without names"),
            ("trained on", meta.data or "not said"), ("licence", licence or "none given")]
    rows += [(label, f"{100 * value:.2f} % of the validation images") for label, value in (("top-1", top1), ("top-5", top5))
             if value is not None]
    lines = ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(), "---", "", f"# {name}", "", info.idea, "",
             "| | |", "|---|---|", *(f"| {label} | {value.replace('|', '/')} |" for label, value in rows), "",
             "## How it is used", "", "```bash", "pip install convatlas", "convatlas predict FOLDER photo.jpg", "```", "", "```python",
             "import convatlas", "", f'model = convatlas.load("FOLDER")        # or "hf-hub:ORGANISATION/{name}", download=True',
             'print(convatlas.predict(model, ["photo.jpg"]))', "```", ""]
    if trained is not None:
        lines += ["## How it was trained", "", "```yaml", trained.rstrip(), "```", ""]
    return "\n".join(lines)
