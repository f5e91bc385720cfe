"""Build, list and explain networks by name."""

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from . import arch, facts, weights
from .errors import ConvatlasError
from .files import along
from .known import Listed, chosen
from .net import registry
from .net.answering import Answers
from .net.described import names_file
from .net.layers import WEIGHTED, Layer, layer_table
from .net.meta import blank
from .net.model import Convnet, Features, Spec
from .net.registry import Fidelity
from .recipes import recipe
from .run import MEASURED, Run
from .weights.checkpoints import load

if TYPE_CHECKING:
    from .data import Transform

__all__ = ["Info", "arch", "create_model", "info", "list_models", "load", "recipe_for", "transforms"]


@overload
def create_model(name: str, weights: str | Path | None = None, *, features_only: Literal[False] = False,
                 download: bool = False, by_order: bool = False, **fields: Any) -> Convnet: ...


@overload
def create_model(name: str, weights: str | Path | None = None, *, features_only: Literal[True],
                 out_indices: Sequence[int] | None = None, download: bool = False, by_order: bool = False,
                 **fields: Any) -> Features: ...


def create_model(name: str, weights: str | Path | None = None, *, features_only: bool = False,
                 out_indices: Sequence[int] | None = None, download: bool = False, by_order: bool = False,
                 **fields: Any) -> Convnet | Features:
    """The network `name` (`list_models()`), newly initialised as its paper says, in training mode.

    `fields` change its specification: `num_classes` (0: no classifier), `in_chans`, `image_size`, `drop_rate` and what
    else the architecture has. `weights` is a run folder, a file of ours or of another library's network (.safetensors,
    .pth, .h5, .npz), the name of weights that come along (`digits`, `fashion-small`, `nuclei`: `weights.shipped()`
    has them), or one of public weights (`timm/resnet50.a1_in1k`, `torchvision/IMAGENET1K_V2`, `hf-hub:org/name`), which
    are fetched only with `download`; then the fields it was trained with hold unless given
    here. Tensors under names that are unknown are refused, or with `by_order` paired by their order, kinds and shapes,
    which tell nothing of the constants. `features_only` leaves out the head and returns the maps at `out_indices` of
    `feature_info` (default: all). An unknown name, field, value or index is a ConvatlasError that names the nearest
    ones.
    """
    if out_indices is not None and not features_only:
        raise ConvatlasError("out_indices chooses among feature maps: it goes with features_only=True")
    model = registry.build(name, fields) if weights is None else load(weights, name, fields, download=download,
                                                                              by_order=by_order)
    return Features(model, out_indices).train(model.training) if features_only else model


def list_models(pattern: str | Sequence[str] = "*", *, family: str | None = None, max_params: float | None = None,
                fidelity: Fidelity | None = None) -> list[str]:
    """Names that match a wildcard pattern, or any of several, in alphabetical order.

    `family` is an architecture file's name, `max_params` a bound on trainable parameters, `fidelity` "paper" (as
    published), "authors" (as they released it) or "field" (as it is commonly used).
    """
    return [variant.name for variant in chosen(registry.VARIANTS.values(), pattern, family=family,
                                               max_params=max_params, fidelity=fidelity)]


@dataclass(frozen=True)
class Info:
    """The account of a variant; `str()` of it is a page to read."""

    name: str
    family: str
    title: str                  # the paper
    idea: str
    mirrors: str
    departs: str
    fidelity: Fidelity
    recipe: str
    aliases: tuple[str, ...]
    spec: Spec
    layers: list[Layer]
    params: int
    macs: int
    connections: int
    facts: list[facts.Verdict]

    @property
    def depth(self) -> int:
        """Layers with weights that a prediction goes through, side paths included."""
        return sum(layer.kind in WEIGHTED for layer in self.layers if not layer.name.startswith("aux."))

    def __str__(self) -> str:
        wide = max((len(layer.name) for layer in self.layers), default=0)
        rows = [f"  {x.name:<{wide}}  {x.kind:<18} {'×'.join(map(str, x.output)):<12} {x.kernel:<9} {x.params:>12,} "
                f"{x.macs:>15,}" for x in self.layers]
        return "\n".join(
            [f"{self.name}: {self.title}", f"Idea: {self.idea}", f"Mirrors: {self.mirrors}", f"Departs: {self.departs}",
             *rows, f"  {self.params:,} parameters, {self.macs:,} multiply-adds, {self.connections:,} connections"])


