"""`convatlas scale budget`."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from rich.table import Table

from ...errors import ConvatlasError
from ...files import put
from .. import console
from ..deploy import BackendName
from ..inspections.common import save, target
from ..inspections.summary import shape, size
from ..options import COUNT, OUTPUT, SPEED, Debug, Json, option, switch
from .common import (
    BUDGET,
    Alpha,
    Beta,
    Found,
    Gamma,
    LatencyBudget,
    Macs,
    MemoryBudget,
    Network,
    Params,
    coefficients,
)

if TYPE_CHECKING:
    from ...net.card import Card
    from ...net.model import Spec
    from ...scale.compound import Coefficients, Growth, Point, Reached
    from ...scale.cost import Cost, Latency
    from ...scale.published import Published

MOST = 20       # networks of one table


def budget(
    model: Network,
    phi: Annotated[str | None, option("--phi", panel=BUDGET, metavar="N|N..M",
                                      help="The networks at these φ of the rule, such as 1 or 0,0.5 or 0..7.")] = None,
    macs: Macs = None,
    params: Params = None,
    memory: MemoryBudget = None,
    latency: LatencyBudget = None,
    alpha: Alpha = None,
    beta: Beta = None,
    gamma: Gamma = None,
    found: Found = None,
    batch: Annotated[int, option("--batch", "-b", panel=SPEED, parser=COUNT, show_default=True,
                                 help="Images at a time, for memory and latency.")] = 1,
    backend: Annotated[BackendName, option(
        "--backend", panel=SPEED, show_default=True, help="What runs the deployed network; [bold]auto[/] takes the "
        "fastest for the network that is scaled, and keeps it.")] = "auto",
    time: Annotated[bool, switch("--time", panel=SPEED, help="Measure each network's latency, deployed on this "
                                 "machine: seconds for a small one, minutes for a large one.")] = False,
    out: Annotated[Path | None, option(
        "--out", "-o", panel=OUTPUT, metavar="FILE", help="Write the network as YAML, for [bold]convatlas train "
        "--config[/]; of several φ, the last.")] = None,
    draw: Annotated[Path | None, option("--draw", panel=OUTPUT, metavar="FILE", help="Draw the costs against φ: "
                                        ".png, .svg or .pdf.")] = None,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Scale a network by the compound rule: depth by α^φ, width by β^φ, the image's sides by γ^φ. At the φ that are
    given, from those below 0 on; or to the nearest network that a budget reaches: then φ is continuous, and the image
    size takes up what rounding leaves.

    α·β²·γ² is the factor that each φ would put on the multiply-adds if nothing were rounded. [bold]by depth[/] and the
    next columns show where rounding departs from it: the factor of each dimension alone, as counted and by the rule.
    From EfficientNet-B0 on, B1 to B7 as published stand beside the rule.

    [bold]Examples[/]
      convatlas scale budget efficientnet_b0 --phi 0..7 --draw scaling.svg
      convatlas scale budget resnet50 --macs 2G
      convatlas scale budget mobilenet_v2 --latency 20ms --batch 1 --out mobile.yaml
      convatlas train mobilenet_v2 photos/ --config mobile.yaml
    """
    budgets = {"macs": macs, "params": params, "memory": memory, "latency": latency}
    asked = {name: value for name, value in budgets.items() if value is not None}
    if len(asked) + (phi is not None) != 1:
        raise ConvatlasError("a budget is one of --phi, --macs, --params, --memory and --latency: give exactly one")
    rule, steps = coefficients(alpha, beta, gamma, found), phis(phi or "0")
    path, picture = None if out is None else _target(out), None if draw is None else target(draw, "scale")
    if picture is not None and len(steps) < 2:
        raise ConvatlasError("--draw needs several φ, such as --phi 0..7")
    with console.loading():
        from ...net import registry
        from ...scale import compound, cost
        from ...scale.published import published

        start = shape(model).card
        spec = registry.change(registry.variant(start.model).spec, start.fields)
    if latency is not None:
        console.plain(f"At most {compound.TRIES + compound.RESIZED} networks are deployed and measured, each for some "
                      "seconds, or minutes where it is large.", to=console.err)
    with console.err.status("[bright_black]networks are counted …[/]") as status:
        timed = _timer(batch, backend, lambda text: status.update(f"[bright_black]{escape(text)} …[/]"))
        reached: Reached | None = None
        took: list[Latency | None] = []
        if latency is not None:
            reached, measured = compound.reach_latency(spec, latency, timed, rule)
            took = [measured]
        elif phi is None:
            (name, value), = asked.items()
            measures: dict[str, compound.Measure] = {"macs": cost.macs, "params": cost.params,
                                                     "memory": partial(cost.memory, batch=batch)}
            reached = compound.reach(spec, value, measures[name], rule)
        points = [compound.point(spec, rule, step) for step in steps] if reached is None else [reached.point]
        costs = [cost.cost(each.spec, batch) for each in points]
        grown = [compound.growth(spec, each) for each in points]
        took = took or [timed(each.spec) if time else None for each in points]
        beside = published(rule) if len(points) > 1 and spec == registry.variant("efficientnet_b0").spec else []
    if path is not None:
        _write(path, start, points[-1])
    if picture is not None:
        from ...scale import plot

        save(plot.draw(rule, points, grown, beside), picture)
    if json:
        console.document({
            "model": start.model, "coefficients": asdict(rule) | {"product": rule.product}, "batch": batch,
            "budget": None if reached is None else {next(iter(asked)): reached.budget, "deviation": reached.deviation},
            "networks": [_plain(*each) for each in zip(points, costs, grown, took, strict=True)],
            "published": [_released(each) for each in beside]})
        return
    console.out.print(_rule(rule, start.model, found))
    console.out.print(_networks(points, costs, grown, took))
    if reached is not None:
        console.out.print(_met(next(iter(asked)), reached, took[0]))
    if beside:
        console.out.print(_published(beside, rule))
    if path is not None:
        console.plain(f"written: {path}; train it with: convatlas train {start.model} DATA --config {path}",
                      to=console.err)


