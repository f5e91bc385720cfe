"""What `import convatlas` adds to `import torch`, and what its first network adds: seconds, medians over fresh
processes.

    uv run python benchmarks/import_time.py

Target: less than 0.2 s beyond torch for the import. Interleaved, because the machine's speed drifts.
"""

import statistics
import subprocess
import sys

from report import save

STEPS = {
    "import convatlas (torch already imported)": "import convatlas",
    "import convatlas, every public name used": "import convatlas as c; [getattr(c, n) for n in c.__all__]",
    "import convatlas, create_model('lenet5')": "import convatlas as c; c.create_model('lenet5')",
    "import torchvision (for comparison)": "import torchvision",
}
PROGRAM = "import torch, torch.nn, time\nt = time.perf_counter()\n{}\nprint(time.perf_counter() - t)"


def seconds(step: str) -> float:
    """One fresh process."""
    out = subprocess.run([sys.executable, "-c", PROGRAM.format(step)], check=True, capture_output=True, text=True)
    return float(out.stdout)


def main() -> None:
    """Print the table and keep it."""
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for round_ in range(8):
        for name, step in STEPS.items():
            spent = seconds(step)
            if round_:                      # the first fills the file cache
                times[name].append(spent)
    rows = {name: {"median_s": round(statistics.median(t), 4), "min_s": round(min(t), 4), "max_s": round(max(t), 4)}
            for name, t in times.items()}
    for name, row in rows.items():
        print(f"{name:<45} {row['median_s']:.3f} s   ({row['min_s']:.3f} to {row['max_s']:.3f})")
    save("import_time", rows)


if __name__ == "__main__":
    main()
