"""Data of the first page, the list, the variants' pages and the comparison, told by the library: nothing is typed
twice.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

from .. import known, recipes
from ..draw.numbers import exact
from ..run import written
from .build import HERE, Asset, Page, Wanted, given
from .diagrams import diagram
from .runs import slugs

FIDELITY = {        # the word of the registry → what it means
    "paper": "as the paper printed it", "authors": "as its authors released it", "field": "as the field uses it",
}
VERDICTS = {        # → what it means
    "match": "equal to what is computed here", "explained": "differs, for a reason that is known",
    "not reproduced here": "only training could tell", "not built here": "of something that is not built here",
    "mismatch": "differs, and nobody knows why",
}
GATES = "squeeze-excite"        # words of a diagram
LARGE = 7           # sides of a depthwise kernel from which on it is called large


CARDS = {           # label of the navigation → what is there
    "Lecture": "The lecture in twelve pages: an idea, the fields that are the idea, and something to touch.",
    "Networks": "Every variant with its diagram, its layers, what was published and what is computed.",
    "Lineage": "Which network took which idea from which, and the field that it is.",
    "Compare": "Any two side by side: specification, cost, layers.",
    "Experiments": "What the papers claim, tried again in small, with intervals and verdicts.",
    "Try": "Networks that run in this page, on a drawing or picture of yours, which never leaves the machine.",
}


def home(wanted: Wanted) -> Iterator[Page]:
    """The first page."""
    accounts = list(map(account, (each.name for each in wanted.variants)))
    checked = Counter(fact["verdict"] for each in accounts for fact in each["facts"])
    yield Page("index.html", "index.html.j2", "convatlas", {
        "variants": len(accounts), "families": len({each["family"] for each in accounts}),
        "first": min(map(year, accounts)), "last": max(map(year, accounts)), "matches": checked["match"],
        "facts": sum(checked.values()), "cards": CARDS,
        "runs": [*zip((path.resolve().name for path in wanted.runs), slugs(wanted.runs), strict=True)],
    }, about="Convolutional networks from LeNet on, faithful to their papers, to look at and to touch.",
        scripts=("diagram", "home"), styles=("networks",),
        inline={"networks": [[each["name"], year(each), each["params"], each["macs"], each["family"]]
                             for each in accounts]})


def networks(wanted: Wanted) -> Iterator[Page | Asset]:
    """The list of all variants, and a page and a data file for each."""
    accounts = {each.name: account(each.name) for each in wanted.variants}
    lines = [line(each["name"]) for each in accounts.values()]
    yield Page("networks.html", "networks.html.j2", "Networks", {
        "lines": lines, "parts": [part for part in PARTS if any(part in line.parts for line in lines)],
        "families": sorted({line.family for line in lines}), "fidelity": FIDELITY},
        about="All networks, to be searched, filtered and sorted.", scripts=("list",), styles=("networks",),
        nav="Networks")
    relatives: dict[str, list[str]] = {}
    for name, each in accounts.items():
        relatives.setdefault(each["family"], []).append(name)
    pretrained = _weights()
    for name, each in accounts.items():
        yield given(f"network/{name}", _data(each))
        yield Page(f"network/{name}.html", "network.html.j2", name, {
            "found": each, "line": line(each["name"]), "fidelity": FIDELITY[each["fidelity"]],
            "fields": {field: written(value) for field, value in each["spec"].items()},
            "facts": _facts(each), "verdicts": VERDICTS, "counts": Counter(fact["verdict"] for fact in each["facts"]),
            "speed": speed(name), "recipe": _recipe(each["recipe"]), "weights": pretrained.get(name, []),
            "written": written,
            "relatives": [other for other in relatives[each["family"]] if other != name],
            "commands": _commands(each, pretrained.get(name, [])),
        }, about=each["idea"], scripts=("diagram", "layers"), styles=("networks",), section="Networks",
            inline={"name": name})


def compare(wanted: Wanted) -> Iterator[Page]:
    """Any two variants side by side."""
    yield Page("compare.html", "compare.html.j2", "Compare", about="Any two networks side by side.",
               scripts=("diagram", "compare"), styles=("networks",), nav="Compare",
               inline={"names": [each.name for each in wanted.variants],
                       "pairs": [pair for pair in PAIRS if set(pair) <= {each.name for each in wanted.variants}]})


PAIRS = [           # comparisons that are an idea each
    ("lenet5", "lenet5_modern"), ("alexnet", "vgg16"), ("vgg16", "googlenet"), ("convpool_cnn_c", "all_cnn_c"),
    ("plain34", "resnet34"), ("resnet50", "resnext50_32x4d"), ("resnet50", "densenet121"), ("resnet50", "se_resnet50"),
    ("mobilenet_v1", "mobilenet_v2"), ("efficientnet_b0", "efficientnet_b1"), ("fcn8s_vgg16", "unet"),
    ("resnet50", "convnext_tiny"),
]


# -- one variant -----------------------------------------------------------------------------------------------------

@cache
def account(name: str) -> dict[str, Any]:
    """The account of a variant: the stored one, or one computed now."""
    found = known.account(name)
    if found is None:
        from .. import zoo  # builds the network; only where an architecture has been added or changed

        found = zoo.account(zoo.info(name))
    return found


@cache
def tree(name: str) -> dict[str, Any]:
    """The diagram of a variant."""
    return diagram(account(name))


def year(found: Mapping[str, Any]) -> int:
    """The year of a variant's paper: the last that its title names before a semicolon."""
    years = re.findall(r"\b(19[89]\d|20[0-4]\d)\b", re.sub(r"arXiv:[\d.]+", "", found["title"].partition(";")[0]))
    return int(years[-1]) if years else 0