def phis(text: str) -> list[float]:
    """`1`, `0,0.5,1` or `0..7`, whose steps are ones."""
    try:
        first, dots, last = text.partition("..")
        found = ([float(first) + i for i in range(min(MOST + 1, int(float(last) - float(first)) + 1))] if dots
                 else [float(word) for word in text.split(",")])
    except (ValueError, OverflowError):
        found = []
    if not 0 < len(found) <= MOST or not all(abs(each) <= 16 for each in found):
        raise ConvatlasError(f"--phi {text!r} is refused: it is a number from -16 to 16, several with commas, or a "
                             f"range of at most {MOST}, such as 0..7")
    return found


def _target(out: Path) -> Path:
    """The path of the YAML file, refused before the work."""
    path = out.expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.parent.is_dir():
        raise ConvatlasError(f"--out {str(path)!r} is refused: it is a file in a folder that is there, whose name ends "
                             "in .yaml")
    return path


def _timer(batch: int, backend: str, tell: Callable[[str], None]) -> "Callable[[Spec], Latency]":
    """The measurement of latency, told each time, by one backend, which the first network decides where it is open."""
    chosen = [backend]

    def timed(spec: "Spec") -> "Latency":
        from ...scale import cost

        took = cost.latency(spec, batch, chosen[0], tell=tell)
        chosen[0] = took.backend
        console.plain(f"{cost.by(spec)}: {_ms(took)} ms by {took.backend}", to=console.err)
        if not took.steady:
            console.warn(f"{cost.by(spec)} took {took.high / took.low:.1f} times as long in one round as in another, "
                         "so that no budget is met: measure while the machine does nothing else")
        return took
    return timed


def _write(path: Path, start: "Card", at: "Point") -> None:
    """The network as part of a run's configuration."""
    import yaml

    rule = at.coefficients
    head = (f"# {start.model} scaled by α = {rule.alpha:g}, β = {rule.beta:g}, γ = {rule.gamma:g} at φ = {at.phi:.4g}\n"
            f"# convatlas train {start.model} DATA --config FILE\n")
    tree = {"model": {"name": start.model, "fields": replace(start, spec=at.spec).fields}}
    put(path, head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110))


# -- in words ----------------------------------------------------------------------------------------------------------


def _rule(rule: "Coefficients", name: str, found: Path | None) -> str:
    from ...scale.compound import PAPER

    source = f"found in {found}" if found else "the paper's, found on EfficientNet-B0" if rule == PAPER else "as given"
    off = rule.product / 2 - 1
    apart = "exactly 2" if abs(off) < 5e-4 else f"{100 * abs(off):.1f} % {'above' if off > 0 else 'below'} 2"
    return (f"[bold cyan]{escape(name)}[/] scaled by α = {rule.alpha:g}, β = {rule.beta:g}, γ = {rule.gamma:g} "
            f"({escape(source)}); α·β²·γ² = {rule.product:.4g}, {apart}\n")


