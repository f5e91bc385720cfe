"""What a training run is, as values: frozen records that print, compare, and travel through YAML. Imports no torch.

Precedence, weakest first: the defaults here < the recipe < `--config file.yaml` < flags < `--set a.b=c` (`resolve`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import ConvatlasError, nearest


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Record):
    """Which network."""

    name: str = "lenet5"
    fields: dict[str, Any] = Field({}, description="changed fields of its specification, for example {'drop_rate': 0.2}")
    weights: str | None = Field(None, description="a run folder or a .safetensors file to start from")


class Data(Record):
    """Which images, and how they are read."""

    source: str = Field("digits", description="a named data set, a folder of images by class, or an .npz")
    data_dir: str | None = Field(None, description="where a named data set lies: torchvision's layout, or plain idx, npz, or binary files")
    download: bool = Field(False, description="let torchvision download a named data set that is absent")
    val_fraction: float = Field(0.2, gt=0, lt=1, description="share held out, stratified, where the data has no validation part")
    batch_size: int = Field(64, ge=1, description="images per optimiser step, over all processes together")
    shuffle: bool = Field(True, description="a new order every epoch; False keeps the order of the files")
    workers: int = Field(0, ge=0, description="processes that read images from disk")
    strict: bool = Field(False, description="stop at an unreadable image instead of skipping and counting it")


class Preprocess(Record):
    """How a picture becomes the network's input: resize the short side to image_size / crop_pct, crop the centre, normalise.

    `crop_pct` above 1 resizes to less than the input and pads with black (28×28 digits on LeNet-5's 32×32 field: 32/28).
    Pixels are in [0, 1] before `(x - mean) / std`; `None` stands for ImageNet's values on three channels and 0.5 otherwise.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float = Field(0.875, gt=0)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"


class Augment(Record):
    """What a training image goes through before normalisation; everything off gives the evaluation transform."""

    crop: Literal["centre", "random", "resized"] = Field(
        "centre", description="random: from the image as evaluation resizes it; resized: Inception's random area and aspect")
    scale: tuple[float, float] = Field((0.08, 1.0), description="share of the area a resized crop keeps")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="aspect of a resized crop")
    padding: int = Field(0, ge=0, description="black pixels added on each side before a random crop")
    flip: float = Field(0.0, ge=0, le=1, description="probability of a mirror image")
    pca_colour: float = Field(0.0, ge=0, description="AlexNet's colour noise: deviation of the principal components' factors")
    trivial: bool = Field(False, description="TrivialAugment: one random operation of random strength per image")


class Loss(Record):
    """What is minimised."""

    name: Literal["cross_entropy", "map", "mse"] = Field(
        "cross_entropy", description="map: LeNet-5's eq. 9; mse: half the squared distance to ±1 targets")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    rubbish: float = Field(0.1, description="j of LeNet-5's MAP loss, the score of 'none of these'")


class Optim(Record):
    """How weights move."""

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)
    decay_bias: bool = Field(True, description="False spares biases and other one-dimensional parameters from weight decay")
    clip_grad: float | None = Field(None, gt=0, description="largest norm of the whole gradient")


class Schedule(Record):
    """How the learning rate moves, per epoch (cosine and warm-up: per step)."""

    name: Literal["constant", "steps", "cosine", "plateau"] = "constant"
    steps: tuple[tuple[int, float], ...] = Field((), description="(epoch, factor) pairs: from that epoch on the rate is lr · factor")
    factor: float = Field(0.1, gt=0, lt=1, description="plateau: what the rate is multiplied by when validation stalls")
    patience: int = Field(5, ge=1, description="plateau: epochs without a better validation accuracy before that")
    reductions: int = Field(3, ge=0, description="plateau: how often at most")
    warmup_epochs: float = Field(0.0, ge=0, description="linear rise of the rate from zero")


class Train(Record):
    """How long, on what, and how it is kept."""

    epochs: int = Field(10, ge=1)
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    parallel: Literal["ddp", "fsdp"] = Field("ddp", description="under torchrun: replicate the network, or shard it (FSDP2)")
    amp: Literal["off", "bf16"] = "off"
    channels_last: bool = False
    compile: bool = False
    checkpoint_minutes: float = Field(5.0, gt=0, description="a checkpoint at least this often, besides one every epoch")
    keep: int = Field(1, ge=1, description="how many checkpoints stay on disk")


