"""Training runs as values: frozen records that print, compare, and travel through YAML. Imports no torch.

Precedence, weakest first: the defaults here < the recipe < `--config file.yaml` < flags < `--set a.b=c` (`resolve`).
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any, Literal, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from . import bounded
from .errors import ConvatlasError, nearest
from .files import check_format

FORMAT = 1      # of a run folder, whose config.yaml says it


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Said = Literal["auto"] | float | tuple[float, float]


def span_of(said: Said) -> tuple[float, float] | None:
    """The values of black and white that `data.range` names; None where it is auto."""
    return None if said == "auto" else said if isinstance(said, tuple) else (0.0, said)


class Model(Record):
    """The network."""

    name: str = "lenet5"
    fields: dict[str, Any] = Field({}, description="changed fields of its specification, for example "
                                   "{'drop_rate': 0.2}")
    weights: str | None = Field(None, description="what to start from: a run folder, a file of weights, or a name such "
                                "as timm/resnet50.a1_in1k")
    by_order: bool = Field(False, description="pair the weights' tensors with the network's by their order, kinds and "
                           "shapes, where nobody knows their names")


class Data(Record):
    """The images, and how they are read."""

    source: str = Field("digits", description="a named data set, a folder of images by class, an .npz, or shards")
    data_dir: str | None = Field(None, description="where a named data set lies: torchvision's layout, or plain idx, "
                                 "npz, or binary files")
    download: bool = Field(False, description="let torchvision download a named data set that is absent")
    val_fraction: float = Field(0.2, gt=0, lt=1, description="share held out, stratified, where the data has no "
                                "validation part")
    split_seed: int | None = Field(None, ge=0, description="what chooses the images that are held out; by itself the "
                                   "run's seed: of runs with several seeds, a number lets all be judged on the same")
    batch_size: int = Field(64, ge=1, description="images per optimiser step, over all processes together")
    shuffle: bool = Field(True, description="a new order every epoch; False keeps the order of the files")
    sampling: Literal["all", "balanced"] = Field("all", description="balanced: every class equally often, however many "
                                                 "images it has")
    workers: int = Field(0, ge=0, description="processes that read images from disk")
    cache: Literal["auto", "off", "memory", "disk"] = Field(
        "auto", description="decode files once and keep the pixels; auto: in memory where they take less than a "
        "quarter of what is free")
    cache_dir: str | None = Field(None, description="where cache = disk keeps its file; the user's cache "
                                  "folder if left out")
    decode: Literal["auto", "full"] = Field(
        "auto", description="auto: a JPEG at least four times larger than needed is decoded at a half, a quarter or an "
        "eighth of its size")
    strict: bool = Field(False, description="stop at an unreadable image instead of skipping and counting it")
    range: Said = Field(
        "auto", description="the values of black and white, or of white alone, in images of more than 8 bits, such as "
        "4095; auto: as the files say, else as the training images' largest value suggests")
    max_pixels: int | None = Field(None, ge=1, description="an image with more is not decoded; None: as many as an "
                                   "eighth of the free memory holds, 89 million at most")
    masks: Literal["auto", "classes", "instances", "binary"] = Field(
        "auto", description="segmentation: what a mask's numbers are: classes, objects (0 is the background), or 0 and "
        "the foreground")
    mask_orientation: Literal["auto", "displayed", "stored"] = Field(
        "auto", description="segmentation: whether masks of images that EXIF turns lie as these are displayed, or as "
        "they are stored; auto: as sizes tell")

    @field_validator("range")
    @classmethod
    def _rising(cls, said: Said) -> Said:
        low, high = span_of(said) or (0, 1)
        if not -inf < low < high < inf:
            raise ValueError("black must be below white, and both must be finite")
        return said


class Preprocess(Record):
    """Preprocessing: resize the short side to image_size / crop_pct, crop the centre, normalise.

    `crop_pct` above 1 resizes to less than the input and pads with black (28×28 digits on LeNet-5's 32×32 field:
    32/28). Pixels are in [0, 1] before `(x - mean) / std`; `None` stands for ImageNet's values on three channels and
    0.5 otherwise.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float = Field(0.875, gt=0)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    fit: Literal["none", "channel", "pixel_mean", "gcn", "zca"] = Field(
        "none", description="measured on the training images instead, and kept with the weights: mean and deviation "
        "per channel; the mean of each pixel (then / std); each picture to mean 0 and deviation 1 (global contrast "
        "normalisation); that, then ZCA whitening")
    range: tuple[float, float] | None = Field(
        None, description="the values of black and white in images of more than 8 bits, as data.range was understood; "
        "None: 0 and 65535 of whole numbers, 0 and 1 of floats")

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _of_all_channels(cls, value: Any) -> Any:
        """One number serves all channels."""
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


