"""ConvNeXt (Liu et al. 2022), section 2 and Figure 2: a ResNet made modern, step by step.

With the same modern training the paper walks ResNet-50 (78.8 % on ImageNet) to ConvNeXt-T (82.0): blocks distributed
3:3:9:3 and patches in the place of the stem's convolution and pooling (79.5), depthwise convolutions in wider stages
(80.5), bottlenecks inverted (80.6), kernels of 7×7 (80.6), then GELU, fewer activations and norms, LayerNorm in the
place of BatchNorm (81.5), and downsampling apart (82.0). Each step is kept at about the same number of multiply-adds.

Scaled down to those sections (seven networks of the thirteen), of 12 channels at the beginning, 18 where the paper
widens 64 to 96, blocks 1:1:2:1 and then 1:1:3:1, a stem for small images that halves them (3×3 and max-pool, or patches
of 2×2), on 2 000 training and 2 000 test images of Fashion-MNIST (28×28, grey). The same training for all, as in the
paper: 12 epochs, batches of 50, AdamW, rate 0.002 along a cosine after one epoch of warm-up, decay 0.05, shifts of up
to two pixels and mirror images; no stochastic depth. Five seeds; the error is that after the last epoch.

Holds: the last network errs less than the first; so do three of the steps that the lecture names, each than the network
before it: 7×7 kernels, the block of GELU, LayerNorm and fewer of both, and patches with the stages' new lengths. The
paper's steps are worth 0 to 1 point each after 300 epochs over a million images: here only the sum can be expected to
tell. Standard: the same networks on 10 000 images of CIFAR-10. Full: all thirteen at full size as ConvNeXt's recipe has
it, on ImageNet (`--data FOLDER`).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..arch.convnext_roadmap import ROADMAP, step
from ..draw.plots import COLORS
from ..recipes import recipe
from ..run import Augment, Data, Model, Optim, Preprocess, Run, Schedule, Train
from .machinery.pictures import axes_of, figure, titled
from .machinery.plan import BySeed, Claim, Experiment, Images, Protocol, Results
from .machinery.trial import Arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESNET, MACRO, RESNEXT, INVERTED, SEVEN, MICRO, CONVNEXT = STEPS = (
    "ResNet", "stages and patches", "depthwise, wider", "inverted, depthwise first", "7×7 kernels",
    "GELU, LayerNorm, fewer of both", "ConvNeXt: downsampling apart")
UP_TO = dict(zip(STEPS, ("ResNet-50", "patchify stem", "width", "depthwise convolution first", "7×7 kernels",
                         "LayerNorm", "separate downsampling"), strict=True))        # the last one of ROADMAP in it


def modernize() -> Experiment:
    names = {last: name for name, last in UP_TO.items()}
    quick = Protocol(
        arms=tuple(Arm(name, {"model.fields": narrow(last)}) for name, last in UP_TO.items()),
        minutes=16,
        base=Run(
            model=Model(name="convnext_roadmap", fields={"stem": "cifar", "drop_path_rate": 0.0, "in_chans": 1,
                                                         "image_size": 28}),
            data=Data(batch_size=50),
            preprocess=Preprocess(mean=(0.5,), std=(0.5,), crop_pct=1.0),
            augment=Augment(crop="random", padding=2, flip=0.5),
            optim=Optim(name="adamw", lr=2e-3, weight_decay=0.05, decay_bias=False),
            schedule=Schedule(name="cosine", warmup_epochs=1),
            train=Train(epochs=12),
        ),
        images=Images("fashion-small", train=2000),
    )
    assert quick.base is not None
    return Experiment(
        title="Is a ResNet better when it is built as ConvNeXt?",
        paper="Liu et al. 2022 (ConvNeXt), Figure 2",
        claims=(
            Claim("at the end of the road the network errs less than at its beginning",
                  lambda seed: _less(seed, RESNET, CONVNEXT), "points of test error"),
            Claim("stages of new lengths and patches lower the error", lambda seed: _less(seed, RESNET, MACRO),
                  "points of test error"),
            Claim("kernels of 7×7 lower the error", lambda seed: _less(seed, INVERTED, SEVEN), "points of test error"),
            Claim("GELU, LayerNorm and fewer of both lower the error", lambda seed: _less(seed, SEVEN, MICRO),
                  "points of test error"),
        ),
        picture=road,
        quick=quick,
        standard=replace(quick, images=Images("cifar10", train=10_000), minutes=110,
                         base=quick.base.change("model.fields.in_chans", 3, "model.fields.image_size", 32)),
        full=Protocol(
            arms=tuple(Arm(names.get(last, f"within it: {last}"), {"model.fields": dict(step(last))})
                       for last in ROADMAP),
            minutes=13 * 5 * 10_000, base=recipe("convnext").change("model.name", "convnext_roadmap"),
            images=Images("imagenet"),
        ),
    )


def narrow(last: str) -> dict[str, object]:
    """The fields of the network after that step, with a fifth of the channels and a third of the blocks."""
    fields = step(last)
    short = {"blocks": [1, 1, 3, 1] if "blocks" in fields else [1, 1, 2, 1], "width": 18 if "width" in fields else 12}
    return fields | short


def _less(seed: BySeed, before: str, after: str) -> float:
    return seed[before]["test_error"] - seed[after]["test_error"]


def road(results: Results) -> "Figure":
    """The paper's Figure 2: a bar per step, from the first network to the last, and a dot per seed."""
    shown = results.arms
    left, row = 210, 30
    with figure(left + 400, 104 + row * len(shown)) as drawn:
        axes = axes_of(drawn, left, 50, 320, row * len(shown))
        places = list(range(len(shown)))[::-1]
        accuracy = [[100 - error for error in results.of(arm, "test_error")] for arm in shown]
        means = [sum(each) / len(each) for each in accuracy]
        least = min(min(each) for each in accuracy)
        axes.barh(places, [mean - least + 1 for mean in means], left=least - 1, height=0.55, color=COLORS["accent"],
                  alpha=0.3)
        for place, each, mean in zip(places, accuracy, means, strict=True):
            axes.plot(each, [place] * len(each), "o", color=COLORS["accent"], alpha=0.5, markersize=5,
                      markeredgewidth=0)
            axes.annotate(f"{mean:.3g}", (1.02, place), xycoords=("axes fraction", "data"), fontsize=10.5, va="center",
                          color=COLORS["ink"])
        axes.set_yticks(places, shown, color=COLORS["ink"])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        titled(axes, "From ResNet to ConvNeXt", "test accuracy, % (bars do not begin at 0)")
        return drawn
