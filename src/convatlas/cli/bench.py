"""`convatlas bench`."""

import json as reader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from rich.table import Table

from .. import bounded
from ..errors import ConvatlasError
from ..files import check_format, put
from . import console
from .deploy import BackendName
from .inspections.common import FORMATS, Out
from .options import COUNT, OUTPUT, REAL, SPEED, Debug, Json, argument, option

if TYPE_CHECKING:
    from ..deploy.bench.comparison import Comparison, Side

PEERS = "Peers"
FORMAT = 1          # of the file of --keep


def bench(
    models: Annotated[list[str], argument("MODEL", "Names (convatlas list), run folders or files of weights.")],
    against: Annotated[str, option(
        "--against", panel=PEERS, metavar="PEER,…", show_default=True,
        help="timm, torchvision: their own model as its user gets it; onnxruntime, openvino, compile: that model run "
        "by an engine.",
    )] = "timm,torchvision,onnxruntime,openvino",
    batch: Annotated[str, option("--batch", "-b", panel=SPEED, metavar="N,…", show_default=True,
                                 help="Images at a time.")] = "1,16",
    image_size: Annotated[int | None, option(
        "--image-size", panel=SPEED, metavar="PIXELS", parser=COUNT,
        help="Side of the images; left out: the network's own.")] = None,
    backend: Annotated[BackendName, option(
        "--backend", panel=SPEED, help="What runs ours; [bold]auto[/] takes the fastest.", show_default=True)] = "auto",
    rounds: Annotated[int, option("--rounds", panel=SPEED, parser=COUNT, show_default=True,
                                  help="Turns that each side has.")] = 5,
    seconds: Annotated[float, option("--seconds", panel=SPEED, parser=REAL, show_default=True,
                                     help="Length of a turn.")] = 0.7,
    keep: Annotated[Path | None, option(
        "--keep", panel=OUTPUT, metavar="FILE", help="Keep each comparison in this .json file as soon as it is made; "
        "those that are there are not made again.")] = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure how fast a network answers as deployed here, beside its peers with the same weights: in turns, in one
    run.

    Ours is the network as `convatlas deploy` writes it here. What gives other scores is not compared. Ratio: how many
    times faster ours is. Matrix rate: multiply-adds a second, as a share of a large matrix product's; more than 100 %
    where an algorithm (Winograd's) needs fewer multiplications than it is counted with.

    [bold]Examples[/]
      convatlas bench resnet50
      convatlas bench mobilenet_v2 efficientnet_b0 --against timm,openvino --batch 16 --out speed.svg
      convatlas bench runs/2026-11-24-resnet18-flowers --image-size 160 --json
    """
    batches = [_count(word) for word in batch.split(",")]
    path = None if out is None else _picture(out)
    with console.loading():
        from ..deploy.bench.comparison import again, plain
        from ..deploy.bench.comparison import bench as measure
        from ..deploy.machine import about

    known = [again(each) for each in _kept(keep)]
    made = {_key(each): each for each in known}

    def done(compared: "Comparison") -> None:
        made[_key(compared)] = compared
        if keep is not None:
            _write(keep, {"format": FORMAT, "machine": about(), "comparisons": [plain(each) for each in made.values()]})

    peers = [word.strip() for word in against.split(",") if word.strip()]
    for model in models:
        new = measure(model, batches, peers, image_size=image_size, backend=backend, rounds=rounds, seconds=seconds,
                      known=known, tell=lambda line: console.plain(line, to=console.err), done=done)
        if len(new) < len(batches):
            console.plain(f"{model}: the rest is in {keep} already", to=console.err)
    everything = list(made.values())
    if as_json:
        console.document({"machine": about(), "comparisons": [plain(each) for each in everything]})
    else:
        for compared in everything:
            console.out.print(_table(compared))
    if path is not None:
        from ..deploy.bench.plot import draw
        from .inspections.common import save

        save(draw(everything), path)


def _key(compared: "Comparison") -> tuple[str, int, tuple[int, int]]:
    return compared.given, compared.batch, compared.size


def _count(word: str) -> int:
    if not word.strip().isdigit() or int(word) < 1:
        raise ConvatlasError(f"--batch {word!r} is refused: it is one or more whole numbers from 1 on, such as 1,16")
    return int(word)


def _picture(out: Path) -> Path:
    path = out.expanduser()
    if path.suffix not in FORMATS or not path.parent.is_dir():
        raise ConvatlasError(f"--out {str(path)!r} is refused: it is a file in a folder that is there, whose name ends "
                             f"in {', '.join(FORMATS)}")
    return path


def _kept(path: Path | None) -> list[dict[str, Any]]:
    """The comparisons in the file, if it is there."""
    if path is None or not path.expanduser().exists():
        return []
    try:
        tree = bounded.read_json(path.expanduser())
        check_format(tree.get("format"), FORMAT, f"--keep {str(path)!r}")
        return list(tree["comparisons"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvatlasError(f"--keep {str(path)!r} holds other things than comparisons: name a new file") from error


def _write(path: Path, tree: dict[str, Any]) -> None:
    put(path.expanduser(), reader.dumps(tree, indent=1, ensure_ascii=False) + "\n", "name another file with --keep")


def _table(compared: "Comparison") -> Table:
    high, wide = compared.size
    table = console.table("side", ">ms", ">spread", ">images/s", ">ratio", ">matrix rate", ">MB", ">set-up s", "")
    table.title = (f"[bold]{escape(compared.model)}[/], {compared.batch} × {high}×{wide}, by {compared.backend}; "
                   f"the machine's matrix rate: {compared.matrix_rate / 1e9:.0f} GFLOP/s")
    table.title_justify = "left"
    for side in compared.sides:
        table.add_row(*_row(side), style="bold" if side.name == "ours" else "")
    return table


def _row(side: "Side") -> tuple[str, ...]:
    if side.latency is None or side.spread is None:
        return side.name, *[""] * 7, escape(side.refused or "")
    memory = "" if side.memory is None else f"{side.memory / 1e6:.0f}"
    return (side.name, f"{side.latency * 1e3:.2f}", f"{side.spread[0] * 1e3:.2f}–{side.spread[1] * 1e3:.2f}",
            f"{side.throughput:.1f}", "" if side.name == "ours" else f"{side.ratio:.2f}×",
            console.percent(side.share or 0.0), memory, f"{side.setup:.1f}", "")
