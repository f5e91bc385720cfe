"""Search among a million vectors on disk: seconds per query, and the memory it takes, exact and by faiss where that is
installed.

    uv run python benchmarks/neighbours.py                          # 2.3 GB of vectors in a temporary folder; two minutes
    uv run --with faiss-cpu python benchmarks/neighbours.py
    uv run python benchmarks/neighbours.py 10000 --keep-nothing     # a small try that writes no result

Vectors are clusters of noise from a seed, so that near ones exist. Every measurement is a process of its own, its first
search, which imports and maps, left out; times are medians of the clock. Peaks are of anonymous memory (RssAnon, every
2 ms) above what the process had before; pages of the mapped file, which the system takes back as it likes, are counted
apart. Every query is a vector of the file moved a little, and must be found as its nearest.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convatlas.inspect.nearest import Vectors, nearest
from report import save

COUNT, WIDTHS, QUERIES, ROUNDS, K = 1_000_000, (64, 512), (1, 100), 5, 6
PART, CLUSTERS = 50_000, 1000
APART = 1009            # rows between two queries


def write(path: Path, count: int, width: int) -> None:
    """float32 (count, width), some rows at a time."""
    dice = np.random.default_rng(width)
    centres = 4 * dice.random((CLUSTERS, width), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, count, PART):
            rows = min(PART, count - start)
            noise = dice.standard_normal((rows, width), dtype=np.float32)
            file.write((centres[dice.integers(0, CLUSTERS, rows)] + noise).tobytes())


class Peak(threading.Thread):
    """The most that /proc says of this process's memory since it was started, in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.now()
        self.most = dict(self.before)

    def now(self) -> dict[str, float]:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return {words[0][:-1]: int(words[1]) / 1024 for words in lines
                if words and words[0] in ("RssAnon:", "RssFile:")}

    def run(self) -> None:
        while True:
            for name, value in self.now().items():
                self.most[name] = max(self.most[name], value)
            time.sleep(0.002)


def child(path: Path, count: int, width: int, queries: int, engine: Any, metric: Any) -> None:
    """One measurement, printed as JSON."""
    vectors = Vectors(path, count, width)
    numbers = torch.arange(queries) * APART % count
    asked = vectors.chosen(numbers) + 0.05 * torch.randn(queries, width, generator=torch.Generator().manual_seed(0))
    nearest(asked, Vectors(path, min(count, 1000), width), K, metric, engine)
    peak = Peak()
    peak.start()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = nearest(asked, vectors, K, metric, engine)[1]
        seconds.append(time.perf_counter() - began)
    assert torch.equal(found[:, 0], numbers), "a query's own vector is not its nearest"
    print(json.dumps({
        "seconds": round(statistics.median(seconds), 3), "seconds_per_query": round(
            statistics.median(seconds) / queries, 4), "all_seconds": [round(each, 3) for each in seconds],
        "anonymous_mib": round(peak.most["RssAnon"] - peak.before["RssAnon"]),
        "mapped_mib": round(peak.most["RssFile"] - peak.before["RssFile"]),
    }))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=COUNT)
    parser.add_argument("--keep-nothing", action="store_true")
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        path, count, width, queries, engine, metric = given.child
        child(Path(path), int(count), int(width), int(queries), engine, metric)
        return
    ways = [("exact", "euclidean"), ("exact", "cosine"), *([("faiss", "euclidean")] if find_spec("faiss") else [])]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            path = Path(folder) / f"{width}.f32"
            write(path, given.count, width)
            for queries in QUERIES:
                for engine, metric in ways:
                    words = [str(path), *map(str, (given.count, width, queries)), engine, metric]
                    done = subprocess.run([sys.executable, __file__, "--child", *words], check=True,
                                          capture_output=True, text=True)
                    rows.append({"width": width, "file_mib": round(path.stat().st_size / 2**20), "queries": queries,
                                 "engine": engine, "metric": metric, **json.loads(done.stdout)})
                    print(rows[-1], flush=True)
            path.unlink()
    if not given.keep_nothing:
        save("neighbours", {"vectors": given.count, "neighbours": K, "rounds": ROUNDS,
                            "threads": torch.get_num_threads(), "searches": rows})


if __name__ == "__main__":
    main()
