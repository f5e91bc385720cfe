"""How fast networks answer as deployed here, beside timm's and torchvision's own and the engines run on those:
results/inference.json.

    uv run --group bench python benchmarks/inference.py [NAME …] [--rounds N] [--seconds S]   # what is not there yet, pair by pair
    uv run --group bench python benchmarks/inference.py --threads 1 [NAME …]    # by CPU time, any network: results/engines.json;
                                                    # two to three minutes for each pair, of which --batch 1 takes half
    uv run python benchmarks/inference.py --rewrites        # what each rewrite gives, on the same engine: results/rewrites.json
    uv run python benchmarks/inference.py --profile         # the networks furthest from the machine's rate: results/profile.json
    uv run python benchmarks/inference.py --page            # the tables of docs/performance.md from those files

Interrupt it when you like: it goes on with the pair that it was at. For other machines begin anew: --again. It wants a
quiet machine; the CPU time of one thread is what a busy one spoils least.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import RESULTS, put

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PANEL = ("alexnet_owt", "vgg16", "googlenet_bn", "inception_v3", "resnet18", "resnet50", "wide_resnet50_2",
         "resnext50_32x4d", "densenet121", "se_resnet50", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large",
         "efficientnet_b0", "repvgg_a0", "repvgg_b1", "convnext_tiny")
BATCHES = (1, 16)
RIVALS = ("onnxruntime", "openvino", "ncnn", "mnn")
FIVE = (*RIVALS, "compile")
COMPILED = ("resnet50", "mobilenet_v2")       # torch.compile on both sides too: it takes minutes for each
REWRITTEN = ("googlenet_bn", "inception_v3", "densenet121", "repvgg_a0", "repvgg_b1", "convnext_tiny")
#          least geometric mean at each batch, least of all
EAGER = ({1: 2.4, 16: 2.7}, 1.4)
ENGINE = ({1: 1.3, 16: 1.5}, 1.0)


# -- the comparison ----------------------------------------------------------------------------------------------------


def measure(names: list[str], rounds: int, seconds: float, again: bool, threads: int | None, batches: tuple[int, ...]
            ) -> None:
    """Every pair that is not in the file yet; a network that fails is told and left out."""
    from convatlas import ConvatlasError
    from convatlas.deploy.bench.comparison import Comparison, bench, plain
    from convatlas.deploy.bench.comparison import again as read
    from convatlas.deploy.machine import about, versions

    path = RESULTS / ("inference.json" if threads is None else "engines.json")
    known: list[Comparison] = []
    if path.exists() and not again:
        known = [read(each) for each in json.loads(path.read_text(encoding="utf-8"))["comparisons"]]

    def done(compared: Comparison) -> None:
        known[:] = [each for each in known if (each.model, each.batch, each.threads)
                    != (compared.model, compared.batch, compared.threads)]
        known.append(compared)
        known.sort(key=lambda each: (PANEL.index(each.model) if each.model in PANEL else len(PANEL), each.model,
                                     each.batch, each.threads or 0))
        RESULTS.mkdir(exist_ok=True)
        tree = {"machine": about() | versions(("ncnn", "MNN")), "seconds_per_turn": seconds,
                "compiled_only_for": COMPILED, "targets": judge(known) if threads is None else [],
                "comparisons": [plain(each) for each in known]}
        path.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"  {compared.backend}; of CPU time: " + ", ".join(
            f"{side.name} {side.cpu_ratio:.2f}×" if side.cpu_ratio else f"{side.name}: {side.refused}"
            for side in compared.sides[1:]), flush=True)

    for name in names:
        more = ["compile"] if name in COMPILED else []
        try:
            bench(name, batches, [library(name), *RIVALS, *more], rounds=rounds, seconds=seconds, threads=threads,
                  backend="auto" if threads is None else "native", known=known, done=done,
                  candidates=("eager", "native", "onnxruntime", "openvino", *(more if threads is None else ())),
                  tell=lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True))
        except ConvatlasError as problem:
            print(f"{name}: {problem}", flush=True)
    for target in judge(known) if threads is None else ():
        print(f"{'met' if target['met'] else 'MISSED':>6}  {target['target']}: {target['found']}")


def library(name: str) -> str:
    """timm, where it has the network; the original AlexNet and GoogLeNet are torchvision's."""
    return "torchvision" if name in ("alexnet_owt", "googlenet_bn") else "timm"


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(map(math.log, values)))


