"""`convatlas inspect overlap-tile`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from .. import console
from ..options import COMMON, COUNT, NATURAL, Debug, Json, argument, option
from .common import Network, Out, network, save, target

if TYPE_CHECKING:
    from ...inspect.overlap_tile import Box


def overlap_tile(
    model: Network,
    image: Annotated[Path, argument("IMAGE", "The image to cut, of any size.")],
    tile: Annotated[int | None, option("--tile", panel=COMMON, parser=COUNT, metavar="SIDE",
                                       help="Pixels along a side that the network sees at once; default: as many as it "
                                       "was made for.")] = None,
    overlap: Annotated[int | None, option("--overlap", panel=COMMON, parser=NATURAL, metavar="PIXELS",
                                          help="That tiles of a padded network share; default: as `convatlas segment` "
                                          "chooses.")] = None,
    chosen: Annotated[int, option("--number", panel=COMMON, parser=NATURAL, metavar="N",
                                  help="The tile to show, counted along rows from 0.", show_default=True)] = 0,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Draw the tiles that an image of any size is scored from, as U-Net's Figure 2 does: the image in its mirrored
    border, and for one tile what is scored and what the network sees for it.

    [bold]Examples[/]
      convatlas inspect overlap-tile unet cell.png --tile 252
      convatlas inspect overlap-tile runs/unet cell.png --tile 128 --number 5 --out tile.svg
    """
    path = target(out, "overlap-tile")
    with console.loading():
        from ...data.images import read_image
        from ...inspect import overlap_tile as tiles
        from ...net.segmenter import of_pixels
        from ...pixels import Decoding
        from ...zoo import transforms

        net = of_pixels(network(model), "unet is one that does")
        pixels = read_image(image, Decoding(range=transforms(net).range))
        result = tiles.overlap_tile(net, pixels, tile, chosen, overlap)
    if json:
        console.document({"image": list(result.tiling.size), "border": result.tiling.border,
                          "overlap": result.tiling.overlap, "margin": result.tiling.margin,
                          "tiles": [{"scored": _plain(scored), "seen": _plain(seen)}
                                    for scored, seen in zip(result.scored, result.seen, strict=True)]})
    save(tiles.draw(result), path)


def _plain(box: "Box") -> dict[str, int]:
    return box._asdict()
