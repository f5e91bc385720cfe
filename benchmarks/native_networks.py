"""Networks that the native kernels run: every registered variant is planned at its own size, without weights.

    uv run python benchmarks/native_networks.py             # all that is not known yet; ten minutes of a core, interrupt it when you like
    uv run python benchmarks/native_networks.py 'unet*'     # these anew
    uv run python benchmarks/native_networks.py --table     # only the table in docs/deploy.md

It writes results/native.json and the table. That the kernels compute what torch does is tested (tests/deploy/test_native_places.py).
"""

import json
import sys
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

from report import RESULTS, put

PAGE = Path(__file__).parents[1] / "docs" / "deploy.md"
KEPT = RESULTS / "native.json"
MARK = "native: written by benchmarks/native_networks.py"
#   kinds of steps that only some networks need, as the table calls them
SPECIAL = {"transposed": "transposed convolution", "nearest": "up-sampling", "bilinear": "bilinear up-sampling",
           "pad": "borders and crops", "replicate": "repeated edges", "depthwise": "depthwise convolution",
           "layernorm": "LayerNorm", "response": "local response normalisation", "offsets": "a bias for each unit",
           "rbf": "radial basis functions", "multiply": "gates", "dilated": "dilation"}


def planned(name: str) -> dict[str, object]:
    """The kinds of steps of a variant and their number, or the reason why it is refused."""
    from convatlas.deploy import rewrite
    from convatlas.deploy.native import UnsupportedError
    from convatlas.deploy.native.plan import plan
    from convatlas.net import registry
    from convatlas.net.meta import blank

    net = blank(lambda: registry.build(name)).eval()
    try:
        works = plan(rewrite(net), (net.in_chans, *net.image_size))
    except UnsupportedError as error:
        return {"refused": str(error)}
    kinds = {work.kind for work in works} | {"dilated" for work in works if work.dilation != (1, 1)}
    return {"steps": len(works), "kinds": sorted(kinds)}


def table(known: dict[str, dict[str, object]]) -> str:
    """A row for each family, and what is refused with its reason."""
    from convatlas.net import registry

    families: dict[str, list[str]] = defaultdict(list)
    for name in known:
        families[registry.variant(name).family].append(name)
    running = [name for name, row in known.items() if "refused" not in row]
    lines = [f"{len(running)} of {len(known)} registered variants have a plan for the native kernels, at their own sizes.", "",
             "| family | variants | planned | besides convolutions, pools and sums |", "|---|--:|--:|---|"]
    for family, names in sorted(families.items()):
        kinds = {str(kind) for name in names for kind in known[name].get("kinds", ())}      # type: ignore[attr-defined]
        runs = sum(name in running for name in names)
        lines.append(f"| {family} | {len(names)} | {runs} | {', '.join(SPECIAL[kind] for kind in SPECIAL if kind in kinds)} |")
    refused = {name: row["refused"] for name, row in known.items() if "refused" in row}
    return "\n".join([*lines, *([""] if refused else []), *(f"- `{name}`: {why}" for name, why in refused.items())])


def main(arguments: list[str]) -> None:
    """Fill in what is missing, and write the table."""
    from convatlas import list_models

    known: dict[str, dict[str, object]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    wanted = [name for name in list_models() if any(fnmatchcase(name, each) for each in arguments)]
    known = {name: row for name, row in known.items() if name in list_models() and name not in wanted}
    for name in [] if arguments == ["--table"] else list_models():
        if name not in known:
            known[name] = planned(name)
            print(name, known[name].get("refused", f"{known[name].get('steps')} steps"), flush=True)
            KEPT.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
    put(PAGE, {MARK: table(dict(sorted(known.items())))})


if __name__ == "__main__":
    main(sys.argv[1:])