def info(name: str | Path, **fields: Any) -> Info:
    """Everything known of a variant, or of a network with weights (a run folder, a file, `lenet5.digits`): layer table,
    idea, departures, checked facts.
    """
    source = Path(name)
    if not names_file(str(name)) and (isinstance(name, Path) or (
            (source.exists() or name in along()) and name not in registry.VARIANTS)):
        card = weights.read_card(source)
        name, fields = card.model, card.fields | fields
    found = registry.variant(str(name))
    spec = registry.change(found.spec, fields, found.name)
    table = layer_table(blank(spec.build))
    about = describe(found)
    return Info(found.name, found.family, about["title"], about["Idea"], about["Mirrors"], about["Departs"],
                found.fidelity, found.recipe, found.aliases, spec, table, sum(x.params for x in table),
                sum(x.macs for x in table), sum(x.connections for x in table),
                facts.check([found.name] if found.fidelity != "own" else []))


def describe(found: registry.Variant) -> dict[str, str]:
    """The sections of an architecture file's docstring: title, Idea, Mirrors, Departs, each as one line."""
    text = sys.modules[type(found.spec).__module__].__doc__ or ""
    title, *rest = re.split(r"^(Idea|Mirrors|Departs)\s+", text, flags=re.MULTILINE)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    return {"title": " ".join(title.split()), **{key: " ".join(sections.get(key, "").split())
                                                 for key in ("Idea", "Mirrors", "Departs")}}


def account(found: Info) -> dict[str, Any]:
    """`found` as plain values, for JSON: what `known` stores."""
    layers = [{"name": row.name, "type": row.kind, "output": row.output, "kernel": row.kernel, "params": row.params,
               "macs": row.macs, "connections": row.connections, "receptive_field": row.receptive_field,
               "sight": row.sight} for row in found.layers]
    return {"name": found.name, "aliases": found.aliases, "family": found.family, "title": found.title,
            "idea": found.idea, "mirrors": found.mirrors, "departs": found.departs, "fidelity": found.fidelity,
            "recipe": found.recipe, "spec": registry.plain(found.spec), "params": found.params, "macs": found.macs,
            "connections": found.connections, "depth": found.depth, "layers": layers,
            "facts": [asdict(verdict) for verdict in found.facts]}


def listed() -> list[Listed]:
    """The line of every registered variant."""
    return [Listed(each.name, each.aliases, each.family, each.params, each.macs, each.spec.in_chans,
                   each.spec.image_size, each.fidelity, each.recipe, describe(each)["Idea"])
            for each in registry.VARIANTS.values()]


def transforms(model: Answers, train: bool = False) -> "Transform":
    """The callable that turns a PIL image or uint8 tensor (C, H, W) into the model's input, float32 (in_chans, h, w).

    As its weights say, else as its recipe does; with `train`, its recipe's augmentation too. What a recipe measures on
    the training images is not known of a network without weights: ImageNet's figures stand in. Weights of others that
    do not say how pictures were prepared are a ConvatlasError: `model.card` takes a `preprocess`.
    """
    from .data import make_transform  # a tenth of a second that building a network spares

    (preprocess, _), augment, fitted = (weights.conventions(model.card), recipe_for(model.name).augment,
                                        model.card.fitted)
    if not fitted:
        preprocess = preprocess.model_copy(update={"fit": "none"}) if preprocess.fit in MEASURED else preprocess
        augment = augment.model_copy(update={"pca_from": "imagenet"})
    return make_transform(preprocess, model.image_size, model.in_chans, augment if train else None, fitted=fitted)


def recipe_for(name: str) -> Run:
    """The Run that trains the variant `name`, or that of a file, unless told otherwise."""
    found = registry.variant(name)
    return of_registered(recipe(found.recipe).change("model.name", name if names_file(name) else found.name))


def of_registered(run: Run) -> Run:
    """The run, in which a network that a file describes is the registered one, with the file's fields below the run's
    own: a run folder does not depend on the file.
    """
    if not names_file(run.model.name):
        return run
    name, fields = registry.spelled(run.model.name)
    return run.change("model.name", name, "model.fields", {**fields, **run.model.fields})
