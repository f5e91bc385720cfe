"""`convatlas atlas`."""

from pathlib import Path
from typing import Annotated

from ..errors import ConvatlasError
from . import console
from .options import COMMON, NATURAL, OUTPUT, Debug, argument, option, switch
from .paths import saved

FOLDER = Path("atlas")
PORT = 8642


def atlas(
    runs: Annotated[list[Path] | None, argument("[RUN]…", "Run folders that get a page of their own.")] = None,
    out: Annotated[Path | None, option(
        "--out", "-o", panel=OUTPUT, metavar="DIR", help=f"The folder to write; left out: [bold]{FOLDER}[/], and with "
        "--serve one that is removed again. An atlas that is there is replaced.")] = None,
    serve: Annotated[bool, switch("--serve", panel=OUTPUT, help="Serve it to this machine alone and open it in the "
                                  "browser, until Ctrl-C.")] = False,
    port: Annotated[int, option("--port", panel=OUTPUT, parser=NATURAL, help="Where --serve answers; 0 takes a free "
                                "port.", show_default=True)] = PORT,
    weights: Annotated[list[Path] | None, option(
        "--weights", "-w", panel=COMMON, metavar="RUN", help="A run folder or .safetensors file whose network shall "
        "run in the pages too; repeatable.")] = None,
    debug: Debug = False,
) -> None:
    """Write the networks, the lecture and your runs as a site: pages to look at and to touch, which open in any browser
    without a network.

    [bold]Examples[/]
      convatlas atlas --serve
      convatlas atlas --out site
      convatlas atlas runs/2026-11-24-resnet18-flowers --serve
    """
    for path in (*(runs or ()), *(weights or ())):
        saved(path)
    if not serve:
        folder = out or FOLDER
        _build(folder, runs, weights)
        console.plain(f"open {folder / 'index.html'} in a browser")
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="convatlas-atlas-") as beside:
        folder = out or Path(beside) / FOLDER
        _build(folder, runs, weights)
        _serve(folder, port)


def _build(folder: Path, runs: list[Path] | None, weights: list[Path] | None) -> None:
    from ..atlas import build

    built = build(folder, runs or (), weights or (), tell=lambda text: console.plain(text, to=console.err))
    console.plain(f"{built.pages} pages, {built.size / 1e6:.1f} MB, in {built.seconds:.0f} s: {folder}", to=console.err)


def _serve(folder: Path, port: int) -> None:
    """Serve a folder on the loopback address until Ctrl-C."""
    import webbrowser

    from ..atlas.serve import server

    try:
        serving = server(folder, port)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConvatlasError(f"cannot answer at port {port}: {why}; --port 0 takes a free one") from error
    with serving:
        address = f"http://127.0.0.1:{serving.server_port}/"
        console.plain(f"{address}   (Ctrl-C ends it)")
        console.out.file.flush()
        webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            console.plain("ended", to=console.err)
