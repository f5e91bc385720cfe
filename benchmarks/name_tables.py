"""Write src/convatlas/weights/names/: what torchvision and timm call the tensors of our networks, as rules found by
comparing.

Sections of other libraries in these files are written by hand (tests/weights/test_releases.py) and stay.

uv run python benchmarks/name_tables.py

For each pair of networks that the tests hold equal (`PEERS` in tests/arch/), both run on the meta device; layers are
paired by the order in which they run and by their shapes, as tests/parity.py does. From the pairs of names of a family
follow rules such as `layer{a}.{b}.conv1 = stages.{a-1}.{b}.branch.first.conv`; numbers that do not follow one another
stay as they are.
"""

import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

ROOT = Path(__file__).parents[1]
HOME = ROOT / "src" / "convatlas" / "weights" / "names"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "arch")]
LEAVES = ("weight", "bias", "running_mean", "running_var")
# that the tests vary and that names do not depend on
INDIFFERENT = {"output_stride", "layer_scale", "ls_init_value"}
# names of published files that their library renames while it loads them
PUBLISHED = {("densenet", "torchvision"): [
    f"features.denseblock{{a}}.denselayer{{b}}.{kind}.{{c}} = stages.{{a-1}}.layers.{{b-1}}.{kind}{{c}}"
    for kind in ("norm", "conv")]}