MEASURED = ("channel", "pixel_mean", "zca")     # kinds of preprocess.fit that need tensors, kept with the weights


class Augment(Record):
    """Augmentation: all that a training image goes through before normalisation; everything off gives the evaluation
    transform.
    """

    crop: Literal["centre", "random", "resized"] = Field(
        "centre", description="random: from the image as evaluation resizes it; resized: Inception's random "
        "area and aspect")
    short_side: tuple[int, int] | None = Field(
        None, description="scale jitter: the image is resized so that its short side is uniform in this range, before "
        "a random crop")
    scale: tuple[float, float] = Field((0.08, 1.0), description="share of the area a resized crop keeps")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="aspect of a resized crop")
    padding: int = Field(0, ge=0, description="pixels added on each side before a random crop")
    padding_mode: Literal["black", "reflect"] = "black"
    flip: float = Field(0.0, ge=0, le=1, description="probability of a mirror image")
    turns: bool = Field(False, description="segmentation: turned by a random multiple of 90 degrees")
    affine: tuple[float, float, float, float] = Field(
        (0, 0, 0, 0), description="most rotation in degrees, shift as a share of the side, change of scale, "
        "shear in degrees")
    elastic: float = Field(0.0, ge=0, description="U-Net's deformation: deviation in pixels of the displacements on "
                           "a coarse grid")
    elastic_grid: int = Field(3, ge=2, description="points of that grid on each side")
    jitter: tuple[float, float, float, float] = Field(
        (0, 0, 0, 0), description="most change of brightness, contrast, saturation and hue, as torchvision's "
        "ColorJitter, in random order")
    pca_colour: float = Field(0.0, ge=0, description="AlexNet's colour noise: deviation of the principal "
                              "components' factors")
    pca_from: Literal["imagenet", "data"] = Field("imagenet", description="whose principal components of colour")
    policy: Literal["none", "trivial", "randaugment", "randaugment_inc", "autoaugment"] = Field(
        "none", description="TrivialAugment: one random operation of random strength per image; RandAugment; timm's "
        "`rand-m9-mstd0.5-inc1`, whose operations grow with the strength; AutoAugment's for ImageNet")
    policy_ops: int = Field(2, ge=1, description="RandAugment: operations per image")
    policy_magnitude: int = Field(9, ge=0, le=30, description="RandAugment: strength, of 30; of randaugment_inc, of 10")
    policy_std: float = Field(0.5, ge=0, description="randaugment_inc: deviation of the strength")
    policy_prob: float = Field(0.5, ge=0, le=1, description="randaugment_inc: probability of each operation drawn")
    erase: float = Field(0.0, ge=0, le=1, description="probability that a random rectangle is erased (after "
                         "normalisation)")
    erase_fill: Literal["mean", "noise"] = Field("mean", description="what it is erased to: zeros, or noise as timm's "
                                                 "`pixel` mode, of boxes of up to a third of the area")
    mixup: float = Field(0.0, ge=0, description="alpha of Mixup; 0: off")
    cutmix: float = Field(0.0, ge=0, description="alpha of CutMix; with both, each batch takes one of the two")
    mix_prob: float = Field(1.0, ge=0, le=1, description="share of batches that are mixed at all")


