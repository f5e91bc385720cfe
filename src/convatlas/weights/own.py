"""Our own checkpoints: one safetensors file whose metadata names the network, its fields, classes and preprocessing.

The metadata is one JSON text under the key `convatlas`, so the file explains itself to anything that reads safetensors,
and nothing in it is ever executed.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import arch as arch
from .. import bounded
from ..errors import ConvatlasError, nearest, some
from ..files import along, check_format, is_deployed, whole_write
from ..net import registry
from ..net.card import Card, Provenance
from ..recipes import recipe
from ..run import MEASURED, Loss, Preprocess, Record, build, merge
from ..runs.folder import CONFIG, WEIGHTS
from ..version import __version__
from .files import Foreign

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")      # of weights in several files
KEY = "convatlas"
FORMAT = 1                  # of the metadata
FITTED = "preprocess."      # begins the names of tensors that belong to the preprocessing, not to the network


class Meta(Record):
    """A card as the text in a file; the keys stay as they are, for files that were written with them."""

    format: int = FORMAT
    model: str                              # the registered name
    fields: dict[str, Any] = Field({})      # what differs from the registered specification
    folded: bool = False                    # its tensors are those of convatlas.fold's result
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = Preprocess()        # None: others trained it, and it is not known
    loss: Loss = Loss()                     # which gives the scores their meaning
    data: str = ""
    metrics: dict[str, float] = Field({})
    versions: dict[str, str] = Field({})


def conventions(card: Card) -> tuple[Preprocess, Loss]:
    """Conventions of input and scores: how pictures are prepared and what a score means; the card's own, else its
    recipe's. Raises ConvatlasError where others trained the weights and did not say how pictures are prepared.
    """
    usual = recipe(registry.variant(card.model).recipe)
    if card.foreign and card.preprocess is None:
        origin = f"the weights from {card.provenance.report.where}" if card.provenance.report else "these weights"
        raise ConvatlasError(f"how pictures were prepared for {origin} is not known: give their mean and deviation (of "
                             "pixels in [0, 1], red, green, blue) with --set preprocess.mean=R,G,B --set "
                             "preprocess.std=R,G,B (in Python preprocess={'mean': …, 'std': …}) to predict or eval, or "
                             "once and for all to `convatlas weights convert FILE OUT.safetensors --to convatlas`")
    return card.preprocess or usual.preprocess, card.loss or usual.loss


def prepared(card: Card, changes: Mapping[str, Any]) -> Card:
    """The card with some fields of its preprocessing changed (`{"mean": …, "std": …}`), the rest as it was, or as its
    recipe's; raises ConvatlasError for what is refused, has no effect, or leaves it unknown.
    """
    unknown = card.foreign and card.preprocess is None
    if unknown and not {"mean", "std"} <= changes.keys() and changes.get("fit") != "gcn":
        conventions(card)
    before = card.preprocess or recipe(registry.variant(card.model).recipe).preprocess
    if unknown or (before.fit in MEASURED and not card.fitted):
        before = before.model_copy(update={"fit": "none"})
    after = build(merge({"preprocess": before.model_dump()}, {"preprocess": changes}), "preprocess").preprocess
    idle = [name for name in ("mean", "std") if name in changes and after.fit != "none"
            and (name, after.fit) != ("std", "pixel_mean")]
    if idle:
        raise ConvatlasError(f"preprocess.{idle[0]} has no effect where pictures are normalised by what is measured on "
                             f"them (preprocess.fit = {after.fit}): set preprocess.fit to none too")
    if after.fit != before.fit and after.fit in MEASURED:
        raise ConvatlasError(f"preprocess.fit = {after.fit!r} is refused: it needs what was measured when the weights "
                             "were trained, and that was not")
    return replace(card, preprocess=after, fitted=card.fitted if after.fit == before.fit else {})


def written(card: Card) -> Meta:
    """A card as it is written into a file."""
    usual, was = recipe(registry.variant(card.model).recipe), card.provenance
    preprocess = card.preprocess or (None if card.foreign else usual.preprocess)
    return Meta(model=card.model, fields=card.fields, folded=card.folded is not None, classes=card.classes,
                preprocess=preprocess, loss=card.loss or usual.loss, data=was.data, metrics=dict(was.metrics),
                versions={"convatlas": __version__, "torch": torch.__version__})


def read_back(meta: Meta, fitted: Mapping[str, Tensor]) -> Card:
    """The card that was written into a file."""
    return replace(registry.card(meta.model, meta.fields), classes=meta.classes, preprocess=meta.preprocess,
                   foreign=meta.preprocess is None, fitted=fitted, loss=meta.loss,
                   folded="as loaded" if meta.folded else None,
                   provenance=Provenance(meta.data, meta.metrics, meta.versions))


def save(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write tensors and card, atomically: `path` holds the old file or the new one, never half of one."""
    tensors = {**tensors, **{FITTED + name: tensor for name, tensor in card.fitted.items()}}
    meta = written(card)
    with whole_write(path, errors=(OSError, SafetensorError)) as beside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, beside,
                  metadata={KEY: meta.model_dump_json()})


