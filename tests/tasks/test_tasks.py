"""What a task takes and refuses."""

import pytest

from convatlas import ConvatlasError, recipe, zoo
from convatlas.net.registry import VARIANTS
from convatlas.run import Run, merge, resolve
from convatlas.tasks import CLASSES, PIXELS, Asked, task_of

OTHER = {       # a value that is not the default, of every setting that one of the tasks refuses
    "data.data_dir": ".", "data.download": True, "data.sampling": "balanced", "data.cache": "off",
    "data.cache_dir": ".", "data.masks": "binary", "preprocess.fit": "gcn", "preprocess.crop_pct": 0.5,
    "preprocess.interpolation": "bicubic", "augment.crop": "resized", "augment.padding": 4,
    "augment.short_side": (8, 16), "augment.scale": (0.5, 1.0),
    "augment.ratio": (1.0, 1.0),
    "augment.turns": True, "augment.pca_colour": 0.1, "augment.pca_from": "data", "augment.policy": "trivial",
    "augment.policy_ops": 3, "augment.policy_magnitude": 3, "augment.policy_std": 0.1,
    "augment.policy_prob": 0.1, "augment.erase_fill": "noise", "augment.erase": 0.1, "augment.mixup": 0.2,
    "augment.cutmix": 1.0, "augment.mix_prob": 0.5, "loss.add": ("dice",), "loss.gamma": 1.0, "loss.alpha": 0.5,
    "loss.border": 1.0, "loss.border_sigma": 2.0, "loss.pixels": "sum", "loss.ignore_index": 0, "loss.rubbish": 1.0,
    "loss.aux_weight": 0.1,
}
ALLOWED = {     # refused of one value only: what else is done anyway, and what is refused
    (PIXELS, "data.decode"): ("full", None), (PIXELS, "augment.padding_mode"): ("reflect", None),
    (CLASSES, "loss.name"): ("bce", "dice"), (PIXELS, "loss.name"): ("focal", "mse"),
}
CASES = [(task, field) for task in (CLASSES, PIXELS) for field in task.settings]


def run(task, field, value):
    tree = value
    for name in reversed(field.split(".")):
        tree = {name: tree}
    model = {"model": {"name": "unet" if task is PIXELS else "lenet5"}}
    return Run.model_validate(merge(model, tree))


@pytest.mark.parametrize(("task", "field"), CASES, ids=lambda each: each if isinstance(each, str) else each.does)
def test_a_setting_without_meaning_is_refused_by_name(task, field):
    good, bad = ALLOWED.get((task, field), (None, OTHER.get(field)))
    if good is not None:
        task.check(run(task, field, good))
    if bad is not None:
        with pytest.raises(ConvatlasError, match=f"{field} = .* is refused, for (unet segments|lenet5 classifies)"):
            task.check(run(task, field, bad))
        other = CLASSES if task is PIXELS else PIXELS
        if field not in other.settings:
            other.check(run(other, field, bad))


def test_every_network_takes_its_own_recipe():
    for name in VARIANTS:
        task = task_of(name)
        task.check(zoo.recipe_for(name))
        assert task is (PIXELS if name.startswith(("unet", "fcn")) else CLASSES)


def test_preprocessing_may_come_with_the_weights():
    """What a classifier's weights say of crops has no meaning for pixels, and is there all the same; they may be
    downloaded.
    """
    begun = ["model.weights=some.safetensors", "preprocess.crop_pct=0.95", "preprocess.interpolation=bicubic",
             "data.download=true"]
    PIXELS.check(resolve(recipe("unet"), sets=begun))
    for field in ("preprocess.crop_pct", "preprocess.interpolation", "data.download"):
        with pytest.raises(ConvatlasError, match=f"{field} = .* is refused"):
            PIXELS.check(resolve(recipe("unet"), sets=[word for word in begun[1:] if word.startswith(field)]))


def test_words_of_an_evaluation_are_checked():
    for options, sentence in (({"split": "vall"}, "split 'vall' is refused.*'val'"),
                              ({"objects": "blobs"}, "objects 'blobs'"), ({"masks": "class"}, "masks 'class'")):
        with pytest.raises(ConvatlasError, match=sentence):
            Asked("digits", **options)
    assert (Asked("digits").changed == set()
            and Asked("digits", workers=2, objects="components").changed == {"workers", "objects"})
