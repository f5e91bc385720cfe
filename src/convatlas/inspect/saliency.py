"""Saliency maps: three answers to why the network says this class, computed by captum."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..draw.canvas import LETTER, MARGIN, below, canvas, least_width, show, write
from ..draw.markup import clipped
from ..engine.losses import probabilities
from ..errors import ConvatlasError, installing, nearest
from ..net.model import Convnet
from ..net.segmenter import Segmenter
from ..run import Loss
from .activations import activations
from .places import in_eval_mode
from .places import layer as layer_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS, AT_ONCE = 64, 16         # of the integral, and images computed together; where pixels are scored, one
CELL, GAP, UNDER = 184, 12, 44  # units: a picture, between two, the words below


@dataclass(frozen=True)
class Saliency:
    """Maps (H, W) over the image that say what speaks for `target`, on the scale of its score."""

    target: str
    probability: float      # the network's, of that class
    predicted: str          # the likeliest class
    certainty: float        # the probability of that one
    gradient: Tensor        # |∂score/∂pixel|, the largest over the channels (Simonyan et al. 2014)
    # integrated gradients from the zero input, summed over the channels (Sundararajan et al. 2017)
    integrated: Tensor
    # the last maps weighted by their mean gradients, positive part (Selvaraju et al. 2017), bilinear
    grad_cam: Tensor
    layer: str              # that Grad-CAM read
    pixels: int | None = None       # that a network which scores pixels takes for `target`: the score is their mean


def saliency(model: Convnet, image: Tensor, target: str | int | None = None, layer: str | None = None) -> Saliency:
    """Saliency of one image (C, H, W), prepared as `transforms(model)` does, for class `target` (default: the predicted
    one).

    Of a network that scores pixels the score is the mean over those that it takes for the class, by default the most
    frequent one but the first, the background. The zero input, from which gradients are integrated, is the mean picture
    for most networks. Grad-CAM reads `layer`, by default the last stage with more than one pixel. Raises ConvatlasError
    where captum is absent, for a class or a layer that does not exist, and for a layer without maps.
    """
    attr = _captum()
    names = model.card.classes or tuple(str(i) for i in range(model.num_classes))
    layer = _with_maps(model, image, layer)
    with in_eval_mode(model) as device:
        x = image[None].to(device)
        with torch.no_grad():
            shares = probabilities(model(x).float(), model.card.loss or Loss())[0].cpu()
        wanted = None if target is None else _index(target, names)
        scorer: nn.Module = model
        pixels = None
        if isinstance(model, Segmenter):
            index = best = _frequent(shares.argmax(0)) if wanted is None else wanted
            taken = shares.argmax(0) == index
            pixels = int(taken.sum())
            if not pixels:
                raise ConvatlasError(f"{model.name} takes no pixel of the image for {names[index]!r}: choose another "
                                     "class, or another image")
            scorer, shares = _Mean(model, taken.to(device)), shares[:, taken].mean(1)
        else:
            best = int(shares.argmax())
            index = best if wanted is None else wanted
        gradient = attr.Saliency(scorer).attribute(x.clone().requires_grad_(), target=index)
        integrated = attr.IntegratedGradients(scorer).attribute(x, target=index, n_steps=STEPS, internal_batch_size=(
            AT_ONCE if pixels is None else 1))
        cam = attr.LayerGradCam(scorer, layer_of(model, layer)).attribute(x, target=index,
                                                                         relu_attributions=True).detach()
    return Saliency(
        names[index], shares[index].item(), names[best], shares[best].item(), gradient[0].amax(0).detach().cpu(),
        integrated[0].sum(0).detach().cpu(), F.interpolate(cam, x.shape[2:], mode="bilinear")[0, 0].cpu(), layer,
        pixels)


class _Mean(nn.Module):
    """Scores (N, classes) of a network that scores pixels: their mean over some of them."""

    def __init__(self, net: Segmenter, taken: Tensor) -> None:
        super().__init__()
        self.net, self.taken = net, taken

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net(x)[:, :, self.taken].mean(2)
        return scores


def _frequent(classes: Tensor) -> int:
    """The most frequent class but the first, which is the background; that one where there is no other."""
    counts = classes.flatten().bincount()
    counts[0] = 0
    return int(counts.argmax())


def _captum() -> Any:
    try:
        from captum import attr
    except ModuleNotFoundError as error:
        raise ConvatlasError(f"saliency maps are computed by captum: {installing('saliency')}") from error
    return attr


def _index(target: str | int, names: tuple[str, ...]) -> int:
    """The number of a class, given by its name or as the number itself."""
    if target in names:
        return names.index(str(target))
    if str(target).isdecimal() and int(target) < len(names):
        return int(target)
    hint = (nearest(str(target), names)
            or f"; there are {len(names)}: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}")
    raise ConvatlasError(f"the network knows no class {str(target)!r}{hint}")


def _with_maps(model: Convnet, image: Tensor, layer: str | None) -> str:
    """`layer`, or the last stage, if it gives maps of more than one pixel."""
    maps = activations(model, image, [layer] if layer else ())
    found = [each.layer for each in maps if each.values[0].numel() > 1]
    if not found:
        raise ConvatlasError(f"Grad-CAM needs a map of more than one pixel, which {maps[-1].layer!r} of {model.name} "
                             "does not give: choose another layer")
    return found[-1]


# -- the picture -----------------------------------------------------------------------------------------------------

def draw(found: Saliency, picture: np.ndarray, network: str, image: str) -> "Figure":
    """The image and the three maps over it, paler. Orange speaks for the class, blue against it; the strongest half per
    cent of pixels have the full colour. `picture` is the image as the network saw it, bytes (h, w) or (h, w, 3); the
    words name both.
    """
    said, title = f"{found.predicted} ({100 * found.certainty:.1f} %)", f"Why {network} says {found.predicted}"
    if found.target != found.predicted:
        title = f"What speaks for {found.target} ({100 * found.probability:.1f} %)"
    title = clipped(title, int(4 * CELL / LETTER / 1.5))
    cells = (
        ("Image", f"{clipped(image, 32)}\n{clipped(network, 16)} says {clipped(said, 24)}", picture),
        ("Gradient", "where a small change\nmoves the score most" if found.pixels is None else
         f"where a small change moves\nthe mean score of {found.pixels} pixels", _over(picture, found.gradient)),
        ("Integrated gradients", "what each pixel adds to the score\n(orange) or takes from it (blue)",
         _over(picture, found.integrated)),
        ("Grad-CAM", f"where {found.layer}\nfinds the class", _over(picture, found.grad_cam)),
    )
    top, high = below() + 20, CELL * picture.shape[0] / picture.shape[1]
    wide = max(2 * MARGIN + 4 * (CELL + GAP) - GAP, least_width(title))
    with canvas(wide, top + high + UNDER + MARGIN - 8, title) as (figure, axes):
        for i, (name, words, pixels) in enumerate(cells):
            x = MARGIN + i * (CELL + GAP)
            write(axes, x, top - 7, name, "ink", 11, weight="bold")
            show(axes, pixels, x, top, CELL, high)
            write(axes, x, top + high + 7, words, "soft", 9.5, va="top")
    return figure


def _over(picture: np.ndarray, values: Tensor) -> np.ndarray:
    """The picture in pale grey, (h, w) of either sign in colour over it; bytes (h, w, 3)."""
    largest = values.abs().flatten().float().quantile(0.995).clamp(min=1e-12)
    strength = (values.abs() / largest).clamp(max=1)[..., None].numpy()
    colors = np.where(values[..., None].numpy() >= 0, (214, 84, 20), (36, 96, 196))
    gray = picture.reshape(*picture.shape[:2], -1).mean(2, keepdims=True)
    pale = 255 - 0.55 * (255 - gray)
    mixed: np.ndarray = np.rint(pale * (1 - strength) + colors * strength).astype(np.uint8)
    return mixed
