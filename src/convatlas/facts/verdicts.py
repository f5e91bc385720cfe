"""Published against computed: every figure that follows from the network's shape is recomputed on the meta device."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.resources import files
from math import floor, log10
from typing import Any, Literal

import torch
from torch import nn

from .. import arch as arch  # registers the networks
from ..net.fold import fold_structure
from ..net.layers import WEIGHTED, Layer, layer_table
from ..net.meta import blank
from ..net.model import Convnet, Head
from ..net.registry import VARIANTS, Variant, change, variant
from ..parts import LocalResponseNorm, SqueezeExcite, TableConv2d
from ..run import read_yaml
from .published import Fact, published

TRAINED = {         # what only training could tell; any other kind must be in COMPUTE
    "test_error_pct", "train_error_pct", "test_acc_pct", "top1_error_pct", "top5_error_pct", "top1_acc_pct",
    "top5_acc_pct", "cifar10_error_pct", "cifar100_error_pct", "svhn_error_pct", "mean_iu_pct", "pixel_acc_pct",
    "mean_acc_pct", "frequency_weighted_iu_pct", "segmentation_error", "steps", "other", "ablation_error_points",
    "relu_speedup",
}

MADE = {"output", "receptive_field"}        # of the map that a layer, a block, or the head makes, not of all inside


@dataclass(frozen=True)
class Verdict:
    """One published figure beside ours."""

    name: str           # variant
    fact: str           # with its layer: 'params of stages.1.c3'
    published: Any
    computed: Any       # None where only training could tell
    source: str
    verdict: Literal["match", "explained", "mismatch", "not reproduced here", "not built here"]
    note: str = ""


@dataclass(frozen=True)
class Erratum:
    """Something printed that cannot be so."""

    where: str
    printed: str
    found: str
    built: str          # what is built here


def errata() -> list[Erratum]:
    """Mistakes and contradictions in papers, releases and the lecture, with what is built here."""
    return [Erratum(**entry)
            for entry in read_yaml(files(__package__).joinpath("errata.yaml").read_text(encoding="utf-8"))]


def check(names: Sequence[str] | None = None) -> list[Verdict]:
    """Verdicts for the named variants (default: everything published, and every registered variant's own counts)."""
    wanted = None if names is None else {variant(name).name for name in names}
    verdicts = []
    for found in VARIANTS.values():
        if wanted is None or found.name in wanted:
            own = (Fact(variant=found.name, fact="params", value=found.params,
                        source="the architecture file's register line"),
                   Fact(variant=found.name, fact="macs", value=found.macs,
                        source="the architecture file's register line"))
            figures = [*(f for f in published() if f.variant == found.name), *own]
            for fields in {json.dumps(f.fields, sort_keys=True): f.fields for f in figures}.values():
                model = blank(change(found.spec, fields, found.name).build)
                verdicts += _verdicts(found, model, [f for f in figures if f.fields == fields])
    absent = [fact for fact in published() if fact.variant not in VARIANTS] if wanted is None else []
    return verdicts + [_verdict(fact, None, "not built here") for fact in absent]


def _verdicts(found: Variant, model: Convnet, facts: Sequence[Fact]) -> list[Verdict]:
    rows = layer_table(model)
    names = {row.name for row in rows}
    wanted = {fact.layer or "head" for fact in facts if fact.fact in MADE and fact.layer not in names
              and (fact.layer or type(model.head) is not Head)}        # a Head makes what its last layer makes
    whole = layer_table(model, containers=True) if wanted else []
    made = {row.name: row for row in reversed(whole) if row.name in wanted}

    def computed(fact: Fact) -> Any:
        chosen = made.get(fact.layer or "head") if fact.fact in MADE else None
        return COMPUTE[fact.fact](found, model, _only(rows, fact.layer) if chosen is None else [chosen])

    return [_verdict(fact, None if fact.fact in TRAINED else computed(fact)) for fact in facts]


def _only(rows: Sequence[Layer], name: str) -> Sequence[Layer]:
    chosen = [row for row in rows if not name or row.name == name]
    if name and not chosen:
        chosen = [row for row in rows if row.name.startswith(name + ".")]      # a stage or block: its layers
    if not chosen:
        raise LookupError(f"a fact speaks of layer {name!r}, which is not in the table")
    return chosen


def _verdict(fact: Fact, computed: Any,
             otherwise: Literal["not built here", "not reproduced here"] = "not reproduced here") -> Verdict:
    label = fact.label
    note = "; ".join(text for text in (fact.protocol, fact.note) if text)
    if computed is None:
        return Verdict(fact.variant, label, fact.value, None, fact.source, otherwise, note)
    if _agree(fact.value, computed, fact.digits):
        return Verdict(fact.variant, label, fact.value, computed, fact.source, "match", note)
    if fact.contested:
        return Verdict(fact.variant, label, fact.value, computed, fact.source, "explained", fact.contested)
    return Verdict(fact.variant, label, fact.value, computed, fact.source, "mismatch", note)


def _agree(printed: Any, computed: Any, digits: int | None) -> bool:
    """Equal, or equal once rounded to the digits that were printed."""
    if digits is None:
        return bool(printed == computed)
    unit = 10 ** (floor(log10(abs(printed))) - digits + 1)
    return bool(abs(printed - computed) <= unit / 2)


def _params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _units(rows: Sequence[Layer]) -> int:
    return sum(_size(row.output) for row in rows if row.kind in WEIGHTED)


def _size(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def _lrn(model: Convnet) -> Mapping[str, float] | None:
    norm = next((m for m in model.modules() if isinstance(m, LocalResponseNorm)), None)
    return None if norm is None else {"k": norm.k, "n": norm.size, "alpha": norm.alpha, "beta": norm.beta}


def _links(model: Convnet) -> int:
    return sum(module.links for module in model.modules() if isinstance(module, TableConv2d))


def _convs(model: Convnet, rows: Sequence[Layer]) -> list[nn.Conv2d]:
    """Convolutions among the rows."""
    modules = (model.get_submodule(row.name) for row in rows)
    return [module for module in modules if isinstance(module, nn.Conv2d)]


def _filter(model: Convnet, rows: Sequence[Layer]) -> list[int]:
    """Weights of the one layer with any, as MobileNet's Table 1 prints them: K×K×M×N, depthwise K×K×M, M×N of a fully
    connected one.
    """
    layers = [m for m in (model.get_submodule(row.name) for row in rows) if isinstance(m, nn.Conv2d | nn.Linear)]
    [layer] = layers
    if isinstance(layer, nn.Linear):
        return [layer.in_features, layer.out_features]
    depthwise = layer.groups == layer.in_channels > 1
    return [*layer.kernel_size, *([] if depthwise else [layer.in_channels // layer.groups]), layer.out_channels]


def _stack(model: Convnet, rows: Sequence[Layer]) -> tuple[int, float]:
    """Side of what convolutions of stride 1, one after the other, see together, and the share of their weights in those
    of one convolution as large between the same maps.
    """
    convs = _convs(model, rows)
    side = 1 + sum(conv.kernel_size[0] - 1 for conv in convs)
    return side, sum(conv.weight.numel() for conv in convs) / (
        side ** 2 * convs[0].in_channels * convs[-1].out_channels)


def _saving(rows: Sequence[Layer]) -> float:
    """Multiply-adds of a full convolution over those of the depthwise and the 1×1 one in its place."""
    depthwise, pointwise = (row for row in rows if row.macs)
    return depthwise.macs * pointwise.output[0] / (depthwise.macs + pointwise.macs)


def _reductions(model: Convnet) -> list[int]:
    return sorted({gate.reduce.in_channels // gate.reduce.out_channels for gate in model.modules()
                   if isinstance(gate, SqueezeExcite)})


def _scaling(own: Any, base: Any) -> float:
    """d·w²·r² of a specification with `depth`, `width` and `image_size`, relative to another's."""
    relative = (own.depth / base.depth, own.width / base.width, own.image_size / base.image_size)
    return float(relative[0] * relative[1] ** 2 * relative[2] ** 2)


#              figure → from (variant, model on the meta device, the rows of the layer or of the whole table)
COMPUTE: dict[str, Callable[[Variant, Convnet, Sequence[Layer]], Any]] = {
    "params": lambda v, m, rows: sum(row.params for row in rows),
    "params_weights": lambda v, m, rows: sum(p.numel() for p in m.parameters() if p.ndim > 1),
    "params_without_aux": lambda v, m, rows: sum(row.params for row in rows if not row.name.startswith("aux.")),
    "params_folded": lambda v, m, rows: sum(row.params for row in layer_table(fold_structure(deepcopy(m)))),
    "params_nonzero_at_40pct": lambda v, m, rows: round(_params(m) - 0.4 * sum(p.numel() for p in m.parameters()
                                                                               if p.ndim in (2, 4))),
    "winograd_muls": lambda v, m, rows: sum(row.macs * (4 / 9 if row.kernel.split(" ")[0] == "3×3" else 1)
                                            for row in layer_table(fold_structure(deepcopy(m)))),
    "macs_folded": lambda v, m, rows: sum(row.macs for row in layer_table(fold_structure(deepcopy(m)))),
    "macs": lambda v, m, rows: sum(row.macs for row in rows if not row.name.startswith("aux.")),
    "connections": lambda v, m, rows: sum(row.connections for row in rows),
    "output": lambda v, m, rows: list(rows[-1].output),
    "receptive_field": lambda v, m, rows: rows[-1].receptive_field,
    "kernels": lambda v, m, rows: sum(c.out_channels for c in m.modules() if isinstance(c, nn.Conv2d)),
    "layers": lambda v, m, rows: sum(row.kind in WEIGHTED for row in rows),
    "units": lambda v, m, rows: _units(rows),
    "units_with_input": lambda v, m, rows: _units(rows) + _size((m.in_chans, *m.image_size)),
    "image_size": lambda v, m, rows: m.spec.image_size,
    "c3_links": lambda v, m, rows: _links(m),
    "lrn": lambda v, m, rows: _lrn(m),
    "filter": lambda v, m, rows: _filter(m, rows),
    "stride": lambda v, m, rows: max(conv.stride[0] for conv in _convs(m, rows)),
    "kernel_sizes": lambda v, m, rows: sorted({"×".join(map(str, conv.kernel_size)) for conv in _convs(m, rows)}),
    "largest_kernel": lambda v, m, rows: max(max(conv.kernel_size) for conv in _convs(m, rows)),
    "blocks": lambda v, m, rows: len({row.name.split(".")[2] for row in rows}),
    "channels_read": lambda v, m, rows: ", ".join(str(conv.in_channels) for conv in _convs(m, rows)),
    "seen_by_stack": lambda v, m, rows: _stack(m, rows)[0],
    "stack_share": lambda v, m, rows: _stack(m, rows)[1],
    "separable_saving": lambda v, m, rows: _saving(rows),
    "reductions": lambda v, m, rows: _reductions(m),
    "macs_ratio": lambda v, m, rows: sum(row.macs for row in rows) / v.macs,
    "scaling_product": lambda v, m, rows: _scaling(m.spec, v.spec),
    "width": lambda v, m, rows: vars(m.spec)["width"],
    "depth": lambda v, m, rows: vars(m.spec)["depth"],
    "drop_rate": lambda v, m, rows: vars(m.spec)["drop_rate"],
}
