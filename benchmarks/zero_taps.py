"""Depthwise convolutions whose weights are zero at random places, as SLaK trains them: all taps, sixteen channels at a
time (the native kernels), against only those that are not zero, one channel at a time (zero_taps.cpp).

    uv run python benchmarks/zero_taps.py

One thread, fp32, processor time, the best of five turns; both results are compared. Needs g++ or clang++.
"""

import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from convatlas.deploy.native.build import FLAGS, compiler
from report import machine, put, save

HERE = Path(__file__).parent
PAGE, MARK = HERE.parent / "docs" / "performance.md", "zeros: written by benchmarks/zero_taps.py"
KERNELS = HERE.parent / "src" / "convatlas" / "deploy" / "native" / "kernels"


def table(rows: list[dict[str, float]], about: dict[str, object]) -> str:
    lines = [f"Measured on: {about['processor']}, 1 thread, CPU time.", "",
             "| kernel | map | channels | zeros | all taps, ms | without zeros, ms | times faster |",
             "|---|--:|--:|--:|--:|--:|--:|"]
    lines += [f"| {row['rows']}×{row['cols']} | {row['map']} | {row['channels']} | {row['zeros']} % | {row['all']:.2f} | "
              f"{row['few']:.2f} | {row['all'] / row['few']:.2f} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    found = compiler()
    if found is None:
        sys.exit("there is no C++ compiler: install g++")
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC", "-fvisibility=hidden")]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "zero_taps"
        subprocess.run([found, *flags, f"-I{KERNELS}", str(HERE / "zero_taps.cpp"), "-o", str(program)], check=True)
        out = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    apart = max(row["apart"] for row in rows)
    if apart > 1e-4:
        sys.exit(f"the results differ by {apart:g}")
    save("zero_taps", {"rows": rows, "measured": datetime.now(UTC).strftime("%Y-%m-%d")})
    put(PAGE, {MARK: table(rows, machine())})
    print(table(rows, machine()))


if __name__ == "__main__":
    main()