def judge(known: list[Any]) -> list[dict[str, Any]]:
    """Each target with what was found; it is met only by the whole panel."""
    eager = {(each.model, each.batch): each.eager.ratio for each in known
             if each.eager and each.eager.name != "convatlas"}
    engine = {(each.model, each.batch): each.best_engine.ratio for each in known
              if each.best_engine and {side.name for side in each.sides} >= set(RIVALS)}
    whole = len(PANEL) * len(BATCHES)
    rows: list[dict[str, Any]] = []

    def add(what: str, found: dict[tuple[str, int], float], least: float, pairs: int, whole_mean: bool) -> None:
        if not found:
            return
        value = mean(list(found.values())) if whole_mean else min(found.values())
        below = [f"{name}, batch {batch}: {ratio:.2f}" for (name, batch), ratio in found.items() if ratio < least]
        rows.append({"target": what, "least": least, "found": round(value, 3), "pairs": len(found), "of": pairs,
                     "met": value >= least and len(found) == pairs, "below": [] if whole_mean else below})

    for batch, least in EAGER[0].items():
        add(f"the library's model in eager mode, batch {batch}, geometric mean at least {least}×",
            {key: ratio for key, ratio in eager.items() if key[1] == batch}, least, len(PANEL), True)
    add(f"the library's model in eager mode, none under {EAGER[1]}×", eager, EAGER[1], whole, False)
    for batch, least in ENGINE[0].items():
        add(f"the best engine on the library's model, batch {batch}, geometric mean at least {least}",
            {key: ratio for key, ratio in engine.items() if key[1] == batch}, least, len(PANEL), True)
    add(f"the best engine on the library's model, none under {ENGINE[1]}", engine, ENGINE[1], whole, False)
    return rows


# -- what each rewrite gives -------------------------------------------------------------------------------------------


def rewrites(names: list[str], rounds: int, seconds: float) -> None:
    """Both engines on the network as trained, folded, and rewritten; each network in a process of its own.

    What the file has of other networks stays, if it was measured on this machine with these versions.
    """
    from convatlas.deploy.machine import about

    path = RESULTS / "rewrites.json"
    tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept: dict[str, Any] = tree["results"] if tree.get("machine") == about() else {}
    for name in names:
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        kept |= _own_process("rewrite", name, rounds, seconds)
        save("rewrites", kept)