class Line(NamedTuple):
    """One variant in the list."""

    name: str
    family: str
    year: int
    params: int
    macs: int
    depth: int
    input: str
    fidelity: str
    parts: list[str]
    idea: str
    aliases: Sequence[str]
    sees: int | None            # pixels that a unit of the last map sees


@cache
def line(name: str) -> Line:
    """The line of a variant."""
    found = account(name)
    maps = [row["receptive_field"] for row in found["layers"] if len(row["output"]) == 3 and row["output"][1] > 1]
    size = found["spec"]["image_size"]
    high, wide = (size, size) if isinstance(size, int) else size
    return Line(found["name"], found["family"], year(found), found["params"], found["macs"], found["depth"],
                f"{found['spec']['in_chans']}×{high}×{wide}", found["fidelity"], parts(found), found["idea"],
                found["aliases"], maps[-1] if maps else None)


PARTS: dict[str, tuple[str, ...]] = {       # what a variant may be made of, in the order of history → types of layers
    "tanh": ("ScaledTanh",), "ReLU": ("ReLU", "ReLU6"), "LRN": ("LocalResponseNorm",), "dropout": ("Dropout",),
    "max-pooling": ("MaxPool2d", "SameMaxPool2d"), "1×1 convolution": (), "1×n and n×1 convolution": (),
    "parallel paths": (), "side classifiers": (), "BatchNorm": ("BatchNorm2d",), "global average pooling": (),
    "skip connections": (), "grouped convolution": (), "dense connections": (), "gates": (),
    "depthwise convolution": (), "large depthwise kernels": (), "SiLU": ("SiLU",), "h-swish": ("Hardswish",),
    "GELU": ("GELU",), "LayerNorm": ("LayerNorm", "LayerNorm2d"), "stochastic depth": ("DropPath",),
    "layer scale": ("LayerScale",), "transposed convolution": ("ConvTranspose2d",), "maps handed across": (),
}


