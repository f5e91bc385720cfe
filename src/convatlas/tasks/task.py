"""Task: what a network is trained to answer, as one contract from opening the data to what is told of the result."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from PIL import Image
from torch import Tensor

from ..data.manifest import Record
from ..deploy.reader import Prediction
from ..engine.distributed import World
from ..engine.train import Batches, Judge
from ..engine.watch import Watch
from ..errors import ConvatlasError, nearest
from ..evaluation.protocol import PROTOCOLS, Protocol
from ..net.answering import Answers
from ..net.model import Convnet
from ..run import Data, Run
from ..runs.manifest import Kept
from .told import Line, Told

Tell = Callable[[str], None]
Picture = str | Path | Image.Image | Tensor
S = TypeVar("S")        # opened data: name, classes, train, val, notes
E = TypeVar("E")        # what training's judge finds
F = TypeVar("F")        # what `evaluate` finds


class Refusal(NamedTuple):
    """The reason why a task does not take a setting; `also` are values besides its default that are what is done
    anyway.
    """

    because: str
    also: tuple[Any, ...] = ()


class Measure(NamedTuple):
    """A figure of metrics.csv as a hub of models shows it."""

    column: str
    kind: str           # the hub's name for the metric
    name: str
    of: str             # "of the validation images"


class Candidate(NamedTuple):
    """A network to be asked: with the name that the user gave it, and the path it came from."""

    net: Answers
    name: str
    path: Path | None = None


@dataclass(frozen=True)
class Asked:
    """The options of `convatlas.evaluate`: what networks are evaluated on, and how."""

    data: str
    split: Literal["auto", "train", "val", "test", "all"] = "auto"
    protocol: Protocol = PROTOCOLS["centre"]
    weights: Sequence[float] | None = None      # of an ensemble's members
    objects: Literal["none", "components", "watershed"] = "none"
    masks: Literal["auto", "classes", "instances", "binary"] = "auto"
    batch_size: int = 256
    data_dir: str | None = None
    download: bool = False
    workers: int = 0
    strict: bool = False
    max_pixels: int | None = None
    accept_changes: bool = False        # judge what is left of a run's held-out images

    def __post_init__(self) -> None:
        for field, kind in get_type_hints(type(self)).items():
            value, choices = getattr(self, field), get_args(kind)
            if get_origin(kind) is Literal and value not in choices:
                raise ConvatlasError(f"{field} {value!r} is refused{nearest(str(value), choices)}; it is one of "
                                     f"{', '.join(choices)}")

    @property
    def changed(self) -> set[str]:
        """The options that are not as they are where nothing is said."""
        usual = Asked(self.data)
        return {field.name for field in fields(self) if getattr(self, field.name) != getattr(usual, field.name)}

    @property
    def config(self) -> Data:
        """The data, and how it is opened and read."""
        return Data(source=self.data, data_dir=self.data_dir, download=self.download, cache="off", masks=self.masks,
                    batch_size=self.batch_size, workers=self.workers, strict=self.strict,
                    max_pixels=self.max_pixels)


class Task(ABC, Generic[S, E, F]):
    """One way to learn from images. The variant decides which (`tasks.task_of`), and nothing else asks for the kind."""

    does: ClassVar[str]                         # "classifies"
    judge: ClassVar[Judge]                      # after each epoch
    column: ClassVar[tuple[str, str]]           # of metrics.csv: the figure shown while training, and its heading
    afterwards: ClassVar[tuple[Line, Line]]     # told when training has ended: {} is the report, then the run folder
    pipeline: ClassVar[str]                     # what hubs of models call the task
    measures: ClassVar[tuple[Measure, ...]]     # of a published network
    # of a published network: a command, and a line of Python after `model = …`
    usage: ClassVar[tuple[str, str]]
    settings: ClassVar[Mapping[str, Refusal]]   # fields of a Run that it does not take
    options: ClassVar[Mapping[str, str]]        # of `evaluate` and `convatlas eval`, likewise

    # -- refusing --------------------------------------------------------------------------------------------------

    def check(self, run: Run) -> None:
        """A ConvatlasError that names the first setting of a new run that has no meaning here."""
        for field, (because, also) in self.settings.items():
            value = _at(run, field)
            if value != _at(Run(), field) and value not in also:
                raise ConvatlasError(f"{field} = {value!r} is refused, for {run.model.name} {self.does}: {because}")

    def check_options(self, given: Collection[str], written: Callable[[str], str] = str) -> None:
        """The same of the options of an evaluation that were given; `written` is how the user writes them."""
        for name, because in self.options.items():
            if name in given:
                raise ConvatlasError(f"{written(name)} is refused for a network that {self.does}: {because}")

    @abstractmethod
    def take(self, candidates: Sequence[Candidate]) -> None:
        """A ConvatlasError for a network of another task, and for more networks at once than can be judged together."""

    # -- training --------------------------------------------------------------------------------------------------

    @abstractmethod
    def open(self, run: Run, here: World, known: Kept | None = None, accept: bool = False) -> S:
        """The data that `run` names; for a run that goes on, as the manifest in its folder has it.

        Raises ConvatlasError where it is not there, not for this task or, unless `accept`, not what it was.
        """

    @abstractmethod
    def record(self, run: Run, source: S) -> Record:
        """The record of its data that the run keeps."""

    @abstractmethod
    def encoded(self, source: S, index: int) -> Path | bytes | None:
        """A training image's file, or its bytes; None of images in memory."""

    @abstractmethod
    def notes(self, model: Convnet, source: S) -> tuple[str, ...]:
        """Sentences worth telling: of the data, and of how it is made to fit the network."""

    def measured(self, run: Run, model: Convnet, source: S, where: Path, here: World, tell: Tell,
                 inherited: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Measurements of the preprocessing on the training images, kept in the run folder `where`; those that came
        with the weights are `inherited`.
        """
        return {}

    @abstractmethod
    def loaders(self, run: Run, model: Convnet, source: S, fitted: Mapping[str, Tensor], here: World,
                tell: Tell) -> tuple[Batches, Any]:
        """The batches that training goes over, and those that `judge` does: this process's share."""

    @abstractmethod
    def report(self, where: Path, run: Run, model: Convnet, evaluation: E, source: S) -> Path:
        """Leave a page or a picture for people in the run folder."""

    # -- answering -------------------------------------------------------------------------------------------------

    @abstractmethod
    def evaluate(self, candidates: Sequence[Candidate], asked: Asked, here: World, watch: Watch | None,
                 tell: Tell) -> list[F]:
        """Each network by itself, all on the same images."""

    @abstractmethod
    def join(self, found: Sequence[F], weights: Sequence[float] | None) -> F:
        """One result of all."""

    @abstractmethod
    def predict(self, net: Answers, images: Sequence[Picture], *, top_k: int, batch_size: int, strict: bool,
                max_pixels: int | None, here: World) -> list[Prediction]:
        """The likeliest classes of each picture; a ConvatlasError that names the way where pictures have none."""

    # -- telling ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def best(self, evaluation: E) -> Line:
        """The figure of the best epoch, in a line."""

    @abstractmethod
    def told(self, found: F, top_k: int) -> Told:
        """An evaluation, for people."""

    @abstractmethod
    def figures(self, found: F, top_k: int) -> dict[str, Any]:
        """An evaluation, for --json."""

    @abstractmethod
    def write(self, found: F, where: Path) -> list[Path]:
        """An evaluation as files in a folder."""


def _at(run: Run, field: str) -> Any:
    value: Any = run
    for name in field.split("."):
        value = getattr(value, name)
    return value
