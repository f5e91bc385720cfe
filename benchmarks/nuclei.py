"""Train on real nuclei by the commands that docs/segmentation.md gives, judge the networks, and write its table anew.

    uv run python benchmarks/nuclei.py --data-dir DATA --work DIR [--trained]      # half an hour or so on two cores
    uv run python benchmarks/pictures.py --data-dir DATA --work DIR segmentation   # the page's picture, of the same runs

DATA holds nuclei/{images,labels}. Runs lie in DIR/runs: one that is there is not trained again, one that was
interrupted goes on, and with --trained the others are left out. Figures go to results/nuclei.json, the page's table is
written from there.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import convatlas
from convatlas.engine.records import read_rows
from pictures import DOCS, commands
from report import machine, save

PAGE, BEGIN, END = DOCS / "segmentation.md", "<!-- nuclei: written by benchmarks/nuclei.py -->", "<!-- /nuclei -->"


def convatlas_says(*words: str, work: Path) -> str:
    """What the command prints."""
    done = subprocess.run([sys.executable, "-m", "convatlas", *words], cwd=work, check=True,
                          stdout=subprocess.PIPE, text=True)
    return done.stdout


def measured(words: list[str], data: str, work: Path) -> dict[str, Any]:
    """One finished run, judged on the held-out images."""
    out = words[words.index("--out") + 1]
    found = json.loads(convatlas_says("eval", out, data, "--objects", "watershed", "--json", work=work))
    rows = read_rows(work / out / "metrics.csv")
    net = convatlas.load(work / out)
    kept = ("images", "mean_iou", "pixel_error", "average_precision", "rand_error", "warping_error")
    return {"command": " ".join(["convatlas", *words]), "network": net.name,
            "params": sum(tensor.numel() for tensor in net.parameters()), "epochs": len(rows),
            "training_seconds": round(rows[-1]["seconds"]), "machine": machine(),
            **{key: found[key] for key in kept}, **{key: found["classes"][1][key] for key in ("iou", "dice")},
            "train_loss": [round(row["train_loss"], 4) for row in rows],
            "val_iou": [round(row["val_iou"], 4) for row in rows]}


def table(results: dict[str, Any]) -> str:
    """Of all runs."""
    lines = ["| run | parameters | epochs | trained | IoU of nuclei | Dice | mean IoU | pixel error | instance AP | "
             "adapted Rand error | warping |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    for out, r in results.items():
        lines.append(f"| `{out}` | {r['params'] / 1e6:.2f} M | {r['epochs']} | {r['training_seconds'] / 60:.0f} min | "
                     f"{r['iou']:.3f} | {r['dice']:.3f} | {r['mean_iou']:.3f} | {100 * r['pixel_error']:.2f} % | "
                     f"{r['average_precision']:.3f} | {r['rand_error']:.3f} | {r['warping_error']:.5f} |")
    first = next(iter(results.values()))
    box = first["machine"]
    return "\n".join([*lines, "", f"Measured on the {first['images']} held-out images, whole, by `convatlas eval "
                      "runs/… DATA/nuclei --objects watershed`; instance AP is the Data Science Bowl's mean over IoU "
                      f"0.50 to 0.95. Trained on {box['processor']}, {box['cores']} cores that other programs shared, "
                      f"torch {box['torch']}; one run each, seed 0."])


def main() -> None:
    """Train what is not there, judge, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--trained", action="store_true")
    asked = parser.parse_args()
    work, data = asked.work.resolve(), str(asked.data_dir.resolve())
    (work / "runs").mkdir(parents=True, exist_ok=True)
    results = {}
    for words in commands("segmentation"):
        if words[0] != "train":
            continue
        here, out = [word.replace("DATA/", f"{data}/") for word in words], words[words.index("--out") + 1]
        if (work / out / "model.safetensors").exists() and (work / out / "segmentation.png").exists():
            pass
        elif asked.trained:
            continue
        elif any((work / out / "checkpoints").glob("*")):
            convatlas_says("train", "--resume", out, work=work)
        else:
            convatlas_says(*here, work=work)
        results[out] = measured(words, f"{data}/nuclei", work)
        print(out, results[out], flush=True)
    save("nuclei", results)
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
