"""Every network as ONNX in ONNX Runtime: size of the file, and the largest difference of its scores from the network's.

    uv run python benchmarks/onnx_all.py                # all that is not known yet, smallest first; interrupt it when you like
    uv run python benchmarks/onnx_all.py 'resnet*' unet

Weights are random, with statistics and factors that are not the initial ones; all classes; images as small as the
network takes; the file is asked for five images at once and for one, having been written with neither. A network that
fails is listed with the reason, and with how far its own scores in float32 are from those in float64 (`own_error`).
Where such weights make a network so deep that its scores in float32 are not those in float64, its statistics are a
batch's instead.
"""

import json
import sys
import tempfile
import time
from copy import deepcopy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from report import RESULTS, machine

ROOT = Path(__file__).parents[1]
KEPT = RESULTS / "onnx.json"


def main(patterns: list[str]) -> None:
    """Fill in what is missing, and say how far it came."""
    sys.path.insert(0, str(ROOT / "tests"))
    from convatlas import list_models
    from convatlas.net import registry

    known = json.loads(KEPT.read_text(encoding="utf-8"))["results"] if KEPT.exists() else {}
    names = sorted((n for n in list_models() if any(fnmatchcase(n, p) for p in patterns)),
                   key=lambda n: registry.VARIANTS[n].params)
    for i, name in enumerate(names, start=1):
        if name in known:
            continue
        began = time.perf_counter()
        known[name] = row = checked(name)
        print(f"{i}/{len(names)} {name} {row} {time.perf_counter() - began:.0f} s", flush=True)
        beside = KEPT.with_suffix(".tmp")
        beside.write_text(json.dumps({"machine": machine(), "results": known}, indent=1) + "\n", encoding="utf-8")
        beside.replace(KEPT)
    failed = {name: row["error"] for name, row in known.items() if "error" in row}
    print(f"{len(known)} of {len(list_models())} networks, {len(failed)} failed: {failed}")


def checked(name: str) -> dict[str, object]:
    """One network, written and run."""
    import torch

    from convatlas.deploy.choose import difference
    from convatlas.deploy.exports import export
    from convatlas.deploy.reader import open_session
    from laws import build, fields_of, images
    from parity import randomized

    fields = {field: value for field, value in fields_of(name).items() if field != "num_classes"}
    model = randomized(build(name, num_classes=_classes(name), **fields))
    sure = _own_error(model, images(model, 3)) < 1e-5
    if not sure:
        _with_statistics_of(model, images(model, 8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            session = open_session(export(model, path).path, torch.get_num_threads())
        except Exception as error:      # whatever it is, it is the result
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
                    "own_error": float(f"{_own_error(model, images(model, 3)):.2e}")}
        off = 0.0
        for batch in (images(model, 5), images(model, 1)):
            off = max(off, difference(model, batch, torch.from_numpy(session.run(None, {"image": batch.numpy()})[0])))
        return {"bytes": path.stat().st_size, "difference": float(f"{off:.2e}"), "image_size": list(model.image_size),
                **({} if sure else {"statistics": "of a batch"})}


def _own_error(model: Any, x: Any) -> float:
    """How far the network's scores in float32 are from those in float64."""
    import torch

    from convatlas.deploy.choose import difference

    with torch.inference_mode():
        return difference(deepcopy(model).double(), x.double(), model(x).double())


def _with_statistics_of(model: Any, x: Any) -> None:
    """Every map as training would leave it: BatchNorm's statistics are those of `x`."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    model.eval()


def _classes(name: str) -> int:
    from convatlas.net import registry

    return int(registry.variant(name).spec.num_classes)


if __name__ == "__main__":
    main(sys.argv[1:] or ["*"])