def _networks(points: "list[Point]", costs: "list[Cost]", grown: "list[Growth]", took: "list[Latency | None]") -> Table:
    timed = [each for each in took if each is not None]
    table = console.table(">φ", ">depth", ">width", ">resolution", ">image", ">params", ">macs", ">memory",
                          *([">ms"] if timed else []), ">macs ×", ">by the rule", ">apart", ">by depth", ">by width",
                          ">by resolution")
    if timed:
        table.caption = (f"ms: one call with a batch of {timed[0].batch} by {timed[0].backend}, median and range of "
                         "the rounds' medians")
    for at, needs, factors, each in zip(points, costs, grown, took, strict=True):
        depth, width, resolution = at.multipliers
        latency = [] if not timed else ["" if each is None else _ms(each)]
        table.add_row(f"{at.phi:.3g}", f"{depth:.3f}", f"{width:.3f}", f"{resolution:.3f}", _image(at.spec),
                      console.short(needs.params), console.short(needs.macs), size(needs.memory), *latency,
                      f"{factors.together[1]:.3g}", f"{factors.together[0]:.3g}", _signed(factors.deviation),
                      _factor(factors.depth), _factor(factors.width), _factor(factors.resolution))
    return table


def _met(name: str, reached: "Reached", took: "Latency | None") -> str:
    """The distance from the budget, in a line."""
    from ...net.model import by

    def shown(value: float) -> str:
        if name == "latency":
            return f"{1e3 * value:.3g} ms"
        return size(round(value)) if name == "memory" else console.short(round(value))

    text = f"{name}: {shown(reached.budget)} wanted, {shown(reached.found)} reached ({_signed(reached.deviation)})"
    if name == "latency" and took is not None:
        text += (", within its measured interval" if took.meets(reached.budget) else
                 f"; the nearest of those measured, and not met ({_ms(took)} ms)")
    if reached.point.adjusted:
        text += f"; by the rule alone the image would be {by(reached.point.size)}"
    return text + "\n"


def _published(found: "list[Published]", rule: "Coefficients") -> Table:
    table = console.table("", ">depth", ">width", ">image", ">dropout", ">macs", ">φ of depth", ">of width",
                          ">of image", ">of all", ">depth", ">width", ">image", ">macs", ">apart")
    table.title = ("[bold]As published[/], the φ that each of its numbers stands for, and the rule at the φ nearest to "
                   "all three. Dropout is in no rule: it was raised by hand.")
    table.title_justify = "left"
    for each in found:
        depth, width, _ = each.rule.multipliers
        released, ruled = each.macs
        table.add_row(each.name.removeprefix("efficientnet_").upper(), f"{each.spec.depth:g}", f"{each.spec.width:g}",
                      _image(each.spec), f"{each.spec.drop_rate:g}", console.short(released),
                      *("–" if isnan(phi) else f"{phi:.2f}" for phi in each.phis), f"{each.phi:.2f}",
                      f"{depth:.2f}", f"{width:.2f}", _image(each.rule.spec), console.short(ruled),
                      _signed(ruled / released - 1))
    return table


def _image(spec: "Spec") -> str:
    return str(spec.image_size) if isinstance(spec.image_size, int) else "×".join(map(str, spec.image_size))


def _ms(took: "Latency") -> str:
    return f"{1e3 * took.seconds:.3g} ({1e3 * took.low:.3g}–{1e3 * took.high:.3g})"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _factor(pair: tuple[float, float]) -> str:
    return f"{pair[1]:.2f} ({pair[0]:.2f})"


# -- as JSON -----------------------------------------------------------------------------------------------------------


def _plain(at: "Point", needs: "Cost", factors: "Growth", took: "Latency | None") -> dict[str, Any]:
    from ...net.registry import plain

    return {"phi": at.phi, **dict(zip(("depth", "width", "resolution"), at.multipliers, strict=True)),
            "image_size": at.spec.image_size, "image_size_of_the_rule": at.size, **needs._asdict(),
            "latency": None if took is None else asdict(took), "growth": asdict(factors),
            "deviation": factors.deviation, "spec": plain(at.spec)}


def _released(each: "Published") -> dict[str, Any]:
    depth, width, resolution = each.rule.multipliers
    return {"name": each.name, "depth": each.spec.depth, "width": each.spec.width, "image_size": each.spec.image_size,
            "drop_rate": each.spec.drop_rate, "macs": each.macs[0], "phi_of_depth": each.phis[0],
            "phi_of_width": each.phis[1], "phi_of_image_size": each.phis[2], "phi": each.phi,
            "rule": {"depth": depth, "width": width, "resolution": resolution,
                     "image_size": each.rule.spec.image_size, "macs": each.macs[1]}}
