"""A training step of networks with large depthwise kernels: by torch's own convolutions, in both memory layouts, and by
the native kernels (`train.depthwise`).

    uv run python benchmarks/large_kernels.py
    uv run python benchmarks/large_kernels.py --only slak_tiny --rounds 5 --no-save

One thread, fp32, the same weights and images; the first loss of every side is compared. The sides take turns, one step
a round, and processor time counts, which a busy machine disturbs less than the clock (wall time stands beside it): of a
side that of its best round, of two the median ratio of the rounds. Each operator of a step is timed by itself, and
torch's depthwise gradients are asked for one after the other, as its backward pass computes them.
"""

import argparse
import copy
import json
import os
import statistics
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from report import RESULTS, machine, save

#        network          pixels batch
CASES = {"replknet_31b": (224, 2), "slak_tiny": (224, 2), "convnext_tiny": (224, 2)}
SIDES = {"torch, channels first": ("torch", False), "torch, channels last": ("torch", True),
         "native, channels first": ("native", False), "native, channels last": ("native", True)}
FIRST, LAST, OURS = "torch, channels first", "torch, channels last", "native, channels last"
DEPTHWISE = ("depthwise forward", "depthwise input gradient", "depthwise weight gradient")
PARTS = (*DEPTHWISE, "1×1 and linear", "other convolutions", "normalisation", "rest")
TOLERANCE = 1e-4            # by which first losses may differ
STEP, PART = 4.0, 3.0       # targets: the step over eager channels first, its depthwise part over channels last


def kind(name: str, weight: Any, groups: int) -> str:
    """The part of the step that an operator belongs to, but for gradients."""
    if weight is not None:
        return ("depthwise forward" if groups > 1 and weight.shape[1] == 1
                else "1×1 and linear" if weight.shape[2:] == (1, 1) else "other convolutions")
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return "1×1 and linear"
    return "normalisation" if "batch_norm" in name or "layer_norm" in name else "rest"


