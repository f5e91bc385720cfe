"""`convatlas data check`."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..errors import ConvatlasError
from . import console
from .options import COMMON, COUNT, DATA_HELP, NATURAL, OUTPUT, DataDir, Debug, Json, argument, option
from .paths import saved

QUIET = 10.0        # seconds between two lines where there is no terminal


def check(
    source: Annotated[str, argument("FOLDER", DATA_HELP + " Or a folder of images with masks.")],
    run: Annotated[Path | None, argument("RUN", "A run folder, or a file of weights, of a network that was trained on "
                                         "it or is to be judged on it.")] = None,
    workers: Annotated[int | None, option("--workers", panel=COMMON, parser=COUNT,
                                          help="Threads that read images; left out: as many as cores.")] = None,
    seed: Annotated[int, option("--seed", panel=COMMON, parser=NATURAL, help="Chance.", show_default=True)] = 0,
    debug: Debug = False,
    data_dir: DataDir = None,
    out: Annotated[Path, option("--out", "-o", panel=OUTPUT, metavar="FILE", help="The page.",
                                show_default=True)] = Path("check.html"),
    json: Json = False,
) -> None:
    """Check data before training, or after: layout, classes, sizes, unreadable files, exact and near duplicates, images
    in two parts or two classes, and labels that may be wrong, on one page.

    With RUN, its features help to judge the labels, the parts are those of its training, and images that it was trained
    on are found again in other data. Nothing is changed.

    [bold]Examples[/]
      convatlas data check photos/
      convatlas data check photos/ runs/photos --out photos.html
      convatlas data check fashion-mnist --data-dir DATA --json
    """
    if run is not None:
        saved(run)
    if out.is_dir():
        raise ConvatlasError(f"--out {str(out)!r} is a folder: name a file, such as {out / 'check.html'}")
    with console.loading():
        from ..inspect.check import check as look
        from ..inspect.check import write_page
        from ..run import Data

    bar = _Bar()
    try:
        found = look(Data(source=source, data_dir=data_dir), seed=seed, run=run, workers=workers, watch=bar)
    except ConvatlasError as error:     # what training would say is what there is to find
        bar.close()
        console.error(str(error))
        if json:
            console.document({"source": source, "refused": str(error)})
        raise typer.Exit(1) from error
    finally:
        bar.close()
    write_page(found, out, run)
    if json:
        console.document({**found.document(), "page": str(out)})
        return
    counts = ", ".join(f"{console.exact(count)} {escape(part)}" for part, count in found.parts.items())
    console.out.print(f"[bold]{escape(found.opened.name)}[/]: {escape(found.opened.layout)}; "
                      f"{len(found.opened.classes)} classes; images: {counts}", soft_wrap=True)
    for note in found.opened.notes:
        console.plain(note)
    for _, count, what in found.findings():
        console.out.print(f"  [bold yellow]{console.exact(count):>7}[/] {escape(what)}", soft_wrap=True)
    if not found.findings():
        console.plain("nothing was found")
    console.plain(found.probe)
    console.plain(f"written to {out}")


class _Bar:
    """Progress, on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        self.live = Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
                             console=console.err, transient=True, disable=not console.err.is_terminal)
        self.row, self.what, self.spoken = self.live.add_task("", total=None), "", time.monotonic()
        self.live.start()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self.what:       # its own time left
            self.live.reset(self.row, description=what, total=total)
            self.what = what
        self.live.update(self.row, completed=done)
        if not console.err.is_terminal and time.monotonic() - self.spoken >= QUIET:
            self.spoken = time.monotonic()
            console.plain(f"{what}: {done} of {total}", to=console.err)

    def close(self) -> None:
        self.live.stop()
