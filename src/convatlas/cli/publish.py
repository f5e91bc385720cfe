"""`convatlas publish`."""

from pathlib import Path
from typing import Annotated

from rich.markup import escape

from . import console
from .options import OUTPUT, Debug, argument, option, switch
from .paths import saved


def publish(
    run: Annotated[Path, argument("RUN", "A run folder, or a .safetensors file from one.")],
    out: Annotated[Path, argument("DIR", "The folder to write.")],
    licence: Annotated[str | None, option(
        "--licence", "--license", panel=OUTPUT, metavar="ID", help="Under which others may use it, such as mit or "
        "cc-by-4.0.")] = None,
    name: Annotated[str | None, option("--name", panel=OUTPUT,
                                       help="What it is called; left out: as the folder.")] = None,
    force: Annotated[bool, switch("--force", panel=OUTPUT, help="Replace a published network that is there.")] = False,
    debug: Debug = False,
) -> None:
    """Write a trained network as a folder for a hub of models: weights, config.json, and a card. Nothing is uploaded.

    [bold]Examples[/]
      convatlas publish runs/2026-11-24-resnet18-flowers flowers-resnet18 --licence mit
      convatlas predict flowers-resnet18 rose.jpg
      hf upload me/flowers-resnet18 flowers-resnet18
    """
    saved(run)

    with console.loading():
        from ..integrations.hub import publish as write

    written = write(run, out, licence=licence, name=name, force=force)
    console.out.print(f"written: {escape(str(written))}", soft_wrap=True)
