"""Card: what a network is and what is known of it, as one frozen value that goes with it into files and folders."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from functools import cache
from typing import Any, ClassVar, Protocol

from torch import Tensor

from ..run import Loss, Preprocess, written

SHOWN = 5       # classes that a printed card names


class Values(Protocol):
    """The plain values of a specification; what every one has."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def num_classes(self) -> int:
        """Scores per image; 0 means no classifier."""
        ...

    @property
    def in_chans(self) -> int:
        """Channels of the input."""
        ...

    @property
    def image_size(self) -> int | tuple[int, int]:
        """(height, width), or one number for both."""
        ...


def plain(spec: Values) -> dict[str, Any]:
    """The specification as a mapping of plain values, for YAML and JSON; `registry.change` reads it back."""
    return adapter(type(spec)).dump_python(spec, mode="json")      # type: ignore[no-any-return]


@cache
def adapter(kind: type) -> Any:
    """Pydantic's reader and writer of a specification's class."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@dataclass(frozen=True)
class Row:
    """The fate of one tensor."""

    ours: str
    theirs: str
    what: str           # loaded, reshaped, adapted, kept (as it was initialised), left out
    why: str = ""


@dataclass(frozen=True)
class Report:
    """The account of loading weights; `str()` of it is a page to read."""

    where: str
    network: str
    source: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        wide = max((len(row.ours or row.theirs) for row in self.rows), default=0)
        lines = [f"{self.where}: {self.source}, into {self.network}", *(f"  {note}" for note in self.notes)]
        lines += [f"  {row.ours or '–':<{wide}}  {row.what:<10} {'' if row.theirs == row.ours else row.theirs}"
                  f"{f'  ({row.why})' if row.why else ''}" for row in self.rows]
        kinds = {kind: sum(row.what == kind for row in self.rows)
                 for kind in dict.fromkeys(row.what for row in self.rows)}
        return "\n".join([*lines, "  " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())])

    def brief(self) -> list[str]:
        """Some sentences: what it is, and every tensor that was not simply loaded, by its reason."""
        reasons: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            if row.why:
                reasons.setdefault((row.what, row.why), []).append(row.ours or row.theirs)
        told = [f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''} {what}: {why}."
                for (what, why), names in reasons.items()]
        return [f"Weights: {self.where}, {self.source}.",
                *(f"{note[0].upper()}{note[1:]}." for note in self.notes), *told]


@dataclass(frozen=True)
class Folded:
    """The result of folding, and how far it is from the original on one random image."""

    layers: tuple[int, int]         # modules that compute, before and after
    params: tuple[int, int]         # trainable parameters, before and after
    difference: float               # largest absolute difference of an output
    relative: float                 # the same, relative to the largest output

    def __str__(self) -> str:
        return (f"{self.layers[0]} → {self.layers[1]} layers, {self.params[0]:,} → {self.params[1]:,} parameters; "
                f"largest difference {self.difference:.2g} ({self.relative:.1g} of the largest output)")


@dataclass(frozen=True)
class Provenance:
    """The origin of a network's weights: what they were trained on, how well they did then, and the account of loading
    them.
    """

    data: str = ""                                                  # the data set's name
    metrics: Mapping[str, float] = field(default_factory=dict)      # the best epoch's row of metrics.csv
    versions: Mapping[str, str] = field(default_factory=dict)       # of the packages that wrote the file
    report: Report | None = None                                    # None: they were not loaded
    path: str = ""                                                  # the file or deployed folder they were read from


@dataclass(frozen=True, eq=False)
class Card:
    """A network's card: what it is and what is known of it.

    Another takes its place (`dataclasses.replace`); none is changed. `spec` is the value that the network was built
    from, `registered` the one that the registry has under the name `model`.
    """

    model: str
    spec: Values
    registered: Values | None = None
    classes: tuple[str, ...] = ()                       # names, where the weights know them
    # how a picture becomes the network's input; None: as its recipe says
    preprocess: Preprocess | None = None
    foreign: bool = False       # weights of others, who prepared pictures in a way that only `preprocess` can tell
    fitted: Mapping[str, Tensor] = field(default_factory=dict, repr=False)      # measured for it on the training images
    loss: Loss | None = None                            # what it was trained with, which says what a score means
    folded: Folded | str | None = None                  # what `convatlas.fold` did; in words where it was done before
    provenance: Provenance = Provenance()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields in which `spec` differs from the registered one, as plain values; what a checkpoint stores."""
        usual = {} if self.registered is None else plain(self.registered)
        return {name: value for name, value in plain(self.spec).items() if name not in usual or value != usual[name]}

    def __str__(self) -> str:
        count, was = len(self.classes), self.provenance
        names = ", ".join(self.classes[:SHOWN]) + (f" and {count - SHOWN} more" if count > SHOWN else "")
        told = {
            "network": " ".join([self.model, *(f"{name}={written(value)}" for name, value in self.fields.items())]),
            "classes": f"{count}: {names}" if count else "without names",
            "preprocess": _listed(self.preprocess.model_dump(exclude_none=True)) if self.preprocess
            else "not known" if self.foreign else "as its recipe says",
            "fitted": ", ".join(self.fitted),
            "loss": self.loss and _listed({"name": self.loss.name, **self.loss.model_dump(exclude_defaults=True)}),
            "folded": self.folded,
            "trained on": was.data,
            "measured": _listed({name: f"{value:.4g}" for name, value in was.metrics.items()
                                 if name.startswith("val_")}),
            "loaded from": was.report and f"{was.report.where}, {was.report.source}",
        }
        return "\n".join(f"{label:<12} {value}" for label, value in told.items() if value)


def _listed(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())
