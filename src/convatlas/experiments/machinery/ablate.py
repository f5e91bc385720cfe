"""Ablation of a user's own: a network with and without some of its parts, on data of one's own, in pairs of seeds."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ConvatlasError, nearest
from ...net import registry
from ...run import Augment, Run, assignment
from ...tasks import PIXELS, task_of
from ...tasks.fit import Choice
from ...trials import fitted, processes
from .conduct import Tell, conduct
from .page import leave
from .pictures import dots
from .plan import BySeed, Claim, Experiment, Protocol
from .reproduce import Reproduced
from .trial import Arm
from .verdict import LEAST

WHOLE = "as it is"
MINUTES = 0.0       # nobody set a budget

# what can be taken away → the fields of a specification that say it, and their values without it
PARTS: Mapping[str, Mapping[str, Any]] = {
    "dropout": {"drop_rate": 0.0, "input_drop_rate": 0.0, "aux_drop_rate": 0.0},
    "stochastic-depth": {"drop_path_rate": 0.0},
    "lrn": {"lrn": "none"},
    "excite": {"excite": None},
    "aux": {"aux": False},
    "layer-scale": {"layer_scale": 0.0},
    "batch-norm": {"batch_norm": False, "norm": "none"},
    "skips": {"skips": False},
}
# and the fields of a run
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "augmentation": {"augment": Augment()},
    "flip": {"augment.flip": 0.0},
    "crop": {"augment.crop": "centre", "augment.padding": 0},
    "policy": {"augment.policy": "none"},
    "erase": {"augment.erase": 0.0},
    "mixup": {"augment.mixup": 0.0},
    "cutmix": {"augment.cutmix": 0.0},
    "colour-offsets": {"augment.pca_colour": 0.0},
    "label-smoothing": {"loss.label_smoothing": 0.0},
    "weight-decay": {"optim.weight_decay": 0.0},
    "momentum": {"optim.momentum": 0.0},
    "warmup": {"schedule.warmup_epochs": 0.0},
    "schedule": {"schedule.name": "constant"},
    "ema": {"train.ema": None},
}


def arms(run: Run, taken: Sequence[str], changes: Sequence[str]) -> tuple[Arm, ...]:
    """The arms: the run as it is, one per part taken away, one per change; no two may be the same."""
    found = (Arm(WHOLE, {}), *(without(word, run) for word in taken), *(changed(text, run) for text in changes))
    if len(found) < 2:
        raise ConvatlasError("an ablation needs something to take away or to change: --without dropout, "
                             "--with act=tanh")
    names = [arm.name for arm in found]
    if len(set(names)) < len(names):
        raise ConvatlasError(f"an ablation names {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def without(word: str, run: Run) -> Arm:
    """The arm that lacks a part; a ConvatlasError where the run has none of it to take away."""
    known = (*PARTS, *SETTINGS)
    if word not in known:
        raise ConvatlasError(f"--without {word}: no such part{nearest(word, known)}; there are {', '.join(known)}")
    arm = _lacking(word, run)
    if arm is None:
        there = [each for each in known if _lacking(each, run)]
        raise ConvatlasError(f"--without {word}: {run.model.name} and its run have none of it" +
                             (f"; what they have is {', '.join(there)}" if there else ""))
    try:
        _fields(_applied(arm, run))
    except ConvatlasError as error:
        raise ConvatlasError(f"--without {word}: {run.model.name} cannot be without it ({error})") from error
    return arm


def _lacking(word: str, run: Run) -> Arm | None:
    """The arm without a part; None where that is the run as it is."""
    if word in SETTINGS:
        arm = Arm(f"without {word}", SETTINGS[word])
        return None if _applied(arm, run) == run else arm
    spec = _fields(run)
    fields = {field: False if isinstance(spec[field], bool) else value
              for field, value in PARTS[word].items() if field in spec}
    if all(spec[field] == value for field, value in fields.items()):
        return None
    return Arm(f"without {word}", {"model.fields": fields})


def changed(text: str, run: Run) -> Arm:
    """The arm of `act=tanh`, a field of the specification, or of `optim.lr=0.1`, one of the run."""
    name = text.partition("=")[0].strip()
    value: Any = assignment(text)
    for step in name.split("."):
        value = value[step]
    arm = Arm(f"with {text}", {"model.fields": {name: value}} if "." not in name else {name: value})
    if _applied(arm, run) == run or ("." not in name and _fields(run).get(name) == value):
        raise ConvatlasError(f"--with {text}: that is how it is")
    _fields(_applied(arm, run))     # raises where the specification lacks the field, or refuses the value
    return arm


def _fields(run: Run) -> Mapping[str, Any]:
    """The fields of the run's specification, all of them."""
    return registry.plain(registry.card(run.model.name, run.model.fields).spec)


def _applied(arm: Arm, run: Run) -> Run:
    return Protocol((arm,), MINUTES, run).run(arm, run.train.seed, run.data.source)


def ablate(run: Run, choice: Choice | None, taken: Sequence[str], changes: Sequence[str], out: Path, *, seeds: int = 5,
           workers: int | None = None, command: str = "", tell: Tell = lambda text: None) -> Reproduced:
    """Train a run as it is and with each part taken away or changed, each from the same seeds, and judge what each part
    does; leaves what `reproduce` leaves. The recipe is made to fit the data once, for all arms (`choice`).

    What is judged is the last epoch, on the data's test part, else on its validation part.
    """
    if seeds < LEAST:
        raise ConvatlasError(f"--seeds {seeds} is too few: without {LEAST} there is no interval")
    run = fitted(run, choice, tell)
    found = arms(run, taken, changes)
    figure, unit = ("test_iou", "points of intersection over union") if task_of(run.model.name) is PIXELS else (
        "test_error", "points of error")
    experiment = Experiment(
        title=f"{run.model.name} on {Path(run.data.source).name}: what does each part do?",
        paper="an ablation",
        claims=tuple(Claim(_sentence(arm), partial(_effect, arm.name, figure), unit) for arm in found[1:]),
        picture=partial(dots, name=figure, unit=figure.replace("_", " ").replace("iou", "IoU") + ", %"),
        quick=Protocol(found, MINUTES, run, seeds=seeds),
    )
    conducted = conduct(experiment, experiment.quick, out, seeds=seeds, tell=tell,
                        workers=processes() if workers is None else workers)
    said = (f"`{run.model.name}` as the recipe `{run.recipe}` trains it, {run.train.epochs} epochs, and each arm with "
            "one difference; figures are of the last epoch, which is fixed beforehand.")
    return Reproduced(out, leave(out, "ablation", said, experiment, experiment.quick, "quick", conducted, command))


def _sentence(arm: Arm) -> str:
    word, _, what = arm.name.partition(" ")
    return f"{what} makes it better" if word == "with" else f"it is better for its {what}"


def _effect(arm: str, figure: str, seed: BySeed) -> float:
    """The points by which the network is better as it is; of a change, by which it is better with it."""
    gain = seed[arm][figure] - seed[WHOLE][figure]
    gain = -gain if figure == "test_iou" else gain
    return -gain if arm.startswith("with ") else gain