class Run(Record):
    """One training run, whole: what `config.yaml` in a run folder holds."""

    recipe: str = Field("", description="the recipe this run came from")
    model: Model = Model()
    data: Data = Data()
    preprocess: Preprocess = Preprocess()
    augment: Augment = Augment()
    loss: Loss = Loss()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    train: Train = Train()

    @model_validator(mode="after")
    def _steps_in_order(self) -> Self:
        epochs = [epoch for epoch, _ in self.schedule.steps]
        if epochs != sorted(set(epochs)):
            raise ValueError(f"schedule.steps must have rising epochs, not {epochs}")
        return self

    def to_yaml(self) -> str:
        """The run as YAML text that `from_yaml` reads back equal."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str, where: str = "the configuration") -> "Run":
        """Read `to_yaml`'s text; `where` names the file in an error."""
        return build(parse_yaml(text, where), where)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping, or a ConvatlasError that names the file and the line."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConvatlasError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConvatlasError(f"{where} must be a YAML mapping such as 'train: {{epochs: 5}}', not {type(tree).__name__}")
    return tree


def build(tree: Mapping[str, Any], where: str = "the configuration") -> Run:
    """A Run of nested plain values; each problem names the field, the value and, for an unknown field, the nearest one."""
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        raise ConvatlasError(f"{where}: " + "; ".join(_problem(problem) for problem in error.errors())) from error


def _problem(problem: Mapping[str, Any]) -> str:
    path = [str(part) for part in problem["loc"]]
    field = ".".join(path)
    if problem["type"] != "extra_forbidden":
        return f"{field or 'run'} = {problem['input']!r} is refused: {problem['msg'].removeprefix('Value error, ')}"
    record: type[BaseModel] = Run
    for part in path[:-1]:
        record = cast(type[BaseModel], record.model_fields[part].annotation)
    return f"there is no field {field!r}" + (nearest(path[-1], record.model_fields) or f"; there are {', '.join(record.model_fields)}")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `over` put in their place; mappings merge, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        here = merged.get(key)
        merged[key] = merge(here, value) if isinstance(here, Mapping) and isinstance(value, Mapping) else value
    return merged


def assignment(text: str) -> dict[str, Any]:
    """`optim.lr=0.05` as `{"optim": {"lr": 0.05}}`; the value is read as YAML (and `1e-3` as the number it is)."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConvatlasError(f"--set takes FIELD=VALUE, for example optim.lr=0.05, not {text!r}")
    try:
        leaf = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConvatlasError(f"--set {text!r}: the value is not valid YAML") from error
    if isinstance(leaf, str):
        with suppress(ValueError):
            leaf = float(leaf)          # YAML 1.1 reads 1e-3 as text
    tree: Any = leaf
    for key in reversed(keys):
        tree = {key: tree}
    return cast(dict[str, Any], tree)


def resolve(recipe: Run, *, config: Path | None = None, flags: Mapping[str, Any] | None = None, sets: Sequence[str] = ()) -> Run:
    """The run a command asks for: recipe < config file < flags < `--set`."""
    tree: dict[str, Any] = recipe.model_dump()
    if config is not None:
        try:
            text = config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConvatlasError(f"cannot read the configuration file {str(config)!r}: {error}") from error
        over = parse_yaml(text, str(config))
        build(merge(tree, over), str(config))       # so that a problem names the file
        tree = merge(tree, over)
    tree = merge(tree, flags or {})
    for text in sets:
        tree = merge(tree, assignment(text))
    return build(tree, f"--set {' '.join(sets)}" if sets else "the configuration")


def dotted(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`[("optim.lr", 0.05), ("train.epochs", None)]` as a nested mapping, leaving out what is None."""
    tree: dict[str, Any] = {}
    for path, value in pairs:
        if value is not None:
            leaf: Any = value
            for key in reversed(path.split(".")):
                leaf = {key: leaf}
            tree = merge(tree, leaf)
    return tree
