"""Evaluation protocols: the views of a picture that a network is shown, and how its answers become one; by name and by
parts.

Imports no torch.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ..errors import ConvatlasError, nearest
from ..run import Record

REFERENCE = 256         # the short side in the papers, of which `relative` scales are a share
MARGIN = 0.875          # input / short side, where a network's own preprocessing leaves no margin to crop from

Size = tuple[int, int]


class Protocol(Record):
    """Views of a picture: at each scale, of each square, each crop, each also mirrored; or at each scale the whole
    picture.

    As it stands it is what the weights were validated with: one centre crop.
    """

    scales: tuple[int, ...] = Field((), description="short sides in pixels to which a picture is resized; (): the "
                                    "network's own, image_size / crop_pct")
    relative: bool = Field(False, description="scales are for networks whose own short side is 256, and in "
                           "proportion for others")
    squares: Literal["centre", "three"] = Field(
        "centre", description="what is cropped from: the central square, or the left, central and right ones (upper, "
        "central and lower)")
    crops: Literal[1, 5, 6] = Field(1, description="of each square: the centre; the four corners too; the whole "
                                    "square, resized, too")
    dense: bool = Field(False, description="the whole picture, by the network as a convolution; its map of "
                        "scores is averaged")
    flip: bool = Field(False, description="each view also mirrored")
    average: Literal["probabilities", "scores"] = Field("probabilities", description="of the views")
    crop_pct: float | None = Field(None, gt=0, description="share of the short side that a crop takes; None: "
                                   "the weights' own")
    image_size: Size | None = Field(None, description="(height, width) of the network's input; None: its own")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(scale < 1 for scale in self.scales):
            raise ValueError(f"scales must be at least 1 pixel, not {self.scales}")
        if self.dense and (self.crops > 1 or self.squares != "centre"):
            raise ValueError("dense evaluation sees the whole picture: it goes without crops")
        if self.scales and self.crop_pct is not None:
            raise ValueError("scales say how large a picture becomes, and so does crop_pct: give one of them")
        return self

    @property
    def views(self) -> int:
        """Of a picture, once `resolved`."""
        squares = 3 if self.squares == "three" else 1
        return max(len(self.scales), 1) * squares * self.crops * (2 if self.flip else 1)

    @property
    def single(self) -> bool:
        """True for one centre crop, for which batches of pictures need nothing special."""
        return self.views == 1 and not self.dense

    def resolved(self, image_size: Size, crop_pct: float) -> "Protocol":
        """With all sizes in pixels, for a network of that input and preprocessing."""
        size, share = self.image_size or image_size, self.crop_pct or crop_pct
        scales = self.scales or (round(min(size) / share),)
        if self.relative:
            own = min(size) / (share if share < 1 else MARGIN)
            scales = tuple(round(scale * own / REFERENCE) for scale in scales)
        return self.model_copy(update={"scales": scales, "relative": False, "crop_pct": None, "image_size": size})

    def __str__(self) -> str:
        h, w = self.image_size or (0, 0)
        sides = ", ".join(map(str, self.scales)) or "the network's own"
        seen = "the whole picture" if self.dense else {
            1: "the centre", 5: "the four corners and the centre",
            6: "the four corners, the centre, and the whole resized"}[self.crops]
        where = (" of each of three squares" if self.squares == "three" else " of the central square"
                 if self.crops > 1 else "")
        black = ", black where the picture ends" if min(self.scales, default=h) < min(h, w) else ""
        size = "" if self.dense else f" ({h}×{w}{black})"
        mirrored = ", each also mirrored" if self.flip else ""
        joined = f"; {self.average} of {self.views} views averaged" if self.views > 1 else ""
        return f"short side {sides}: {seen}{where}{size}{mirrored}{joined}"


PROTOCOLS = {
    #   the crop that the weights were validated with
    "centre": Protocol(),
    #   Krizhevsky et al. 2012, section 4.1: five patches of the central 256×256 and their reflections, softmax averaged
    "alexnet-10crop": Protocol(scales=(256,), relative=True, crops=5, flip=True),
    #   Szegedy et al. 2015, section 7: 4 scales × 3 squares × 6 crops × 2, softmax averaged
    "googlenet-144crop": Protocol(scales=(256, 288, 320, 352), relative=True, squares="three", crops=6, flip=True),
    #   Simonyan and Zisserman 2015, sections 3.2 and 4.2: dense at S − 32, S and S + 32, posteriors averaged, also with
    #   the mirror image
    "vgg-dense": Protocol(scales=(224, 256, 288), relative=True, dense=True, flip=True),
    #   He et al. 2016, section 3.4: fully convolutional, scores averaged over five scales
    "resnet-multiscale": Protocol(scales=(224, 256, 384, 480, 640), relative=True, dense=True, average="scores"),
}


def named(name: str) -> Protocol:
    """The protocol of that name; an unknown one is a ConvatlasError that says the nearest."""
    if name not in PROTOCOLS:
        hint = nearest(name, PROTOCOLS) or f"; there are {', '.join(PROTOCOLS)}"
        raise ConvatlasError(f"there is no protocol {name!r}{hint}")
    return PROTOCOLS[name]


def changed(base: Protocol, fields: Mapping[str, Any]) -> Protocol:
    """`base` with other fields; scales and crop_pct, which both say how large a picture becomes, replace each other.

    What does not go together is a ConvatlasError.
    """
    freed: dict[str, Any] = ({"scales": (), "crop_pct": None, "relative": False}
                             if fields.keys() & {"scales", "crop_pct"} else {})
    try:
        return Protocol.model_validate({**base.model_dump(), **freed, **fields})
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        told = problem["msg"].removeprefix("Value error, ")
        raise ConvatlasError(f"this protocol is refused: {told}"
                             + (f" ({field} = {problem['input']!r})" if field else "")) from error
