"""One training step of small networks with one CPU thread and with all of them, alone and beside a busy process.

    uv run python benchmarks/threads.py

Medians of interleaved rounds, in milliseconds; the reason for engine/threads.py.
"""

import multiprocessing
import statistics
import time

import torch

from convatlas import create_model
from convatlas.net import layers
from report import save

STEPS = (("lenet5", 16), ("lenet5", 256), ("lecun1989_zipcode", 1), ("lenet5_modern", 64), ("lenet5_modern", 256))


def step(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def milliseconds(name: str, batch: int, threads: int) -> float:
    """Median of some steps."""
    torch.set_num_threads(threads)
    model = create_model(name)
    images, labels = torch.randn(batch, 1, *model.image_size), torch.randint(10, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        step(model, images, labels, optimizer)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[10:])


def busy() -> None:
    while True:
        pass


def measure(all_threads: int) -> list[dict[str, float | str]]:
    """Interleaved: one, all, one, all …"""
    rows: list[dict[str, float | str]] = []
    for name, batch in STEPS:
        pairs = [(milliseconds(name, batch, 1), milliseconds(name, batch, all_threads)) for _ in range(5)]
        one, many = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append({"network": name, "batch": batch, "forward_macs": batch * layers.macs(create_model(name)),
                     "one_thread_ms": round(one, 2), "all_threads_ms": round(many, 2),
                     "one_over_all": round(one / many, 2)})
    return rows


def main() -> None:
    """Print both tables and keep them."""
    all_threads = torch.get_num_threads()
    results = {"alone": measure(all_threads)}
    other = multiprocessing.Process(target=busy, daemon=True)
    other.start()
    results["beside a busy process"] = measure(all_threads)
    other.terminate()
    for title, rows in results.items():
        print(title)
        for row in rows:
            print("  {network:<18} batch {batch:>3}: {one_thread_ms:>8} ms with one thread, {all_threads_ms:>8} ms "
                  "with all".format(**row))
    save("threads", {"threads": all_threads, **results})


if __name__ == "__main__":
    main()
