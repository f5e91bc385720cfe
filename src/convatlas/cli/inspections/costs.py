"""`convatlas inspect costs`."""

from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from rich.table import Table

from .. import console
from ..options import COUNT, OUTPUT, Debug, Json, argument, option, switch
from .common import Out, save, target
from .summary import BatchSize, ImageSize, shape, size, tell_uncounted

if TYPE_CHECKING:
    from ...inspect.costs import Compared, Form
    from ...inspect.summary import Summary


def _count(name: str, help: str) -> Any:
    return option(name, panel="The convolution", parser=COUNT, help=help, show_default=True)


def costs(
    model: Annotated[str | None, argument("[MODEL]", "Show where this network's cost lies, stage by stage.")] = None,
    kernel: Annotated[int, _count("--kernel", "Side D_K of the kernel.")] = 3,
    cin: Annotated[int, _count("--cin", "Channels in, M.")] = 512,
    cout: Annotated[int, _count("--cout", "Channels out, N.")] = 512,
    side: Annotated[int, _count("--side", "Side D_F of the map.")] = 14,
    groups: Annotated[int, _count("--groups", "Groups of the grouped convolution.")] = 32,
    reduction: Annotated[int, _count("--reduction", "N / B of the bottleneck.")] = 4,
    batch_size: BatchSize = 32,
    image_size: ImageSize = None,
    tables: Annotated[bool, switch("--tables", panel=OUTPUT, help="MobileNet's tables, as printed and as "
                                   "counted.")] = False,
    out: Out = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Compare the ways to compute a convolution: standard, grouped, bottleneck, depthwise separable, decomposed,
    stacked, in strips; with the formulas. Or show in which stages a network's parameters, multiply-adds and memory lie.

    [bold]Examples[/]
      convatlas inspect costs --kernel 31 --cin 128 --cout 128 --side 56
      convatlas inspect costs vgg16 --out vgg16.svg
      convatlas inspect costs --tables
    """
    path = target(out, "costs")
    with console.loading():
        from ...inspect import costs as algebra
        from ...inspect.summary import summary

        if tables:
            _tables(algebra.tables(), json)
            return
        if model is None:
            ways = algebra.forms(kernel, cin, cout, side, groups=groups, reduction=reduction)
            figure, plain, table = algebra.draw(ways), _ways(ways), _algebra(ways)
        else:
            found = summary(shape(model), batch_size, image_size)
            tell_uncounted(found)
            figure, plain, table = algebra.draw_stages(found), _stages(found), _places(found)
    if json:
        console.document(plain)
    else:
        console.out.print(table)
    save(figure, path)


def _ways(ways: "list[Form]") -> list[dict[str, Any]]:
    return [{"name": way.name, "formula": way.formula, "used_in": way.source, "params": way.params, "macs": way.macs,
             "share": way.params / ways[0].params} for way in ways]


def _algebra(ways: "list[Form]") -> Table:
    table = console.table("convolution", "parameters", "used in", ">params", ">macs (× D_F²)", ">of the standard")
    for way in ways:
        table.add_row(way.name, way.formula, way.source, console.exact(way.params), console.exact(way.macs),
                      f"{100 * way.params / ways[0].params:.3g} %")
    return table


def _stages(found: "Summary") -> list[dict[str, Any]]:
    from ...inspect.summary import stages

    return [{"name": row.name, "output": row.output, "params": row.params, "macs": row.macs, "made": row.made,
             "kept": row.kept, "share": found.share(row)} for row in stages(found)]


def _places(found: "Summary") -> Table:
    from ...inspect.summary import stages

    table = console.table("stage", "output", ">params", ">%", ">macs", ">%", ">made", ">%", ">kept")
    for row in stages(found):
        share = {name: f"{100 * part:.1f}" for name, part in found.share(row).items()}
        table.add_row(escape(row.name), "×".join(map(str, row.output)), console.exact(row.params), share["params"],
                      console.exact(row.macs), share["macs"], size(row.made), share["made"], size(row.kept))
    return table


def _tables(found: "dict[str, list[Compared]]", json: bool) -> None:
    from ...inspect.costs import agrees

    if json:
        console.document({title: [line._asdict() for line in lines] for title, lines in found.items()})
        return
    for title, lines in found.items():
        console.out.print(f"[bold]{title}[/] (Howard et al. 2017; figures in millions)")
        table = console.table("", ">accuracy printed", ">macs printed", ">counted", "",
                              ">params printed", ">counted", "")
        for line in lines:
            sides = [(line.printed_macs, line.macs), (line.printed_params, line.params)]
            cells = [cell for printed, ours in sides
                     for cell in (f"{printed:g}", f"{ours / 1e6:.5g}", "" if agrees(ours, printed) else "≠")]
            table.add_row(line.label, "" if line.accuracy is None else f"{line.accuracy} %", *cells)
        console.out.print(table)
    console.out.print("≠: not what was printed; [bold]convatlas facts[/] NAME says why\n")
