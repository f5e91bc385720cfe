"""`convatlas inspect same-as-fc`."""

from typing import Annotated

from rich.markup import escape

from .. import console
from ..options import COMMON, COUNT, NATURAL, Debug, Json, argument, option
from .common import Out, network, save, target


def same_as_fc(
    model: Annotated[str | None, argument("[MODEL]", "Test every 1×1 convolution of this network instead of drawing a "
                                          "small one.")] = None,
    cin: Annotated[int, option("--cin", panel=COMMON, parser=COUNT, help="Channels in.", show_default=True)] = 3,
    cout: Annotated[int, option("--cout", panel=COMMON, parser=COUNT, help="Channels out.", show_default=True)] = 2,
    side: Annotated[int, option("--side", panel=COMMON, parser=COUNT, help="Side of the map in pixels.",
                                show_default=True)] = 4,
    seed: Annotated[int, option("--seed", panel=COMMON, parser=NATURAL, help="Of the numbers.", show_default=True)] = 0,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Show that a 1×1 convolution is a fully-connected layer on every pixel: a small one drawn with its numbers, or
    each one of a network computed both ways.

    [bold]Examples[/]
      convatlas inspect same-as-fc --out nin.svg
      convatlas inspect same-as-fc mobilenet_v1
    """
    path = target(out, "same-as-fc")
    with console.loading():
        from ...inspect import same_as_fc as compared

        found = None if model is None else compared.differences(network(model), seed)
    if found is not None:
        _told(found, json)
        return
    result = compared.same_as_fc(cin, cout, side, side, seed=seed)
    if json:
        console.document({"image": result.image.tolist(), "weights": result.weights.tolist(),
                          "convolved": result.convolved.tolist(), "connected": result.connected.tolist(),
                          "difference": result.difference})
    save(compared.draw(result), path)


def _told(found: dict[str, float], json: bool) -> None:
    if json:
        console.document(found)
        return
    table = console.table("1×1 convolution", ">largest difference, of the largest value")
    for name, difference in found.items():
        table.add_row(escape(name), f"{difference:.1e}")
    console.out.print(table)
