"""Write tests/golden/state_dict.yaml: the tensor names and shapes of every variant.

New ones are added, old ones never change. The smallest network of each family is written whole, the others as a digest
of the same.

uv run python benchmarks/golden.py
"""

import sys
from hashlib import sha256
from pathlib import Path

import torch
import yaml

from convatlas import create_model, list_models
from convatlas.net import registry

PATH = Path(__file__).parents[1] / "tests" / "golden" / "state_dict.yaml"


def main() -> None:
    """Add what is missing; stop at what has changed."""
    golden = yaml.safe_load(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    models = sorted(list_models(), key=lambda name: (registry.VARIANTS[name].macs, name))
    first = {registry.VARIANTS[name].family: name for name in reversed(models)}
    for name in sorted(models):
        with torch.device("meta"):
            names = {key: "×".join(map(str, tensor.shape)) or "scalar"
                     for key, tensor in create_model(name).state_dict().items()}
        known = golden.get(name, names if first[registry.VARIANTS[name].family] == name and len(names) < 400 else "")
        golden[name] = names if isinstance(known, dict) else sha256(repr(names).encode()).hexdigest()
        if known and golden[name] != known:
            sys.exit(f"the tensors of {name} have changed: people's files would no longer load")
    PATH.write_text(yaml.safe_dump(golden, sort_keys=False, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    main()