def rewrite_of(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """{network: {batch: {engine: {form: milliseconds, form/as trained: times faster}}}}"""
    from copy import deepcopy

    import torch

    from convatlas.deploy import fold_structure
    from convatlas.deploy.bench.sides import by_onnxruntime, by_openvino, chosen, turn
    from convatlas.deploy.graph.rewrite import rewrite
    from convatlas.parts import Parallel

    net, _ = chosen(name, [library(name)])
    forms = {"as trained": net, "folded": fold_structure(deepcopy(net), join=False), "rewritten": rewrite(net)}
    if any(isinstance(module, Parallel) for module in net.modules()):
        forms["joined"] = rewrite(net, join=True)
    found: dict[str, Any] = {}
    for batch in BATCHES:
        x = torch.randn(batch, net.in_chans, *net.image_size, generator=torch.Generator().manual_seed(1))
        with tempfile.TemporaryDirectory() as folder:
            for engine, make in {"onnxruntime": by_onnxruntime, "openvino": by_openvino}.items():
                calls = {form: make(module, x, Path(folder) / "net") for form, module in forms.items()}
                times: dict[str, list[float]] = {form: [] for form in calls}
                for _ in range(rounds):
                    for form, call in calls.items():
                        times[form].append(statistics.median(turn(call, x, seconds)))
                found.setdefault(str(batch), {})[engine] = {
                    form: {"milliseconds": statistics.median(each) * 1e3,
                           "ratio": statistics.median(a / b for a, b in zip(times["as trained"], each, strict=True))}
                    for form, each in times.items()}
    return {name: found}


# -- where time goes ---------------------------------------------------------------------------------------------------


def profile(count: int, rounds: int) -> None:
    """Kind by kind: the `count` networks of inference.json that use the least of the machine's rate (batch 16), and the
    one that is the least faster than the library's.
    """
    tree = json.loads((RESULTS / "inference.json").read_text(encoding="utf-8"))
    share = {each["model"]: each["sides"][0]["share"] for each in tree["comparisons"] if each["batch"] == max(BATCHES)}
    ratios = {(each["model"], each["batch"]): next(side["ratio"] for side in each["sides"] if side["name"]
                                                   == library(each["model"])) for each in tree["comparisons"]}
    least, _ = min(ratios, key=ratios.__getitem__)
    kept: dict[str, Any] = {}
    for name in dict.fromkeys([*sorted(share, key=share.__getitem__)[:count], least]):
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        kept |= _own_process("profile", name, rounds, 0.0)
        save("profile", kept)


def profile_of(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """{network: {batch: kinds of layers with seconds and multiply-adds}}: the steps of the native backend, tuned for
    the batch.
    """
    import torch

    from convatlas.deploy.bench.sides import chosen
    from convatlas.deploy.graph.rewrite import rewrite
    from convatlas.deploy.machine import OPERATIONS, matrix_product
    from convatlas.deploy.native import Network
    from convatlas.deploy.native.plan import plan
    from convatlas.deploy.native.work import Work
    from convatlas.engine.allocator import keep

    def kind(work: Work, kernel: str) -> str:
        side = "×".join(map(str, work.kernel))
        if work.weight is None or work.kind == "layernorm":
            return f"{side} {kernel}" if "pool" in kernel else kernel
        if work.result.h == work.result.w == 1 and work.kernel == (1, 1):
            return "linear"
        form = {"depthwise": "depthwise ", "winograd4": "Winograd 4×4, ", "winograd2": "Winograd 2×2, "}.get(kernel, "")
        return f"{form}{'grouped ' if work.groups > 1 and work.kind == 'conv' else ''}{side} convolution"

    keep()
    net, _ = chosen(name, [library(name)])
    product = matrix_product()
    found: dict[str, Any] = {}
    for batch in BATCHES:
        x = torch.randn(batch, net.in_chans, *net.image_size, generator=torch.Generator().manual_seed(1)).numpy()
        native = Network(plan(rewrite(net), x.shape[1:]), torch.get_num_threads())
        native.tune(x)
        runs: list[dict[str, list[float]]] = []
        rates = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            product()
            rates.append(OPERATIONS / (time.perf_counter() - began))
            native(x)
            runs.append({})
            for work, kernel, spent in native.profile(x):
                macs = 0 if work.weight is None or work.kind == "layernorm" else work.weight[0].size * work.result.c * (
                    work.result.pixels // work.result.n * batch)
                row = runs[-1].setdefault(kind(work, kernel), [0.0, 0.0, 0.0])
                row[0], row[1], row[2] = row[0] + spent, row[1] + macs, row[2] + 1
        kinds = {each: {"seconds": statistics.median(run[each][0] for run in runs[1:]), "macs": runs[-1][each][1],
                        "steps": int(runs[-1][each][2])} for each in runs[-1]}
        found[str(batch)] = {"matrix_rate": statistics.median(rates[1:]), "part": native.parts[batch],
                             "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1]["seconds"]))}
    return {name: found}


def _own_process(what: str, name: str, rounds: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", what, name, "--rounds", str(rounds), "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def save(name: str, results: Any) -> None:
    """results/<name>.json, with the machine named."""
    from convatlas.deploy.machine import about

    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": about(), "results": results}, indent=1,
                                                     ensure_ascii=False) + "\n", encoding="utf-8")


# -- the page ----------------------------------------------------------------------------------------------------------


def page() -> None:
    """Put the tables between their marks in docs/performance.md."""
    paths = {RESULTS / f"{table}.json": make for table, make in TABLES.items()}
    put(PAGE, {path.stem: make(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else "Not measured yet."
               for path, make in paths.items()})


def machine_line(machine: dict[str, Any]) -> str:
    """Where it was measured."""
    packages = [name for name in ("torch", "timm", "torchvision", "onnxruntime", "openvino", "ncnn", "MNN")
                if name in machine]
    versions = ", ".join(f"{name} {machine[name]}" for name in packages)
    return f"{machine['processor']}, {machine['threads']} threads, {machine['instructions']}; {versions}."


def engines_table(tree: dict[str, Any]) -> str:
    """Milliseconds of CPU time for a batch: ours and each engine's."""
    loads = [load for each in tree["comparisons"] for load in each["load"] or ()]
    machine = tree["machine"]
    where = machine_line(machine).replace(f"{machine['threads']} threads, ", "")
    lines = [f"Measured on: {where} While it was measured, {min(loads):.1f} to {max(loads):.1f} processes wanted to run, "
             f"on {machine['cores']} cores.", "",
             f"| network | batch | threads | native | {' | '.join(FIVE)} | best engine / native | by the clock |",
             f"|---|--:|--:|--:|{'--:|' * len(FIVE)}--:|--:|"]
    for each in tree["comparisons"]:
        sides = {side["name"]: side for side in each["sides"] if side["latency"]}
        rivals = [sides[name] for name in FIVE if name in sides]
        best, soonest = (min(rivals, key=lambda side: side[by]) for by in ("cpu", "latency"))
        cells = [f"{sides[name]['cpu'] * 1e3:.1f}" if name in sides else "–" for name in ("ours", *FIVE)]
        lines.append(f"| {each['model']} | {each['batch']} | {each['threads']} | {' | '.join(cells)} | "
                     f"{best['cpu_ratio']:.2f} ({best['name']}) | {soonest['ratio']:.2f} ({soonest['name']}) |")
    for threads, batch in sorted({(each["threads"], each["batch"]) for each in tree["comparisons"]}):
        ratios = [min(side["cpu_ratio"] for side in each["sides"] if side["name"] in FIVE and side["cpu_ratio"])
                  for each in tree["comparisons"] if (each["threads"], each["batch"]) == (threads, batch)]
        lines += ["", f"Batch {batch}, {threads} thread{'s' * (threads > 1)}: {len(ratios)} networks, geometric mean "
                  f"{mean(ratios):.2f} (wanted: {ENGINE[0].get(batch, '–')}), least {min(ratios):.2f} (wanted: {ENGINE[1]})."]
    lines += ["", f"torch.compile, with frozen weights, was measured for {', '.join(tree['compiled_only_for'])} only."]
    return "\n".join(lines)


def inference_table(tree: dict[str, Any]) -> str:
    """Networks by rows; images per second and ratios."""
    rates = [each["matrix_rate"] / 1e9 for each in tree["comparisons"]]
    lines = [f"Measured on: {machine_line(tree['machine'])} The matrix rate was {statistics.median(rates):.0f} GFLOP/s "
             f"in the median of the pairs (from {min(rates):.0f} to {max(rates):.0f}).", "",
             "| network | batch | ours by | images/s | of the matrix rate | × eager | × best engine (which) | MB ours "
             "/ eager |", "|---|--:|---|--:|--:|--:|--:|--:|"]
    for each in tree["comparisons"]:
        sides = {side["name"]: side for side in each["sides"] if side["latency"]}
        ours = sides["ours"]
        eager = next((sides[name] for name in ("timm", "torchvision") if name in sides), None)
        engines = [sides[name] for name in (*RIVALS, "compile") if name in sides]
        best = min(engines, key=lambda side: side["latency"], default=None)
        which = "–" if best is None else f"{best['ratio']:.2f} ({best['name']})"
        memory = [f"{side['memory'] / 1e6:.0f}" for side in (ours, eager) if side and side["memory"]]
        lines.append(f"| {each['model']} | {each['batch']} | {each['backend']} | {ours['throughput']:.1f} | "
                     f"{100 * ours['share']:.0f} % | {'–' if eager is None else format(eager['ratio'], '.2f')} | "
                     f"{which} | {' / '.join(memory)} |")
    before = [f"{each['model']} at batch {each['batch']}" for each in tree["comparisons"]
              if "native" not in {candidate["name"] for candidate in each["candidates"]}]
    if before:
        lines += ["", f"Measured before there were native kernels, which may do better: {', '.join(before)}."]
    lines += ["", "| target | found | |", "|---|--:|---|"]
    lines += [
        f"| {target['target']} | {target['found']:.2f} ({target['pairs']} of {target['of']} pairs) | "
        f"{'met' if target['met'] else 'missed' + (': ' + '; '.join(target['below']) if target['below'] else '')} |"
        for target in tree["targets"]]
    return "\n".join(lines)


def rewrites_table(tree: dict[str, Any]) -> str:
    """What folding and rewriting give each engine, over the network as trained."""
    lines = [f"Measured on: {machine_line(tree['machine'])}", "",
             "| network | batch | engine | as trained, ms | folded | rewritten | and joined |",
             "|---|--:|---|--:|--:|--:|--:|"]
    for name, batches in tree["results"].items():
        for batch, engines in batches.items():
            for engine, forms in engines.items():
                lines.append(f"| {name} | {batch} | {engine} | {forms['as trained']['milliseconds']:.1f} | "
                             f"{forms['folded']['ratio']:.2f}× | {forms['rewritten']['ratio']:.2f}× | "
                             + (f"{forms['joined']['ratio']:.2f}× |" if "joined" in forms else "|"))
    return "\n".join(lines)


def profile_table(tree: dict[str, Any]) -> str:
    """Kinds of layers, their share of time, and the time that the machine's rate would need for them."""
    lines = [f"Measured on: {machine_line(tree['machine'])}"]
    for name, batches in tree["results"].items():
        for batch, found in batches.items():
            whole = sum(kind["seconds"] for kind in found["kinds"].values())
            how = ("all threads on each step" if found["part"] == int(batch)
                   else f"each thread on {found['part']} of the images at a time")
            lines += ["", f"**{name}, batch {batch}**: {whole * 1e3:.1f} ms, {how}; the machine's rate "
                      f"{found['matrix_rate'] / 1e9:.0f} GFLOP/s.", "",
                      "| kind | steps | ms | of the time | GFLOP/s | ms at the machine's rate |",
                      "|---|--:|--:|--:|--:|--:|"]
            for kind, row in found["kinds"].items():
                if row["seconds"] < 0.01 * whole:
                    continue
                reached = f"{2 * row['macs'] / row['seconds'] / 1e9:.0f}" if row["macs"] else "–"
                needed = f"{2 * row['macs'] / found['matrix_rate'] * 1e3:.1f}" if row["macs"] else "–"
                lines.append(f"| {kind} | {row['steps']} | {row['seconds'] * 1e3:.1f} | "
                             f"{100 * row['seconds'] / whole:.0f} % | {reached} | {needed} |")
    return "\n".join(lines)


def main() -> None:
    """As the file's first lines say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PANEL))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each side's turn")
    parser.add_argument("--again", action="store_true", help="forget what is in results/inference.json")
    parser.add_argument("--threads", type=int, help="of each side; results/engines.json then")
    parser.add_argument("--batch", type=int, choices=BATCHES, help="this one only")
    parser.add_argument("--rewrites", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in PANEL and options.threads is None]:
        parser.error(f"{unknown[0]} is not of the panel")
    if options.one:
        what, name = options.one
        print(json.dumps({"rewrite": rewrite_of, "profile": profile_of}[what](name, options.rounds, options.seconds)))
    elif options.rewrites:
        rewrites(options.names or list(REWRITTEN), options.rounds, options.seconds)
    elif options.profile:
        profile(3, options.rounds)
    elif not options.page:
        measure(options.names or list(PANEL), options.rounds, options.seconds, options.again, options.threads,
                (options.batch,) if options.batch else BATCHES)
    if PAGE.exists() and not options.one:
        page()


TABLES = {"inference": inference_table, "engines": engines_table, "rewrites": rewrites_table, "profile": profile_table}


if __name__ == "__main__":
    main()
