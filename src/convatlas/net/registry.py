"""Name → variant.

A variant is a specification, a frozen dataclass of plain values that knows how to build its network. A file of a user's
that changes a registered one (`described.py`) is named by its path wherever a variant is named.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from inspect import signature
from math import inf
from typing import Any, Literal

from ..errors import ConvatlasError, nearest
from . import described
from .card import Card, adapter
from .card import plain as plain
from .model import Convnet, Spec

# as published; as the authors released it; as the field uses it; of a user's file
Fidelity = Literal["paper", "authors", "field", "own"]


@dataclass(frozen=True)
class Variant:
    """One registered network."""

    name: str
    spec: Spec
    params: int             # trainable, exact, counted independently of this code
    macs: int               # multiply-adds of convolutions and linear layers at spec.image_size, likewise
    fidelity: Fidelity
    recipe: str             # how it is trained unless told otherwise
    aliases: tuple[str, ...]

    @property
    def family(self) -> str:
        """The architecture file it comes from."""
        return type(self.spec).__module__.rpartition(".")[2]

    @property
    def segments(self) -> bool:
        """True if it scores pixels."""
        return segments(self.spec)


def segments(spec: Spec) -> bool:
    """True if the specification's network scores pixels, which its `build` says without being called."""
    made = signature(type(spec).build).return_annotation
    return bool(getattr(made, "__name__", made) == "Segmenter")


VARIANTS: dict[str, Variant] = {}
ALIASES: dict[str, str] = {}

# what other libraries call it
RENAMED = {"pretrained": "weights", "img_size": "image_size", "input_size": "image_size", "in_channels": "in_chans",
           "classes": "num_classes", "n_classes": "num_classes", "dropout": "drop_rate"}
# why some networks lack what others have
ABSENT = {
    "output_stride": "it cannot be dilated, for its maps shrink by other means than padded convolutions in stages; "
                     "ResNets, MobileNets, EfficientNet, RepVGG, ConvNeXt, RepLKNet and SLaK can",
    "global_pool": "no global pooling stands before its classifier; forward_features gives the map before its head",
    "excite": "there is no place for squeeze-and-excitation in it (docs/networks.md says why)",
    "drop_path_rate": "stochastic depth drops what a shortcut passes by, and its blocks have none",
}
#   fields of their own in older files and commands, now parts of `excite`
SE_FIELDS = {f"se_{part}": part for part in ("reduction", "position", "squeeze", "gate", "bias", "stages")}
LEAST = {"num_classes": 0, "in_chans": 1, "image_size": 1}


def register(name: str, spec: Spec, *, params: int, macs: int, fidelity: Fidelity = "paper", recipe: str = "modern",
             aliases: tuple[str, ...] = ()) -> None:
    """Add a variant; a name or alias that is taken is a ValueError."""
    for new in (name, *aliases):
        if new in VARIANTS or new in ALIASES:
            raise ValueError(f"{new!r} is already registered")
    VARIANTS[name] = Variant(name, spec, params, macs, fidelity, recipe, aliases)
    ALIASES.update(dict.fromkeys(aliases, name))


def variant(name: str) -> Variant:
    """The variant of that name or alias, or of a file that describes one: the registered one with the file's fields."""
    if described.names_file(name):
        return _described(name)
    found = VARIANTS.get(ALIASES.get(name, name))
    if found is None:
        raise ConvatlasError(f"there is no model {name!r}{nearest(name, [*VARIANTS, *ALIASES])}"
                             f" (`convatlas list` shows all {len(VARIANTS)})")
    return found


def spelled(name: str) -> tuple[str, dict[str, Any]]:
    """The registered name, and the fields that a file changes: by these a run or a checkpoint knows the network, which
    therefore does not depend on the file.
    """
    found = variant(name)
    return found.name, Card(found.name, found.spec, VARIANTS[found.name].spec).fields


def _described(path: str) -> Variant:
    """A registered variant with the fields that a file changes, and the costs that these give it."""
    from .layers import macs, params  # which need a network's shapes
    from .meta import blank  # which need a network's shapes

    told = described.read(path)
    base = variant(told.name)
    spec = change(base.spec, told.fields, path)
    net = blank(spec.build)
    return replace(base, spec=spec, params=params(net), macs=macs(net), fidelity="own", aliases=())


def build(name: str, changes: Mapping[str, Any] | None = None) -> Convnet:
    """The network of that name with some fields of its specification changed."""
    found = variant(name)
    model = change(found.spec, changes or {}, found.name).build()
    model.card = replace(model.card, model=found.name, registered=VARIANTS[found.name].spec)
    return model


def card(name: str, changes: Mapping[str, Any] | None = None) -> Card:
    """The card of the network that `build` would make."""
    found = variant(name)
    return Card(found.name, change(found.spec, changes or {}, found.name), VARIANTS[found.name].spec)


def change(spec: Spec, changes: Mapping[str, Any], name: str = "") -> Spec:
    """`spec` with some fields changed, checked against their types; lists from YAML or JSON become tuples."""
    from pydantic import ValidationError

    known = [field.name for field in fields(spec)]
    label = name or type(spec).__name__
    changes = _with_excite(spec, changes) if "excite" in known else changes
    if changes.get("global_pool") == "":        # timm's word
        changes = {**changes, "global_pool": "none"}
    for field in changes:
        if field in known:
            continue
        if field in ABSENT:
            raise ConvatlasError(f"{label} has no field {field!r}: {ABSENT[field]}")
        if field in RENAMED:
            raise ConvatlasError(f"{label} has no field {field!r}: here it is called {RENAMED[field]!r}")
        raise ConvatlasError(f"{label} has no field {field!r}{nearest(field, known) or '; it has ' + ', '.join(known)}")
    try:
        changed = adapter(type(spec)).validate_python({k: getattr(spec, k) for k in known} | dict(changes))
    except ValidationError as error:
        first = error.errors()[0]
        place, given = str(first["loc"][0]), changes.get(str(first["loc"][0]))
        if isinstance(given, Mapping):
            place, given = ".".join(map(str, first["loc"])), first["input"]
        raise ConvatlasError(f"{label}: {place} = {given!r} is refused: {first['msg']}") from error
    for field, value in changes.items():
        parts = value if isinstance(value, tuple | list) else (value,)
        if field in LEAST and any(part < LEAST[field] for part in parts):
            raise ConvatlasError(f"{label}: {field} = {value!r} is refused: it must be at least {LEAST[field]}")
        if field == "width" and not 0 < value < inf:
            raise ConvatlasError(f"{label}: width = {value!r} is refused: it must be more than 0 and finite")
        if field.endswith("_rate") and not 0 <= value < 1:
            raise ConvatlasError(f"{label}: {field} = {value!r} is refused: it must be at least 0 and less than 1")
    return changed      # type: ignore[no-any-return]


def _with_excite(spec: Spec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` with `SE_FIELDS` as parts of `excite`; of two that disagree the later counts."""
    excite, old = plain(spec)["excite"], dict[str, Any]()
    for field, value in changes.items():
        if field == "excite":
            value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            excite = old | dict(value) if isinstance(value, Mapping) else value
        elif field in SE_FIELDS:
            old[SE_FIELDS[field]] = value
            kept = excite if isinstance(excite, Mapping) else old
            some = old.get("reduction", excite)         # without a reduction the others said nothing
            excite = {**kept, SE_FIELDS[field]: value} if some else None
    others = {field: value for field, value in changes.items() if field != "excite" and field not in SE_FIELDS}
    return others if len(others) == len(changes) else others | {"excite": excite}