class Loss(Record):
    """The loss that is minimised."""

    name: Literal["cross_entropy", "map", "mse", "bce", "dice", "focal", "tversky"] = Field(
        "cross_entropy", description="map: LeNet-5's eq. 9; mse: half the squared distance to ±1 targets; "
        "bce: each class by itself, for images with several labels or none; dice, focal, tversky: for segmentation")
    add: tuple[Literal["cross_entropy", "dice", "focal", "tversky"], ...] = Field(
        (), description="segmentation: losses that are added to it")
    gamma: float = Field(2.0, ge=0, description="focal: how little pixels count that are right already")
    alpha: float = Field(0.7, ge=0, le=1,
                         description="tversky: how much a missed pixel costs; a false one costs 1 - alpha")
    border: float = Field(0.0, ge=0, description="segmentation: w0 of U-Net's weight map, what pixels between touching "
                          "objects count more")
    border_sigma: float = Field(5.0, gt=0, description="its width in pixels")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    rubbish: float = Field(0.1, description="j of LeNet-5's MAP loss, the score of 'none of these'")
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = Field(
        "none", description="balanced: inverse to the number of training images; or one number per class; scaled to "
        "mean 1 over the images")
    aux_weight: float | None = Field(None, ge=0, description="weight of each side classifier's loss; None: the "
                                     "network's own")
    pixels: Literal["mean", "sum"] = Field("mean", description="segmentation: a picture's loss is the mean of its "
                                           "pixels, or FCN's sum")
    ignore_index: int = Field(255, description="segmentation: the label of pixels that do not count")


class Group(Record):
    """Parameters with a rate and a decay of their own."""

    names: str = Field(description="a wildcard pattern of parameter names, such as *.bias or stages.0.*")
    lr: float = Field(1.0, ge=0, description="times the rate")
    weight_decay: float = Field(1.0, ge=0, description="times the decay")


class Optim(Record):
    """The optimiser."""

    name: Literal["sgd", "sgd_caffe", "adam", "adamw", "rmsprop", "rmsprop_tf", "lm"] = Field(
        "sgd", description="sgd_caffe: the rate is inside the velocity; rmsprop_tf: epsilon inside the root and a mean "
        "square that starts from one; lm: LeNet-5's stochastic diagonal Levenberg-Marquardt")
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="beta1 of adam and adamw")
    nesterov: bool = False
    rho: float | None = Field(None, gt=0, lt=1, description="decay of the mean square: adam's beta2 (0.999), "
                              "rmsprop's alpha (0.9)")
    eps: float | None = Field(None, gt=0, description="None: 1e-8 for adam, adamw and rmsprop, 1e-3 for rmsprop_tf")
    mu: float = Field(0.02, gt=0, description="lm: added to the second derivative")
    samples: int = Field(500, ge=1, description="lm: images from which second derivatives are estimated "
                         "before each epoch")
    weight_decay: float = Field(0.0, ge=0)
    decay_bias: bool = Field(True, description="False spares biases and other one-dimensional parameters "
                             "from weight decay")
    groups: tuple[Group, ...] = Field((), description="parameters that move otherwise; of several patterns the first "
                                      "that matches holds")
    layer_decay: float = Field(1.0, gt=0, le=1, description="each stage's rate is this times the next one's, the "
                               "stem's the least: for fine-tuning")
    clip_grad: float | None = Field(None, gt=0, description="largest norm of the whole gradient")
    clip_value: float | None = Field(None, gt=0, description="largest absolute value of each gradient")


class Schedule(Record):
    """Learning-rate schedule, per epoch (cosine, linear, poly and warm-up: per step)."""

    name: Literal["constant", "steps", "exponential", "cosine", "linear", "poly", "plateau"] = "constant"
    steps: tuple[tuple[float, float], ...] = Field(
        (), description="(epoch, factor) pairs: from that epoch on, which may be a fraction, the rate is lr · factor")
    factor: float = Field(0.1, gt=0, le=1, description="plateau: what the rate is multiplied by when validation "
                          "stalls; exponential: what it is multiplied by every `every` epochs")
    every: float = Field(1.0, gt=0, description="exponential: epochs between two falls")
    staircase: bool = Field(True, description="exponential: False falls a little with each step")
    power: float = Field(1.0, gt=0, description="poly: lr · (1 − t)^power")
    final: float = Field(0.0, ge=0, lt=1, description="cosine, linear and poly: the factor they fall to")
    patience: int = Field(5, ge=1, description="plateau: epochs without a better validation accuracy before that")
    reductions: int = Field(3, ge=0, description="plateau: how often at most")
    warmup_epochs: float = Field(0.0, ge=0, description="rise of the rate at the beginning")
    warmup_from: float = Field(0.0, ge=0, description="the factor at which it begins")
    warmup: Literal["linear", "constant"] = Field("linear", description="constant: at `warmup_from` until its end")