def parts(found: Mapping[str, Any]) -> list[str]:
    """Keys of `PARTS` that a variant is made of, by its layers and by how their paths join."""
    rows = found["layers"]
    types = {row["type"] for row in rows}
    have = {part for part, kinds in PARTS.items() if types & set(kinds)}
    side = 0                # pixels of the trunk's map so far
    for row in rows:
        kernel = re.match(r"(\d+)×(\d+)(?:/\S+)?(?: g(\d+))?", row["kernel"]) if "Conv" in row["type"] else None
        if kernel is not None:
            high, wide, groups = int(kernel[1]), int(kernel[2]), int(kernel[3] or 1)
            depthwise = groups > 1 and row["output"][0] == groups
            have |= {"1×1 convolution"} if high == wide == 1 else set()
            have |= {"1×n and n×1 convolution"} if min(high, wide) == 1 < max(high, wide) else set()
            have |= {"depthwise convolution"} if depthwise else {"grouped convolution"} if groups > 1 else set()
            have |= {"large depthwise kernels"} if depthwise and max(high, wide) >= LARGE else set()
        if (row["type"] in ("GlobalPool", "AdaptiveAvgPool2d") and row["name"].startswith("head.")
                and prod(row["output"][1:]) == 1 and side > 1):
            have.add("global average pooling")
        if len(row["output"]) == 3 and not row["name"].startswith("aux.") and ".excite." not in row["name"]:
            side = prod(row["output"][1:])
        if row["name"].startswith("aux."):
            have.add("side classifiers")
    rates = {field: value for field, value in found["spec"].items() if field.endswith("_rate")}
    if not any(value for field, value in rates.items() if field != "drop_path_rate"):
        have.discard("dropout")             # a layer that drops nothing
    if not rates.get("drop_path_rate"):
        have.discard("stochastic depth")
    drawn = tree(found["name"])
    for part in _parts(drawn["chains"]):
        have.add(_joined(part) if isinstance(part, Mapping) else "gates" if part[0] == GATES else "")
    return [part for part in PARTS if part in have or (part == "maps handed across" and drawn["links"])]


def _parts(chains: Sequence[Any]) -> Iterator[Mapping[str, Any] | Sequence[Any]]:
    """The forks, and what has words instead of a row."""
    for part in chains:
        if isinstance(part, Mapping):
            yield part
            yield from _parts(part["p"])
        elif isinstance(part, list) and part and isinstance(part[0], str):
            yield part
        elif isinstance(part, list):
            yield from _parts(part)


def _joined(fork: Mapping[str, Any]) -> str:
    if fork["j"] == "multiply":
        return "gates"
    bare = any(not path for path in fork["p"])
    if fork["j"] == "concat":
        return "dense connections" if bare and fork["o"] == 1 and len(fork["p"]) == 2 else "parallel paths"
    return "skip connections" if len(fork["p"]) > fork["o"] else "parallel paths"


def _data(found: Mapping[str, Any]) -> dict[str, Any]:
    """Data of a variant for scripts: the layers by columns, with vocabularies where words repeat; the diagram."""
    rows = found["layers"]
    words: dict[str, list[Any]] = {"type": [], "kernel": [], "sight": [], "output": []}

    def number(column: str, value: Any) -> int:
        if value not in words[column]:
            words[column].append(value)
        return words[column].index(value)

    return {
        "name": found["name"], "title": found["title"], "year": year(found), "params": found["params"],
        "macs": found["macs"], "depth": found["depth"], "fidelity": found["fidelity"],
        "parts": line(found["name"]).parts, "input": line(found["name"]).input, "sees": line(found["name"]).sees,
        "idea": found["idea"],
        "activations": sum(prod(row["output"]) for row in rows),
        "spec": {field: written(value) for field, value in found["spec"].items()}, "words": words,
        "rows": {"name": [row["name"] for row in rows], "params": [row["params"] for row in rows],
                 "macs": [row["macs"] for row in rows],
                 **{column: [number(column, row[column]) for row in rows] for column in words}},
        "diagram": tree(found["name"]),
    }


