"""Odena, Dumoulin & Olah 2016, Deconvolution and checkerboard artifacts (Distill): how a map is doubled shows.

A transposed convolution whose stride does not divide its kernel puts more weights on some pixels than on others, which
shows as a checkerboard; where it does divide it, weights can still be uneven, and generators show artifacts before any
training; to resize and then to convolve avoids them. U-Net doubles its maps by 2×2 with stride 2, FCN by 4×4 with
stride 2 that begins as bilinear interpolation.

Nothing is trained: each way to double a map of 64 channels is made with normal weights (five seeds; FCN's is what it
is), and given a flat map and maps of normal noise, 24×24. `reached`: the most weights that a pixel inside is reached
by, over the fewest, a count. `uneven`: the deviation of the answers to noise at the place of four in a 2×2 block where
it is largest, over that where it is smallest, channels together. `ripple`: of the answers to the flat map, the
deviation within a 2×2 block over the root mean square, in per cent. All of them away from the border. With nothing to
train or to choose, seeds 0 and 1 had been seen when this was committed.

Holds: weights reach pixels unevenly through 3×3 with stride 2 and evenly through 2×2 and 4×4; the answers to noise are
more uneven through 3×3 than through 4×4; a flat map stays flat where it is resized first, and through no transposed
convolution with random weights; it stays flat through FCN's. What training makes of it is not shown here.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..draw.plots import COLORS
from ..parts import bilinear_up
from .machinery.pictures import figure
from .machinery.plan import Claim, Experiment, Protocol, Results
from .machinery.trial import Arm, Figures, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS, SIDE, INSIDE = 64, 24, 8      # INSIDE: pixels of the result that are left out at its border
THREE, FOUR, TWO = "transposed 3×3, stride 2", "transposed 4×4, stride 2", "transposed 2×2, stride 2 (U-Net)"
FCN, NEAREST, BILINEAR = "transposed 4×4, bilinear weights (FCN)", "nearest pixel, then 3×3", "bilinear, then 3×3"


def transposed(kernel: int) -> Callable[[], nn.Module]:
    return lambda: normal_(nn.ConvTranspose2d(CHANNELS, CHANNELS, kernel, 2, bias=False))


def resized(mode: str) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode=mode),
                                 normal_(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)))


def normal_(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    nn.init.normal_(layer.weight, std=(CHANNELS * layer.weight[0, 0].numel()) ** -0.5)
    return layer


WAYS: Mapping[str, Callable[[], nn.Module]] = {
    THREE: transposed(3), FOUR: transposed(4), TWO: transposed(2),
    FCN: lambda: bilinear_up(CHANNELS, 4, 2, learned=False), NEAREST: resized("nearest"), BILINEAR: resized("bilinear"),
}


def checkerboard() -> Experiment:
    return Experiment(
        title="Which ways to double a map leave a checkerboard?",
        paper="Odena, Dumoulin & Olah 2016 (Distill)",
        claims=(
            Claim("weights reach pixels unevenly through 3×3 with stride 2, evenly through 2×2 and 4×4",
                  lambda seed: seed[THREE]["reached"] - max(seed[TWO]["reached"], seed[FOUR]["reached"]),
                  "more times as many weights", above=1, by_chance=False),
            Claim("the answer to noise is more uneven through 3×3 with stride 2 than through 4×4",
                  lambda seed: seed[THREE]["uneven"] - seed[FOUR]["uneven"], "of the ratio of deviations"),
            Claim("a flat map stays flat where it is resized and then convolved, and through no transposed convolution "
                  "with random weights",
                  lambda seed: (min(seed[way]["ripple"] for way in (TWO, THREE, FOUR))
                                - max(seed[way]["ripple"] for way in (NEAREST, BILINEAR))),
                  "points of ripple", above=1),
            Claim("it stays flat through FCN's bilinear weights", lambda seed: -seed[FCN]["ripple"],
                  "% of ripple", above=-1e-3, by_chance=False),
        ),
        measure=measured,
        picture=flat_maps,
        quick=Protocol(arms=tuple(Arm(name, {}) for name in WAYS), minutes=1),
    )


def measured(trial: Trial) -> Figures:
    """`reached`, `uneven` and `ripple`."""
    layer = made(trial.arm.name, trial.seed)
    with torch.inference_mode():
        flat = blocks(layer(torch.ones(1, CHANNELS, SIDE, SIDE)))
        noise = blocks(layer(torch.randn(8, CHANNELS, SIDE, SIDE)))
    reached = layer
    for module in layer.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.ones_(module.weight)
    with torch.inference_mode():
        counts = blocks(reached(torch.ones(1, CHANNELS, SIDE, SIDE))).mean((0, 1))
    deviations = noise.square().mean((0, 1)).sqrt()
    ripple = flat.var(2, correction=0).mean().sqrt() / flat.square().mean().sqrt()
    return {"reached": float(counts.max() / counts.min()), "uneven": float(deviations.max() / deviations.min()),
            "ripple": float(100 * ripple)}


def made(name: str, seed: int) -> nn.Module:
    """The layer, its weights from that seed."""
    torch.manual_seed(seed)
    return WAYS[name]()


def blocks(y: Tensor) -> Tensor:
    """The 2×2 blocks inside (N, C, H, W) as float64 (blocks, C, 4)."""
    y = y.double()[:, :, INSIDE : 2 * SIDE - INSIDE, INSIDE : 2 * SIDE - INSIDE]
    parts = y.unfold(2, 2, 2).unfold(3, 2, 2)
    return parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, CHANNELS, 4)


def flat_maps(results: Results) -> "Figure":
    """A flat map, as each way doubles it: a channel of seed 0, 12×12 pixels of it, and the ripple over the seeds."""
    wide, side = 6, 128
    with figure(wide * (side + 24) + 24, side + 110) as drawn:
        width, height = wide * (side + 24) + 24, side + 110
        for i, name in enumerate(results.arms):
            with torch.inference_mode():
                y = made(name, 0)(torch.ones(1, CHANNELS, SIDE, SIDE))[0, 0, INSIDE : INSIDE + 12, INSIDE : INSIDE + 12]
            at = 24 + i * (side + 24)
            axes = drawn.add_axes((at / width, 60 / height, side / width, side / height))
            middle = float(y.mean())
            axes.imshow(y.numpy(), cmap="gray", vmin=middle - 1, vmax=middle + 1)
            axes.set_xticks([])
            axes.set_yticks([])
            ripple = results.of(name, "ripple")
            first, _, rest = name.partition(", ")
            for line, text in enumerate((first, rest, f"ripple {sum(ripple) / len(ripple):.3g} %")):
                drawn.text(at / width, (42 - 15 * line) / height, text, fontsize=9,
                           color=COLORS["soft" if line < 2 else "ink"])
        drawn.text(24 / width, (height - 24) / height, "A flat map, doubled", fontsize=12, color=COLORS["ink"])
        return drawn