class Sparse(Record):
    """Dynamic sparsity (SLaK): weights that stay zero, at places that training moves."""

    sparsity: float = Field(0.0, ge=0, lt=1, description="share of the weights that are zero; 0: off")
    densities: Literal["snip", "uniform"] = Field("snip", description="per layer: by SNIP on one batch, or the "
                                                  "same everywhere")
    every: int = Field(100, ge=1, description="optimiser steps between two rounds of prune-and-grow")
    rate: float = Field(0.3, ge=0, le=1, description="share of the weights that move in the first round; falls "
                        "along a cosine")
    final_rate: float = Field(0.005, ge=0, le=1)


class Train(Record):
    """Training: how long, on what device, and what is kept."""

    epochs: int = Field(10, ge=1)
    seed: int = Field(0, ge=-2**63, lt=2**63)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    parallel: Literal["ddp", "fsdp"] = Field("ddp", description="under torchrun: replicate the network, or "
                                             "shard it (FSDP2)")
    sync_bn: bool = Field(False, description="under torchrun on GPUs: BatchNorm over the images of all processes")
    amp: Literal["off", "bf16"] = "off"
    channels_last: bool | None = Field(None,
                                       description="memory layout; None: on, except for small networks on the CPU")
    compile: bool = False
    depthwise: Literal["auto", "native", "torch"] = Field(
        "auto", description="what computes depthwise convolutions of 5×5 and more: native is the kernels of deploy, in "
        "float32 on the CPU; auto: native where these are and the network is not small; the run keeps which")
    allocator: Literal["auto", "system", "keep"] = Field(
        "auto", description="keep: on Linux the process keeps freed memory for itself, which is faster and takes more "
        "of it; auto: keep on the CPU, except for small networks")
    grad_checkpointing: bool = Field(False, description="recompute each stage in the backward pass: slower, "
                                     "far less memory")
    accumulate: int | None = Field(None, ge=1, description="parts in which each batch is computed, one after the "
                                   "other, for less memory; None: as few as memory allows, where BatchNorm would see "
                                   "the parts after recomputing (grad_checkpointing); the run keeps their number")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of a running average of the weights, which is then "
                              "validated and kept")
    ema_warmup: bool = Field(True, description="the decay begins lower: min(ema, (1 + t) / (10 + t)) at step t")
    freeze: tuple[str, ...] = Field((), description="wildcard patterns of parameters that do not move; a stage's name "
                                    "stands for all in it")
    unfreeze: tuple[tuple[float, str], ...] = Field((), description="(epoch, pattern) pairs: from that epoch on these "
                                                    "move after all")
    on_nan: Literal["stop", "skip"] = Field("stop", description="skip: leave out a step whose loss is not finite, and "
                                            "halve the rate")
    nan_limit: int = Field(5, ge=1, description="how many steps may be left out before training stops")
    checkpoint_minutes: float = Field(5.0, gt=0, description="a checkpoint at least this often, besides "
                                      "one every epoch")
    keep: int = Field(1, ge=1, description="how many checkpoints stay on disk")
    track: tuple[Literal["wandb", "mlflow"], ...] = Field((), description="trackers that also get the metrics; they "
                                                          "are extras to install")


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
    sparse: Sparse = Sparse()
    train: Train = Train()

    @property
    def split_seed(self) -> int:
        """The seed that chooses the images that are held out."""
        return self.train.seed if self.data.split_seed is None else self.data.split_seed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.schedule.warmup == "constant" and self.schedule.warmup_epochs and not self.schedule.warmup_from:
            raise ValueError("schedule.warmup = constant stays at schedule.warmup_from, which is 0: set it to the "
                             "share of the rate")
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

    def change(self, *pairs: Any) -> "Run":
        """The run with other values in some fields: `run.change("data.source", "digits", "optim.lr", 0.1)`.

        Names, dotted, and values take turns. A value is put in place of the whole field: a number, a word, a tuple,
        None, a mapping or a record, such as `run.change("optim", Optim(name="adam"))`. Raises ConvatlasError for a name
        without a value, a field that is not there, and a value that the field refuses.
        """
        names, values = pairs[::2], pairs[1::2]
        if len(names) > len(values):
            raise ConvatlasError(f"Run.change takes a field and its value by turns, and {names[-1]!r} has "
                                 "none after it")
        tree: Mapping[str, Any] = dict(self)
        for name, value in zip(names, values, strict=True):
            if not isinstance(name, str):
                raise ConvatlasError(f"Run.change takes a field's name such as 'optim.lr' where {name!r} stands")
            tree = _put(tree, name, value)
        return build(tree, "Run.change")