def _facts(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    def shown(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            return exact(value)
        return "×".join(map(str, value)) if isinstance(value, list) and value else written(value)

    return [{**fact, "published": shown(fact["published"]), "computed": shown(fact["computed"])}
            for fact in found["facts"]]


class Speed(NamedTuple):
    """One measurement, in words."""

    what: str
    weights: str                    # those that come along by which it was measured; most are by random ones
    how: str
    ours: str
    beside: Mapping[str, str]       # side → how many times as fast as it ours is, in the same run
    machine: str
    source: str                     # the benchmark that measured it


def speed(name: str) -> list[Speed]:
    """What was measured of a variant's speed."""
    kept = speeds()

    def shown(value: float) -> str:
        return exact(round(value)) if value >= 100 else f"{value:.3g}"

    return [Speed(each["what"], each["weights"], each["how"], f"{shown(each['ours'])} {each['unit']}",
                  {side: f"{ratio:.2f}×" for side, ratio in each["beside"].items()}, kept["machines"][each["machine"]],
                  each["source"]) for each in kept["networks"].get(name, ())]


def in_page(weights: str) -> Speed | None:
    """What was measured of a network that comes along, in a page of a site like this."""
    return next((each for name, rows in speeds()["networks"].items() if any(row["weights"] == weights for row in rows)
                 for each in speed(name) if each.weights == weights), None)


@cache
def speeds() -> dict[str, Any]:
    """All that was measured of speed, which `benchmarks/speeds.py` gathers."""
    found: dict[str, Any] = json.loads((HERE / "speeds.json").read_text(encoding="utf-8"))
    return found


@cache
def _recipe(name: str) -> dict[str, Any]:
    run = recipes.recipe(name)
    about, _, rest = recipes.about(name).partition("\n\n")
    settings = {
        "optimiser": run.optim.name, "learning rate": f"{run.optim.lr:g}", "momentum": f"{run.optim.momentum:g}",
        "weight decay": f"{run.optim.weight_decay:g}", "schedule": run.schedule.name,
        "epochs": str(run.train.epochs), "batch": str(run.data.batch_size),
    }
    return {"name": name, "about": " ".join(about.split()), "rest": rest, "settings": settings, "yaml": run.to_yaml()}


def _weights() -> dict[str, list[dict[str, Any]]]:
    """Weights that are known, by variant: those that come along, then public ones."""
    from ..weights import catalog, shipped  # imports torch

    found: dict[str, list[dict[str, Any]]] = {}
    for mine in shipped():
        found.setdefault(mine.ours, []).append({
            "id": mine.name, "along": True, "figure": f"{100 * mine.figure:.2f} %", "measure": mine.measure,
            "licence": mine.licence, "input": "", "source": "comes along"})
    for theirs in catalog():
        found.setdefault(theirs.ours, []).append({
            "id": theirs.id, "along": False, "figure": "" if theirs.top1 is None else f"{theirs.top1:.2f} %",
            "measure": "" if theirs.top1 is None else "top-1, as they report", "licence": theirs.licence,
            "input": str(theirs.image_size), "source": theirs.source})
    return found


def _commands(found: Mapping[str, Any], weights: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    name = found["name"]
    pixels = "maps handed across" in line(name).parts or found["family"] == "fcn"
    pairs = [("explain it", f"convatlas info {name}"),
             ("draw it", f"convatlas inspect diagram {name} --out {name}.svg"),
             ("train it", f"convatlas train {name} {'nuclei' if pixels else 'digits'}"),
             ("train it on your images", f"convatlas train {name} photos/ --epochs 20")]
    along = next((each["id"] for each in weights if each["along"]), None)
    theirs = next((each["id"] for each in weights if not each["along"]), None)
    if along:
        pairs.append(("use the weights that come along",
                      f"convatlas {'segment' if pixels else 'predict'} {along} picture.png"))
    if theirs:
        pairs.append(("begin with public weights", f"convatlas train {name} photos/ --weights {theirs} --download"))
    return pairs
