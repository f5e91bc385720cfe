"""Lin et al. 2013; Szegedy et al. 2015: a 1×1 convolution is a fully connected layer that all pixels share.

The lecture reduces the formula of a convolution to kernels of 1×1: each output map is a weighted sum of the input maps
at the same pixel, as if a fully connected layer read the channels of every pixel, with the same weights for all.

Nothing is trained. Of five 1×1 layers of published networks (Network in Network, GoogLeNet, ResNet-50, All-CNN-C,
MobileNet) the weights, biases and maps are drawn anew with each of five seeds; then the convolution answers, and so
does `nn.Linear` with the same numbers, pixel by pixel. Sums of floating-point numbers depend on their order, which the
two are free to choose. So the identity is tested twice: with whole numbers so small that every sum is exact in 32 bits
(weights from −8 to 8, maps from −15 to 15: no sum exceeds 2²⁴), where outputs and the gradients of weights and biases
must be equal to the last bit; and with normal numbers, where outputs may differ by rounding, 10⁻⁵ of the largest output
at most. Besides, the pixels are shuffled: the outputs must be the same, shuffled, to the bit, for no pixel looks at its
neighbours and no place has weights of its own.
"""

from typing import TYPE_CHECKING

from ..draw.plots import COLORS
from .machinery.pictures import axes_of, figure, titled
from .machinery.plan import Claim, Experiment, Protocol, Results
from .machinery.trial import Arm, Figures, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

LAYERS = {      # maps read, maps made, side of the maps
    "Network in Network, cccp1": (192, 160, 32),
    "GoogLeNet, 3×3 reduce of 3a": (192, 96, 28),
    "ResNet-50, last of conv2": (64, 256, 56),
    "All-CNN-C, conv8": (192, 192, 8),
    "MobileNet, a pointwise layer": (512, 512, 14),
}
PICTURES = 2        # maps per batch


def one_by_one() -> Experiment:
    return Experiment(
        title="Is a 1×1 convolution a fully connected layer that all pixels share?",
        paper="Lin et al. 2013, section 3; Szegedy et al. 2015, section 4",
        claims=(
            Claim("With whole numbers the outputs are equal to the last bit",
                  lambda seed: -sum(each["different_outputs"] for each in seed.values()),
                  "outputs that differ, negated", by_chance=False),
            Claim("So are the gradients of weights and biases",
                  lambda seed: -sum(each["different_gradients"] for each in seed.values()),
                  "gradients that differ, negated", by_chance=False),
            Claim("Shuffled pixels give the same outputs, shuffled, to the last bit",
                  lambda seed: -sum(each["different_shuffled"] for each in seed.values()),
                  "outputs that differ, negated", by_chance=False),
            Claim("With any other numbers only rounding differs",
                  lambda seed: -max(each["rounding"] for each in seed.values()), "of the largest output, negated",
                  above=-1e-5, by_chance=False),
        ),
        measure=_measure,
        picture=_picture,
        quick=Protocol(arms=tuple(Arm(name, {}) for name in LAYERS), minutes=1),
    )


def _measure(trial: Trial) -> Figures:
    import torch  # a plan needs no torch
    from torch import nn  # a plan needs no torch

    cin, cout, side = LAYERS[trial.arm.name]
    random = torch.Generator().manual_seed(trial.seed)
    conv, shared = nn.Conv2d(cin, cout, 1), nn.Linear(cin, cout)

    def draw(*shape: int, most: int) -> "Tensor":
        """Whole numbers from −most to most; normal ones for 0."""
        if most:
            return torch.randint(-most, most + 1, shape, generator=random).float()
        return torch.randn(shape, generator=random)

    def answers(most: int) -> tuple["Tensor", "Tensor", "Tensor"]:
        """The maps, and what each of the two layers makes of them, with the same new weights in both."""
        weight, bias = draw(cout, cin, most=most and 8), draw(cout, most=most and 8)
        maps = draw(PICTURES, cin, side, side, most=most)
        with torch.no_grad():
            conv.weight.copy_(weight[:, :, None, None])
            shared.weight.copy_(weight)
            for layer in (conv, shared):
                assert layer.bias is not None
                layer.bias.copy_(bias)
        pixels = maps.permute(0, 2, 3, 1).reshape(-1, cin)      # one row of channels per pixel
        return maps, conv(maps), shared(pixels).reshape(PICTURES, side, side, cout).permute(0, 3, 1, 2)

    maps, by_conv, by_shared = answers(15)
    pull = draw(*by_conv.shape, most=1)
    of_conv = torch.autograd.grad((by_conv * pull).sum(), list(conv.parameters()))
    of_shared = torch.autograd.grad((by_shared * pull).sum(), list(shared.parameters()))
    order = torch.randperm(side * side, generator=random)

    def shuffled(maps: "Tensor") -> "Tensor":
        return maps.flatten(2)[:, :, order].reshape(maps.shape)

    figures = {
        "different_outputs": float((by_conv != by_shared).sum()),
        "different_gradients": float(sum((a.reshape(b.shape) != b).sum() for a, b in zip(of_conv, of_shared,
                                                                                          strict=True))),
        "different_shuffled": float((conv(shuffled(maps)) != shuffled(by_conv)).sum()),
    }
    with torch.no_grad():
        _, by_conv, by_shared = answers(0)
    rounding = (by_conv - by_shared).abs().max() / by_shared.abs().max()
    weights = cin * cout + cout
    return figures | {"outputs": float(by_conv.numel()), "rounding": float(rounding), "weights": weights,
                      "weights_unshared": weights * side**2}


def _picture(results: Results) -> "Figure":
    """Rounding of each layer with each seed, and its weights beside those of one layer per pixel."""
    left, wide, high = 210, 240, 30 * len(results.arms)
    with figure(left + 2 * wide + 90, 120 + high) as drawn:
        rounding, weights = (axes_of(drawn, left + i * (wide + 60), 56, wide, high) for i in (0, 1))
        places, most = range(len(results.arms) - 1, -1, -1), 1.0
        for y, arm in zip(places, results.arms, strict=True):
            values = [1e6 * each for each in results.of(arm, "rounding")]
            most = max(most, *values)
            rounding.plot(values, [y] * len(values), "o", color=COLORS["accent"], alpha=0.5, markersize=6,
                          markeredgewidth=0)
            shared, each = results.of(arm, "weights")[0], results.of(arm, "weights_unshared")[0]
            weights.plot([shared, each], [y, y], color=COLORS["line"], linewidth=1.5)
            weights.plot([shared], [y], "o", color=COLORS["accent"], markersize=6)
            weights.plot([each], [y], "o", color=COLORS["train"], markersize=6)
        for axes in (rounding, weights):
            axes.set_ylim(-0.6, len(results.arms) - 0.4)
            axes.set_yticks(list(places), results.arms if axes is rounding else [""] * len(results.arms),
                            color=COLORS["ink"])
        rounding.set_xlim(-0.05 * most, 1.1 * most)
        weights.set_xscale("log")
        titled(rounding, "Rounding", "largest difference, millionths of the largest output")
        titled(weights, "Weights: shared, or one layer per pixel", "weights and biases")
        return drawn