class Yaml(yaml.SafeLoader):
    """YAML whose truth values are true and false only, as in YAML 1.2: `off` is a word, and the name of a setting."""


Yaml.yaml_implicit_resolvers = {
    sign: [(tag, what) for tag, what in resolvers if tag != "tag:yaml.org,2002:bool"]
    for sign, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
FAST = (type("Fast", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": Yaml.yaml_implicit_resolvers})
        if yaml.__with_libyaml__ else Yaml)
MALFORMED = (yaml.YAMLError, ValueError, RecursionError)       # ValueError: an impossible date, half a character
LONGEST, VALUES = 2**17, 2**16      # characters of a configuration, and values in it, each as often as it is repeated
SHORT = 2**14           # characters that PyYAML may read, which is slow
TOLD, CLIPPED = 20, 200         # problems in one sentence, and characters of a value in it


def read_yaml(text: str) -> Any:
    """YAML as plain values, eight times faster by libyaml; a short text that it refuses, PyYAML reads again for an
    error that quotes the line.

    Raises one of `MALFORMED`, also where anchors unfold to more than `VALUES`, or a number is no number any more.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST:,} characters")
    try:
        return _loaded(FAST(text))
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        if len(text) > SHORT or "nesting depth" in str(error):
            raise
    return _loaded(Yaml(text))


def _loaded(loader: Any) -> Any:
    try:
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(bounded.tree(node, VALUES, _inside))
    finally:
        loader.dispose()


def _inside(node: yaml.Node) -> Iterable[yaml.Node]:
    """The nodes in a node; ValueError for a number that computers do not know."""
    if isinstance(node, yaml.MappingNode):
        return chain.from_iterable(node.value)
    if isinstance(node, yaml.SequenceNode):
        return cast(list[yaml.Node], node.value)
    word, kind = node.value.lower(), node.tag.rpartition(":")[2]
    if kind == "int" and len(word) > bounded.DIGITS:
        raise ValueError(f"the number {word[:bounded.DIGITS]}… has {len(word)} digits")
    if kind == "float" and not {*"n:"} & {*word} and math.isinf(float(word)):       # .inf and .nan are meant
        raise ValueError(f"the number {word[:bounded.DIGITS]} is too large")
    return ()


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping, or a ConvatlasError that names the file and the line."""
    try:
        tree = read_yaml(text)
    except MALFORMED as error:
        raise ConvatlasError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConvatlasError(f"{where} must be a YAML mapping such as 'train: {{epochs: 5}}', not "
                             f"{type(tree).__name__}")
    check_format(tree.pop("format", None), FORMAT, where)
    return tree


def build(tree: Mapping[str, Any], where: str = "the configuration") -> Run:
    """A Run of nested plain values; each problem names the field, the value and, for an unknown field, the nearest one.
    """
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        problems, more = error.errors()[:TOLD], error.error_count() - TOLD
        raise ConvatlasError(f"{where}: " + "; ".join(map(_problem, problems))
                             + (f"; and {more} more" if more > 0 else "")) from error


def _problem(problem: Mapping[str, Any]) -> str:
    path = [str(part) for part in problem["loc"]]
    field = ".".join(path)
    if problem["type"] != "extra_forbidden":
        return (f"{field or 'run'} = {_clipped(problem['input'])} is refused: "
                f"{problem['msg'].removeprefix('Value error, ')}")
    record: type[BaseModel] = Run
    for part in path[:-1]:
        if part.isdecimal():
            continue
        found = record.model_fields[part].annotation
        record = Group if part == "groups" else cast(type[BaseModel], found)
    return f"there is no field {field!r}" + (nearest(path[-1], record.model_fields)
                                             or f"; there are {', '.join(record.model_fields)}")


def _clipped(value: object) -> str:
    text = repr(value)
    return text if len(text) <= CLIPPED else f"{text[:CLIPPED]}…"


def _put(tree: BaseModel | Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The fields of `tree`, with `value` at a dotted path; what stands in its way and has no fields of its own goes."""
    fields = dict(tree)
    key, _, rest = path.partition(".")
    here = fields.get(key)
    return {**fields, key: _put(here if isinstance(here, BaseModel | Mapping) else {}, rest, value) if rest else value}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `over` put in their place; mappings merge, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        here = merged.get(key)
        merged[key] = merge(here, value) if isinstance(here, Mapping) and isinstance(value, Mapping) else value
    return merged


def assignment(text: str) -> dict[str, Any]:
    """`optim.lr=0.05` as `{"optim": {"lr": 0.05}}`; the value is read as YAML (and `1e-3` as the number it is, numbers
    with commas between them as a list).
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise ConvatlasError(f"--set takes FIELD=VALUE, for example optim.lr=0.05, not {text!r}")
    try:
        leaf = read_yaml(value)
    except MALFORMED as error:
        raise ConvatlasError(f"--set {text!r}: the value is not valid YAML") from error
    if isinstance(leaf, str):
        numbers = [part.strip() for part in leaf.split(",")]
        with suppress(ValueError):      # YAML 1.1 reads 1e-3 as text, and 0.5,0.5,0.5 is one to it
            leaf = float(leaf) if len(numbers) == 1 else [float(part) for part in numbers]
    return _put({}, path.strip(), leaf)


def written(value: Any) -> str:
    """The value as YAML on one line, which `assignment` and configuration files read back."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=inf)
    return text.removesuffix("...\n").strip()


def resolve(recipe: Run, *, config: Path | None = None, flags: Mapping[str, Any] | None = None,
            sets: Sequence[str] = ()) -> Run:
    """The run a command asks for: recipe < config file < flags < `--set`."""
    tree: dict[str, Any] = recipe.model_dump()
    if config is not None:
        try:
            text = bounded.text(config)
        except (OSError, ValueError) as error:
            raise ConvatlasError(f"cannot read the configuration file {str(config)!r}: {error}") from error
        over = parse_yaml(text, str(config))
        build(merge(tree, over), str(config))       # so that a problem names the file
        tree = merge(tree, over)
    tree = merge(tree, flags or {})
    for text in sets:
        tree = merge(tree, assignment(text))
    return build(tree, f"--set {' '.join(sets)}" if sets else "the configuration")


def said(config: Path | None, flags: Mapping[str, Any], sets: Sequence[str]) -> frozenset[str]:
    """The fields, dotted, that `resolve` puts over the recipe, from what it has already read."""
    tree: dict[str, Any] = {} if config is None else parse_yaml(config.read_text(encoding="utf-8"), str(config))
    for over in (flags, *map(assignment, sets)):
        tree = merge(tree, over)
    return frozenset(_leaves(tree))


def _leaves(tree: Mapping[str, Any]) -> Iterator[str]:
    for name, value in tree.items():
        yield from (f"{name}.{rest}" for rest in _leaves(value)) if isinstance(value, Mapping) else (name,)


def dotted(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`[("optim.lr", 0.05), ("train.epochs", None)]` as a nested mapping, leaving out what is None."""
    tree: dict[str, Any] = {}
    for path, value in pairs:
        if value is not None:
            tree = _put(tree, path, value)
    return tree