def find(source: str | Path, variant: str | None = None) -> Path:
    """The weights file of a run folder, the file itself, or the file of weights that come along (`lenet5.digits`, with
    the variant named also `digits`); what the user has under such a name goes first, unless it is a folder without
    weights.
    """
    path, known = Path(source).expanduser(), along()
    shipped = known.get(str(source), known.get(f"{variant}.{source}"))
    if is_deployed(path):
        raise ConvatlasError(f"{str(source)!r} is a deployed folder, which answers and cannot be changed: give it to "
                             "convatlas.predict or convatlas.evaluate, and load the run or the weights that "
                             "it was made of")
    if path.is_dir():
        for name in (WEIGHTS, *INDEXES):
            if (path / name).is_file():
                return path / name
        if (path / CONFIG).is_file():
            raise ConvatlasError(f"the run {str(path)!r} has no {WEIGHTS} yet: let it finish an epoch (convatlas train "
                                 f"--resume {path})")
        if shipped is None:
            raise ConvatlasError(f"{str(path)!r} is not a run folder: it holds no {WEIGHTS}")
    if path.is_file():
        return path
    if shipped is None:
        tags = [name.removeprefix(f"{variant}.") for name in known if name.startswith(f"{variant}.")]
        hint = f"; of {variant} come along {some(tags)}" if tags else nearest(str(source), known)
        raise ConvatlasError(f"there is no run folder and no weights file {str(path)!r}{hint}")
    return shipped


def is_ours(path: Path) -> bool:
    """True if convatlas wrote the file."""
    if path.suffix != ".safetensors":
        return False
    try:
        bounded.safetensors_head(path)
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def read_card(source: str | Path) -> Card:
    """The card in a run folder, a published folder or a file of weights, without reading the network's tensors."""
    path = find(source)
    try:
        bounded.safetensors_head(path)
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            names = [name for name in file.keys() if name.startswith(FITTED)]      # noqa: SIM118
            fitted = {name.removeprefix(FITTED): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise ConvatlasError(f"{str(path)!r} is not a readable safetensors file: {error}") from error
    if text is None:
        raise ConvatlasError(f"{str(path)!r} was not written by convatlas: it has no description of its network")
    try:
        tree = bounded.parse_json(text)
        with suppress(AttributeError):      # what is no mapping is refused by the next line
            check_format(tree.get("format"), FORMAT, repr(str(path)))
        card = read_back(Meta.model_validate(tree), fitted)
        return replace(card, provenance=replace(card.provenance, path=str(path.resolve())))
    except ValueError as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConvatlasError(f"{str(path)!r} describes itself in a way this version ({__version__}) does not "
                             f"understand: {why}") from error


def of_network(found: Foreign) -> Foreign:
    """The network's tensors in one of our files, without what was fitted for its preprocessing."""
    return replace(found, tensors={name: tensor for name, tensor in found.tensors.items()
                                   if not name.startswith(FITTED)})


def check(found: Foreign, card: Card, places: Mapping[str, Tensor]) -> None:
    """Refuse one of our files whose tensors are not those of the network that it says it holds: other classes would be
    scored by a classifier that nobody trained.
    """
    for name, place in places.items():
        tensor = found.tensors.get(name)
        if tensor is not None and tensor.numel() != place.numel():
            shapes = ", not ".join("×".join(map(str, each.shape)) or "one number" for each in (tensor, place))
            raise ConvatlasError(f"{found.where!r} is not what it says of itself ({card.model} with {card.fields}): "
                                 f"{name} is {shapes}; fetch or write it again")
