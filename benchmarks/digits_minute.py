"""The README's main job as a whole process: `convatlas train lenet5 digits`, start to report, three seeds.

    uv run python benchmarks/digits_minute.py

Targets: at least 98 % validation accuracy, in under 60 s on two cores.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import save


def run(seed: int, folder: Path) -> dict[str, float]:
    """One run in a fresh process."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "convatlas", "train", "lenet5", "digits", "--seed", str(seed), "--out", str(folder)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {"seed": seed, "seconds": round(seconds, 1), "training_seconds": round(float(rows[-1]["seconds"]), 1),
            "best_val_top1": max(float(row["val_top1"]) for row in rows), "last_val_top1": float(rows[-1]["val_top1"])}


def main() -> None:
    """Print the table and keep it."""
    with tempfile.TemporaryDirectory() as place:
        rows = [run(seed, Path(place) / str(seed)) for seed in range(3)]
    for row in rows:
        print(f"seed {row['seed']}: {row['seconds']} s as a whole process, {row['training_seconds']} s of it training; "
              f"best {row['best_val_top1']:.2%}, last epoch {row['last_val_top1']:.2%}")
    save("digits_minute", {"threads": os.environ.get("OMP_NUM_THREADS", "default"), "runs": rows})


if __name__ == "__main__":
    main()
