"""Where a training step's time goes, ours and the plain loop's, by kinds of operators: results/step_profile.json.

    uv run python benchmarks/step_profile.py [--only NAME …]

The cases are train_step.py's with whole passes over a data set. Shares are of the operators' own time in torch's
profiler, whose own cost lies mostly on small operators; milliseconds per step are measured without it. `data` is
everything before the step.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import train_step
from report import save

ROUNDS = 5
#   kind: beginnings of operators' names, the first that fits counts
KINDS = {
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::_convolution",
                     "aten::convolution", "aten::conv2d"),
    "pooling": ("aten::max_pool", "aten::avg_pool", "aten::adaptive_avg_pool", "aten::mean"),
    "activations": ("aten::relu", "aten::clamp_min", "aten::threshold_backward"),
    "linear layers": ("aten::addmm", "aten::mm", "aten::linear"),
    "normalisation": ("aten::native_batch_norm", "aten::batch_norm", "aten::_batch_norm", "aten::cudnn_batch_norm"),
    "optimiser": ("Optimizer.", "aten::_fused", "aten::_foreach"),
    "data": ("enumerate(DataLoader)", "aten::index", "aten::randperm"),
}


def kind_of(name: str) -> str:
    return next((kind for kind, starts in KINDS.items() if name.startswith(starts)), "everything else")


def profiled(rounds: Iterator[int], steps: int) -> dict[str, Any]:
    """Milliseconds per step, and each kind's share of it in per cent."""
    next(rounds)
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        next(rounds)
        took.append(1000 * (time.perf_counter() - began) / steps)
    with profile(activities=[ProfilerActivity.CPU]) as record:
        next(rounds)
    own: dict[str, float] = {}
    for event in record.key_averages():
        kind = kind_of(event.key)
        own[kind] = own.get(kind, 0.0) + event.self_cpu_time_total
    whole, operators = sum(own.values()), sum(event.count for event in record.key_averages()
                                              if event.key.startswith("aten::"))
    shares = {kind: round(100 * value / whole, 1) for kind, value in sorted(own.items(), key=lambda pair: -pair[1])}
    return {"milliseconds_per_step": round(statistics.median(took), 3), "operators_per_step": round(operators / steps),
            "per_cent": shares}


def main() -> None:
    """Measure, print and keep."""
    names = [name for name, case in train_step.CASES.items() if case.data]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    results: dict[str, Any] = {"threads": torch.get_num_threads()}
    for name in options.only:
        case = train_step.CASES[name]
        # ours last: what its allocator keeps is kept for the process
        results[name] = {"theirs": profiled(train_step.theirs(case, 0)[1], case.steps),
                         "ours": profiled(train_step.ours(case, "ours")[1], case.steps)}
        for side, found in results[name].items():
            print(f"{name} {side}: {found['milliseconds_per_step']} ms a step, "
                  f"{found['operators_per_step']} operators; "
                  + ", ".join(f"{kind} {share} %" for kind, share in found["per_cent"].items()), flush=True)
    if not options.no_save:
        save("step_profile", results)


if __name__ == "__main__":
    main()
