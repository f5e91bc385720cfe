"""U-Net (Ronneberger, Fischer & Brox 2015), Figure 2: the overlap-tile strategy.

The paper's network has no padding: it scores only pixels whose whole surroundings it sees. Large images are cut into
tiles whose inputs overlap, and whose scores lie side by side without a seam; what is missing beyond the image's edge is
mirrored. The paper shows the strategy as a picture and measures nothing of it.

Scaled down to a U-Net without padding of 8, 16 and 32 channels, which scores 100×100 pixels of 140×140, on the 64
images of nuclei that come along: 40 epochs, batches of eight, AdamW, rate 0.004 along a cosine; beyond the image
training mirrors, as the paper's does. Five seeds. Each of the 16 test images (160×160) is scored four times: at once,
20 mirrored pixels around it; in 16 tiles of 40×40 that each see 20 pixels of their neighbours; in the same tiles that
see nothing of their neighbours but their own pixels mirrored; and at once with black around the image.

Holds: tiles that see their neighbours give the scores of the whole image, to within 10⁻⁵ of the largest; tiles that do
not, change more labels within four pixels of a seam than farther than ten from it, and lower the intersection over
union; within 20 pixels of the image's edge it is larger with mirrored pixels around than with black ones. A network
that was trained with black around might do as well with it: that is not tried.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..draw.plots import COLORS
from ..run import Model
from .machinery.nuclei import SIDE, iou, learning, test_images
from .machinery.pictures import axes_of, figure, titled
from .machinery.plan import Claim, Experiment, Protocol, Results
from .machinery.trial import Arm, Figures, Trial, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NET, TILE, BORDER = "U-Net without padding", 40, 20     # pixels of a tile's scores, and around them
BLACK = -1.0                                            # as the network sees it
NEAR, FAR = 4, 10                                       # pixels from a seam
BINS = TILE // 4                                        # of two pixels each, from a seam to a tile's middle


def overlap_tile() -> Experiment:
    return Experiment(
        title="Does a tile need to see its neighbours?",
        paper="Ronneberger, Fischer & Brox 2015, Figure 2",
        claims=(
            Claim("tiles that see their neighbours give the scores of the whole image",
                  lambda seed: -seed[NET]["difference"], "of the largest score", above=-1e-5, by_chance=False),
            Claim("tiles that do not change more labels at seams than elsewhere",
                  lambda seed: seed[NET]["changed_near"] - seed[NET]["changed_far"], "points of changed labels"),
            Claim("and segment worse", lambda seed: seed[NET]["iou"] - seed[NET]["iou_alone"],
                  "points of intersection over union"),
            Claim("at the image's edge mirrored pixels serve better than black ones",
                  lambda seed: seed[NET]["edge_mirrored"] - seed[NET]["edge_black"],
                  "points of intersection over union within 20 pixels of the edge"),
        ),
        measure=tiled,
        picture=by_seam,
        quick=Protocol(
            arms=(Arm(NET, {}),),
            minutes=6,
            base=learning(Model(name="unet", fields={"widths": [8, 16, 32], "image_size": 140, "in_chans": 3,
                                                     "norm": "batch", "drop_rate": 0.0}), epochs=40),
        ),
    )


def tiled(trial: Trial) -> Figures:
    """Figures of the four ways to score the test images, and `changed_0` to `changed_18`: labels in per cent that tiles
    without neighbours change, by their distance in pixels from a seam.
    """
    network = trial.network().eval()
    seam = torch.arange(SIDE) % TILE
    apart = torch.minimum(seam, TILE - 1 - seam)
    apart[:TILE // 2] = apart[-TILE // 2:] = TILE // 2      # the image's own edge is no seam
    distance = torch.minimum(apart[:, None], apart[None, :])
    inner = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inner[BORDER:-BORDER, BORDER:-BORDER] = True
    difference, changed = 0.0, []
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in ("iou", "iou_alone", "edge_mirrored",
                                                                           "edge_black")}
    with torch.inference_mode():
        for pixels, truth in test_images(trial):
            around = F.pad(pixels[None], [BORDER] * 4, mode="reflect")
            whole = network(around)[0]
            neighbours = joined(network(tiles(around, TILE + 2 * BORDER)))
            alone = joined(network(F.pad(tiles(pixels[None], TILE), [BORDER] * 4, mode="reflect")))
            black = network(F.pad(pixels[None], [BORDER] * 4, value=BLACK))[0]
            difference = max(difference, float((neighbours - whole).abs().max() / whole.abs().max()))
            changed.append(alone.argmax(0) != whole.argmax(0))
            pairs["iou"].append((whole.argmax(0), truth))
            pairs["iou_alone"].append((alone.argmax(0), truth))
            pairs["edge_mirrored"].append((whole.argmax(0)[~inner], truth[~inner]))
            pairs["edge_black"].append((black.argmax(0)[~inner], truth[~inner]))
    rate = 100 * torch.stack(changed).double().mean(0)
    return {
        **final(trial), "difference": difference, "changed_near": float(rate[distance < NEAR].mean()),
        "changed_far": float(rate[distance >= FAR].mean()), **{name: iou(each) for name, each in pairs.items()},
        **{f"changed_{2 * i}": float(rate[distance // 2 == i].mean()) for i in range(BINS)},
    }


def tiles(images: Tensor, side: int) -> Tensor:
    """(1, C, H, W) as squares (n, C, side, side), one for each `TILE` pixels, row by row."""
    return images[0].unfold(1, side, TILE).unfold(2, side, TILE).flatten(1, 2).transpose(0, 1)


def joined(scores: Tensor) -> Tensor:
    """(n, K, TILE, TILE) side by side: (K, SIDE, SIDE)."""
    count = SIDE // TILE
    grid = scores.reshape(count, count, -1, TILE, TILE)
    return grid.permute(2, 0, 3, 1, 4).reshape(-1, SIDE, SIDE)


def by_seam(results: Results) -> "Figure":
    """Labels that tiles without neighbours change, by the distance from a seam: a dot per seed, a line at the mean."""
    with figure() as drawn:
        axes = axes_of(drawn, 66, 56, 500, 220)
        at = [2 * i + 1 for i in range(BINS)]
        values = [results.of(NET, f"changed_{2 * i}") for i in range(BINS)]
        for x, each in zip(at, values, strict=True):
            axes.plot([x] * len(each), each, "o", color=COLORS["accent"], alpha=0.4, markersize=5, markeredgewidth=0)
        axes.plot(at, [sum(each) / len(each) for each in values], color=COLORS["accent"], linewidth=1.6)
        axes.axhline(0, color=COLORS["ink"], linewidth=1)
        axes.annotate("tiles that see their neighbours: none", (at[-1], 0), xytext=(0, 4), ha="right", fontsize=9.5,
                      textcoords="offset points", color=COLORS["ink"])
        titled(axes, "Tiles that see nothing of their neighbours", "pixels from a seam", "labels changed, %")
        return drawn
