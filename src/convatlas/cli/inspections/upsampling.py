"""`convatlas inspect upsampling`."""

from typing import Annotated

from .. import console
from ..options import COMMON, COUNT, Debug, Json, option
from .common import Out, save, target


def upsampling(
    kernel: Annotated[int, option("--kernel", panel=COMMON, parser=COUNT, help="Side of the kernel, of ones.",
                                  show_default=True)] = 3,
    stride: Annotated[int, option("--stride", panel=COMMON, parser=COUNT, help="How many times larger.",
                                  show_default=True)] = 2,
    side: Annotated[int, option("--side", panel=COMMON, parser=COUNT, help="Side of the map in pixels.",
                                show_default=True)] = 3,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Draw convolution upwards with numbers: zeros put into a map, then convolved, which is the transposed convolution;
    how often each pixel is reached, which is the checkerboard where the stride does not divide the kernel; and bilinear
    interpolation.

    [bold]Examples[/]
      convatlas inspect upsampling
      convatlas inspect upsampling --kernel 4 --stride 2 --out even.svg
    """
    path = target(out, "upsampling")
    with console.loading():
        import torch

        from ...inspect import upsampling as steps

        result = steps.upsampling(torch.arange(1.0, side * side + 1).reshape(side, side), kernel, stride)
    if json:
        parts = ("image", "kernel", "spread", "convolved", "overlaps", "bilinear")
        console.document({"difference": result.difference, "checkerboard": result.checkerboard,
                          **{part: getattr(result, part).tolist() for part in parts}})
    save(steps.draw(result), path)
