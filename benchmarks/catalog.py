"""Write src/convatlas/weights/catalog/: the public weights that torchvision and timm name for networks that are ours.

uv run python benchmarks/catalog.py

What is there is read from the installed libraries, without a network: identifiers, licences, preprocessing, and the
accuracies that torchvision reports (timm keeps its own outside the package). Which networks are ours is what the tables
of names say.
"""

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
HOME = ROOT / "src" / "convatlas" / "weights" / "catalog"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def torchvision_rows(name: str) -> Iterator[dict[str, Any]]:
    from torchvision.models import get_model_weights

    for weights in get_model_weights(name):
        if weights.meta["categories"] is None:      # a trunk without a classifier
            continue
        metrics = weights.meta["_metrics"].get("ImageNet-1K", {})
        how = weights.transforms()
        size, resize = how.crop_size[0], how.resize_size[0]
        yield {"id": f"torchvision/{weights.name}", "network": name, "file": weights.url.rpartition("/")[2],
               "top1": metrics.get("acc@1"), "top5": metrics.get("acc@5"), "classes": len(weights.meta["categories"]),
               "image_size": size, "crop_pct": round(size / resize, 6), "interpolation": how.interpolation.value,
               **colors(tuple(how.mean), tuple(how.std)),
               "licence": "none stated for the weights; the code is BSD-3-Clause",
               "source": weights.meta["recipe"] if str(weights.meta.get("recipe", "")).startswith("http") else None}


def timm_rows(name: str) -> Iterator[dict[str, Any]]:
    import timm

    for full in timm.models.list_pretrained(f"{name}.*"):
        cfg = timm.models.get_pretrained_cfg(full)
        if cfg.hf_hub_id and cfg.num_classes:
            yield {"id": cfg.hf_hub_id, "network": name, "classes": cfg.num_classes, "image_size": cfg.input_size[-1],
                   "crop_pct": cfg.crop_pct, "interpolation": cfg.interpolation,
                   **colors(tuple(cfg.mean), tuple(cfg.std)), "licence": cfg.license or "none stated",
                   "source": cfg.origin_url or cfg.paper_ids or cfg.url or None}


def colors(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, Any]:
    return {} if (mean, std) == IMAGENET else {"mean": list(mean), "std": list(std)}


def main() -> None:
    """Write every family's file."""
    from convatlas.weights import tables

    warnings.filterwarnings("ignore")
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for family, library in tables.every():
        rows = {"torchvision": torchvision_rows, "timm": timm_rows}.get(library)
        for peer in tables.peers(family, library) if rows else ():
            for row in rows(peer.name):
                found[family][peer.ours].append({key: value for key, value in row.items() if value is not None})
    HOME.mkdir(exist_ok=True)
    for family, variants in sorted(found.items()):
        head = (f"# Public weights of {family}'s networks. Written by benchmarks/catalog.py; read by "
                "weights/pretrained.py.\n")
        body = yaml.safe_dump({name: variants[name] for name in sorted(variants)}, sort_keys=False, width=200,
                              allow_unicode=True)
        (HOME / f"{family}.yaml").write_text(head + body, encoding="utf-8")
        print(family, {name: len(rows) for name, rows in variants.items()})


if __name__ == "__main__":
    sys.exit(main())