MORE = [            # compared in tests of their own
    ("torchvision", "googlenet", "googlenet_bn", {}, {"aux_logits": True, "init_weights": False}),
    ("torchvision", "alexnet", "alexnet_owt", {}, {}),
    *(("timm", name, name, {}, {})
      for name in ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")),
]

Name = tuple[str | int, ...]


class Pair(NamedTuple):
    """One module's name (or, where its tensors are called otherwise, one tensor's) at both."""

    model: str
    theirs: Name
    ours: Name
    extra: int          # dimensions that their tensor has more than ours
    tensor: bool        # a whole tensor's name


class Rule(NamedTuple):
    """Names of one form: `fixed` numbers as they are, the others free; each of our numbers is one of theirs plus a
    constant.
    """

    form: Name
    fixed: dict[int, int]
    ours: Name
    numbers: tuple[tuple[int | None, int], ...]
    extra: int
    tensor: bool


def peers() -> Iterator[tuple[str, str, str, dict[str, Any], dict[str, Any]]]:
    """(library, their name, our name, our fields, their arguments) of every comparison."""
    yield from MORE
    for path in sorted((ROOT / "tests" / "arch").glob("test_*.py")):
        for row in getattr(import_module(path.stem), "PEERS", []):
            yield tuple(getattr(row, "values", row))     # type: ignore[misc]


def pairs(library: str, theirs: str, ours: str, fields: dict[str, Any], kwargs: dict[str, Any]) -> Iterator[Pair]:
    """The modules of both networks, two by two."""
    import timm
    import torchvision

    import convatlas

    with torch.device("meta"):
        mine = convatlas.create_model(ours, **fields).eval()
        his = (timm.create_model(theirs, **kwargs) if library == "timm" else
               torchvision.models.get_model(theirs, weights=None, **kwargs)).eval()
    size = max(mine.image_size)
    x = torch.zeros(1, mine.in_chans, size, size, device="meta")
    left = order(his, x)
    for name, tensors in order(mine, x):
        same = [i for i, (_, other) in enumerate(left) if shapes(other) == shapes(tensors)]
        same = same or [i for i, (_, other) in enumerate(left) if sizes(other) == sizes(tensors)]
        # a shortcut may run first here and last there, and have the shape of the branch's last convolution
        chosen = next((i for i in same if ("downsample" in left[i][0]) == ("shortcut" in name)), same[0])
        their_name, other = left.pop(chosen)
        extra = max((b.ndim - a.ndim for (_, a), (_, b) in zip(tensors, other, strict=True)), key=abs)
        if [leaf for leaf, _ in tensors] == [leaf for leaf, _ in other] and {leaf for leaf, _ in tensors} <= {*LEAVES}:
            yield Pair(theirs, split(their_name), split(name), extra, False)
        else:
            for (a, ta), (b, tb) in zip(tensors, other, strict=True):
                yield Pair(theirs, split(f"{their_name}.{b}".strip(".")), split(f"{name}.{a}".strip(".")),
                           tb.ndim - ta.ndim, True)
    assert not left, f"{theirs}: unused {[name for name, _ in left]}"


def order(model: nn.Module, x: torch.Tensor) -> list[tuple[str, list[tuple[str, torch.Tensor]]]]:
    """(name, its own tensors) of every module that has some, as they first run; the rest behind."""
    own = {name: [*((n, p) for n, p in module.named_parameters(recurse=False)),
                  *((n, b) for n, b in module.named_buffers(recurse=False) if n in LEAVES and b is not None)]
           for name, module in model.named_modules()}
    found: dict[str, None] = {}
    hooks = [module.register_forward_pre_hook(lambda _, x, name=name: found.setdefault(name))
             for name, module in model.named_modules() if own[name]]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return [(name, own[name]) for name in {**found, **{name: None for name in own if own[name]}}]


def shapes(tensors: list[tuple[str, torch.Tensor]]) -> list[tuple[int, ...]]:
    """Without trailing ones: a 1×1 convolution and a linear layer are alike."""
    return [tuple(map(int, re.sub(r"(,1)+$", "", ",".join(map(str, tensor.shape))).split(",")))
            for _, tensor in tensors]


def sizes(tensors: list[tuple[str, torch.Tensor]]) -> list[tuple[int, int]]:
    return [(tensor.shape[0], tensor.numel()) for _, tensor in tensors]


# -- rules -------------------------------------------------------------------------------------------------------------


def split(name: str) -> Name:
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\d+|\D+", name))


def form(name: Name) -> Name:
    return tuple("#" if isinstance(part, int) else part for part in name)


def numbers(name: Name) -> tuple[int, ...]:
    return tuple(part for part in name if isinstance(part, int))


def rules_of(found: list[Pair]) -> list[Rule] | None:
    """Rules for these pairs, or None where a name would stand for two of one form; of several forms the network has
    one.
    """
    rules: list[Rule] = []
    by: dict[tuple[Any, ...], dict[Name, Pair]] = defaultdict(dict)
    for pair in found:
        before = by[form(pair.theirs), form(pair.ours), pair.extra, pair.tensor].setdefault(pair.theirs, pair)
        if before[2:] != pair[2:]:
            return None
    for same in by.values():
        rules += solve(list(same.values()), {})
    return rules


def solve(found: list[Pair], fixed: dict[int, int]) -> list[Rule]:
    """The fewest rules for names of one form: one, or those that result when one more number is fixed."""
    whole = fit(found, fixed)
    if whole is not None:
        return [whole]
    best: list[Rule] = []
    for place in range(len(numbers(found[0].theirs))):
        values = {numbers(pair.theirs)[place] for pair in found}
        if place not in fixed and len(values) > 1:
            tried = [rule for value in sorted(values)
                     for rule in solve([pair for pair in found if numbers(pair.theirs)[place] == value],
                                       {**fixed, place: value})]
            best = tried if not best or len(tried) < len(best) else best
    assert best, found[:3]
    return best


def fit(found: list[Pair], fixed: dict[int, int]) -> Rule | None:
    first = found[0]
    theirs, ours = [numbers(pair.theirs) for pair in found], [numbers(pair.ours) for pair in found]
    how: list[tuple[int | None, int]] = []
    for column in zip(*ours, strict=True):
        steps = [(place, {a - b[place] for a, b in zip(column, theirs, strict=True)})
                 for place in range(len(theirs[0]))]
        good = [(place, by.pop()) for place, by in steps if len(by) == 1 and place not in fixed]
        taken = {place for place, _ in how}
        known = min(good, key=lambda one: (one[0] in taken, abs(one[1])), default=None)
        if known is None and len(set(column)) > 1:
            return None
        how.append(known or (None, column[0]))
    used = {place for place, _ in how}
    places = range(len(theirs[0]))
    if any(place not in used and len({row[place] for row in theirs}) > 1 for place in places):
        return None
    constant = {place: theirs[0][place] for place in places if place not in used}
    return Rule(form(first.theirs), {**fixed, **constant}, form(first.ours), tuple(how), first.extra, first.tensor)


def text(rule: Rule) -> str:
    """`layer{a}.{b}.conv1 = stages.{a-1}.{b}.branch.first.conv`, and what `weights.tables` reads besides."""
    letters = {place: "abcdefgh"[i] for i, place in enumerate(sorted({p for p, _ in rule.numbers if p is not None}))}
    place, theirs = 0, ""
    for part in rule.form:
        if part == "#":
            theirs += f"{{{letters[place]}}}" if place in letters else str(rule.fixed[place])
            place += 1
        else:
            theirs += str(part)
    how, ours = iter(rule.numbers), ""
    for part in rule.ours:
        if part == "#":
            source, step = next(how)
            ours += str(step) if source is None else f"{{{letters[source]}{f'{step:+d}' if step else ''}}}"
        else:
            ours += str(part)
    return f"{theirs}{':' if rule.tensor else ''} = {ours}{f' ; {rule.extra:+d}' if rule.extra else ''}"


class Plain(yaml.SafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> None:
    """Write every family's file."""
    from convatlas import zoo  # noqa: F401 - registers the networks
    from convatlas.net import registry

    warnings.filterwarnings("ignore")
    tables: dict[str, dict[str, Any]] = defaultdict(dict)
    found: dict[tuple[str, str], dict[str, list[Pair]]] = defaultdict(dict)
    for library, theirs, ours, all_fields, all_kwargs in peers():
        fields, kwargs = ({name: value for name, value in given.items() if name not in INDIFFERENT}
                          for given in (all_fields, all_kwargs))
        family = registry.variant(ours).family
        models = tables[family].setdefault(library, {"models": {}, "tables": []})["models"]
        if theirs not in models or not kwargs:
            models[theirs] = {"ours": ours, **({"fields": fields} if fields else {}),
                              **({"kwargs": kwargs} if kwargs else {})}
        found[family, library][f"{theirs} {kwargs}"] = list(pairs(library, theirs, ours, fields, kwargs))
    for (family, library), models in found.items():
        clusters: list[list[Pair]] = []         # networks whose names do not contradict each other: one table each
        for each in models.values():
            for cluster in clusters:
                merged, alone = rules_of(cluster + each), rules_of(cluster)
                if merged is not None and alone is not None and len(merged) <= len(alone) + 8:
                    cluster += each
                    break
            else:
                clusters.append(list(each))
        for cluster in clusters:
            lines = list(dict.fromkeys(text(rule) for rule in rules_of(cluster) or []))
            lines += PUBLISHED.get((family, library), [])
            tables[family][library]["tables"].append({"models": sorted({pair.model for pair in cluster}),
                                                      "names": lines})
    HOME.mkdir(exist_ok=True)
    for family, table in sorted(tables.items()):
        head = (f"# What others call the tensors of {family}'s networks; read by weights/tables.py. "
                "benchmarks/name_tables.py writes torchvision's and timm's.\n")
        path = HOME / f"{family}.yaml"
        before = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
        by_hand = {library: each for library, each in before.items() if library not in ("torchvision", "timm")}
        for library, each in table.items():     # who found out how pictures were prepared wrote that by hand too
            for name, row in each["models"].items():
                was = before.get(library, {}).get("models", {}).get(name, {})
                row |= {key: was[key] for key in ("preprocess", "source") if key in was}
        body = yaml.dump({**table, **by_hand}, Dumper=Plain, sort_keys=False, width=200, allow_unicode=True)
        path.write_text(head + body, encoding="utf-8")
        print(family, {library: [(len(one["models"]), len(one["names"])) for one in each["tables"]]
                       for library, each in table.items()})


if __name__ == "__main__":
    main()