def clocked() -> Any:
    """A mode of torch that counts seconds of processor time of each part."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    ours = {"depthwise": DEPTHWISE[0], "depthwise_input_gradient": DEPTHWISE[1],
            "depthwise_weight_gradient": DEPTHWISE[2]}

    class Clock(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seconds: Counter[str] = Counter()

        def timed(self, part: str, func: Any, args: Any, kwargs: Any) -> Any:
            began = time.process_time()
            found = func(*args, **kwargs)
            self.seconds[part] += time.process_time() - began
            return found

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name, kwargs = func._schema.name.partition("::")[2], kwargs or {}
            if name in ours:
                return self.timed(ours[name], func, args, kwargs)
            if name == "convolution":
                return self.timed(kind(name, args[1], args[8]), func, args, kwargs)
            if func is torch.ops.aten.convolution_backward.default:
                part = kind(name, args[2], args[9])
                if part != DEPTHWISE[0]:
                    return self.timed(part, func, args, kwargs)
                of_map, of_weight, of_bias = args[10]
                one = self.timed(DEPTHWISE[1], func, (*args[:10], [of_map, False, False]), kwargs)
                two = self.timed(DEPTHWISE[2], func, (*args[:10], [False, of_weight, of_bias]), kwargs)
                return one[0], two[1], two[2]
            return self.timed(kind(name, None, 1), func, args, kwargs)

    return Clock()


def measure(name: str, rounds: int) -> dict[str, Any]:
    """One network: what each side's step takes, and its parts."""
    import torch

    from convatlas import create_model
    from convatlas.deploy.native import training
    from convatlas.engine import allocator

    torch.set_num_threads(1)
    allocator.use("keep", 0, torch.device("cpu"))
    size, batch = CASES[name]
    torch.manual_seed(0)
    model = create_model(name, image_size=size, drop_path_rate=0.0).train()
    images, labels = torch.randn(batch, 3, size, size), torch.randint(1000, (batch,))
    load, sides, losses = os.getloadavg()[0], {}, {}
    steps: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for side, (by, last) in SIDES.items():
        net = copy.deepcopy(model)
        if by == "native":
            training.take(net)
        order = torch.channels_last if last else torch.contiguous_format
        net.to(memory_format=order)
        sides[side] = net, images.contiguous(memory_format=order), torch.optim.SGD(net.parameters(), 1e-3)
    del model
    for number in range(rounds):
        for side in list(SIDES)[:: -1 if number % 2 else 1]:
            net, x, optim = sides[side]
            clock, began, wall = clocked(), time.process_time(), time.perf_counter()
            with clock:
                loss = torch.nn.functional.cross_entropy(net(x), labels)
                loss.backward()
                optim.step()
                optim.zero_grad()
            total, wall = time.process_time() - began, time.perf_counter() - wall
            losses.setdefault(side, loss.item())
            parts = {part: clock.seconds[part] for part in PARTS[:-1]}
            steps[side].append({"cpu": total, "wall": wall, "parts": {**parts, "rest": total - sum(parts.values())}})
            print(f"  {name}, round {number + 1}, {side}: {total:.2f} s of CPU, {wall:.2f} s", flush=True)
    apart = max(abs(loss - losses[FIRST]) for loss in losses.values()) / abs(losses[FIRST])
    if not apart <= TOLERANCE:
        raise SystemExit(f"{name}: the first losses {losses} are not the same: it is other work")
    best = {side: min(each, key=lambda step: step["cpu"]) for side, each in steps.items()}

    def depthwise(side: str) -> float:
        return min(sum(step["parts"][part] for part in DEPTHWISE) for step in steps[side])

    def over(side: str) -> list[float]:
        return [round(theirs["cpu"] / ours["cpu"], 2) for theirs, ours in zip(steps[side], steps[OURS], strict=True)]

    return {
        "size": size, "batch": batch, "rounds": rounds, "first_losses_differ_by": float(f"{apart:.2g}"),
        "sides": {side: {"cpu_ms": round(1e3 * step["cpu"], 1), "wall_ms": round(1e3 * step["wall"], 1),
                         "cpu_ms_by_round": [round(1e3 * each["cpu"], 1) for each in steps[side]],
                         "parts_ms": {part: round(1e3 * spent, 1) for part, spent in step["parts"].items()}}
                  for side, step in best.items()},
        "step_over_first": statistics.median(over(FIRST)), "step_over_first_by_round": over(FIRST),
        "step_over_last": statistics.median(over(LAST)),
        "depthwise_over_first": round(depthwise(FIRST) / depthwise(OURS), 1),
        "depthwise_over_last": round(depthwise(LAST) / depthwise(OURS), 1),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"), "load_before": round(load, 2), "machine": machine(),
    }


def show(name: str, row: dict[str, Any]) -> None:
    print(f"{name}, {row['batch']} images of {row['size']} pixels; CPU ms, of which")
    print(f"  {'':<24}{'step':>9}" + "".join(f"{part:>27}" for part in PARTS))
    for side, found in row["sides"].items():
        parts = "".join(f"{found['parts_ms'][part]:>20.0f} ({100 * found['parts_ms'][part] / found['cpu_ms']:>2.0f} %)"
                        for part in PARTS)
        print(f"  {side:<24}{found['cpu_ms']:>9.0f}{parts}")
    print(f"  step {row['step_over_first']:.2f}× eager channels first (target {STEP:g}), {row['step_over_last']:.2f}× "
          f"channels last; depthwise {row['depthwise_over_first']:.1f}× and {row['depthwise_over_last']:.1f}× "
          f"(target {PART:g})", flush=True)


def main() -> None:
    """Measure, print and keep; rows of networks that are not measured now stay as they were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    path = RESULTS / "large_kernels.json"
    results = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    for name in options.only:
        results[name] = measure(name, options.rounds)
        show(name, results[name])
        if not options.no_save:
            save("large_kernels", {key: results[key] for key in CASES if key in results})


if __name__ == "__main__":
    main()
