"""Write tests/golden/state_dict.yaml: the tensor names and shapes of every variant. New ones are added, old ones never change.

uv run python benchmarks/golden.py
"""

import sys
from pathlib import Path

import torch
import yaml

from convatlas import create_model, list_models

PATH = Path(__file__).parents[1] / "tests" / "golden" / "state_dict.yaml"


def main() -> None:
    """Add what is missing; stop at what has changed."""
    golden = yaml.safe_load(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    for name in list_models():
        with torch.device("meta"):
            names = {key: "×".join(map(str, tensor.shape)) or "scalar" for key, tensor in create_model(name).state_dict().items()}
        if golden.setdefault(name, names) != names:
            sys.exit(f"the tensors of {name} have changed: people's files would no longer load")
    PATH.write_text(yaml.safe_dump(golden, sort_keys=False, allow_unicode=True), encoding="utf-8")


if __name__ == "__main__":
    main()
