"""The commands put together, how each kind of failure is reported, and which exit code it gets."""

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from ..errors import ConvatlasError
from ..files import FULL
from ..version import __version__
from . import console
from .ablate import ablate
from .atlas import atlas
from .bench import bench
from .check import check
from .compare import compare
from .data import data
from .deploy import deploy
from .doctor import doctor
from .eval import evaluate
from .export import export
from .facts import facts
from .info import info
from .inspect import inspect
from .list import list_models
from .options import COMMON, Debug
from .predict import predict
from .publish import publish
from .recipe import recipe
from .reproduce import reproduce
from .runs import runs
from .scale import scale
from .segment import segment
from .shard import shard
from .train import train
from .weights import weights

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["--help", "-h"]})

WORK, LOOK = "Work", "Look things up"       # the panels of `convatlas --help`
COMMANDS = (
    ("train", train, WORK, "Train a network and leave a run folder with weights, metrics and a report."),
    ("eval", evaluate, WORK, "Measure a trained network on labelled images."),
    ("predict", predict, WORK, "Say what is in an image."),
    ("segment", segment, WORK, "Say for every pixel what it belongs to, in images of any size."),
    ("deploy", deploy, WORK, "Write a network as a folder that answers as fast as this machine allows."),
    ("export", export, WORK, "Write a network as a file for other programs: ONNX, torch.export, OpenVINO, ExecuTorch."),
    ("publish", publish, WORK, "Write a trained network as a folder for a hub of models."),
    ("reproduce", reproduce, WORK, "Run an experiment of the papers again, with intervals and a verdict."),
    ("ablate", ablate, WORK, "Find out what parts of a network do, by taking them away."),
    ("bench", bench, WORK, "Measure how fast a network answers, beside its peers."),
    ("list", list_models, LOOK, "List the networks."),
    ("info", info, LOOK, "Explain a network: idea, departures, layers, facts."),
    ("compare", compare, LOOK, "Put networks side by side."),
    ("atlas", atlas, LOOK, "Write networks, lecture and runs as a site for the browser."),
    ("facts", facts, LOOK, "Compare what was published with what is computed."),
    ("doctor", doctor, LOOK, "Say what this machine has to run networks with, and what it lacks."),
)
for _name, _function, _panel, _brief in COMMANDS:
    app.command(_name, rich_help_panel=_panel, short_help=_brief)(_function)
data.command("check")(check)
data.command("shard")(shard)
app.add_typer(scale, name="scale", rich_help_panel=WORK, short_help="Scale a network in depth, width and "
              "resolution together, to any budget.")
app.add_typer(data, name="data", rich_help_panel=WORK, short_help="Look at data as a network sees it; write "
              "it as shards.")
app.add_typer(inspect, name="inspect", rich_help_panel=LOOK, short_help="Look inside a network: pictures of what "
              "it is and does.")
app.add_typer(weights, name="weights", rich_help_panel=LOOK, short_help="Explain and convert files of weights.")
app.add_typer(runs, name="runs", rich_help_panel=LOOK, short_help="List, compare and plot training runs.")
app.add_typer(recipe, name="recipe", rich_help_panel=LOOK, short_help="Show how papers trained their networks.")


def _version(wanted: bool) -> None:
    if wanted:
        console.plain(f"convatlas {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[bool, typer.Option(
        "--version", metavar="", callback=_version, is_eager=True, rich_help_panel=COMMON, help="Print the version.",
    )] = False,
    debug: Debug = False,
) -> None:
    """Convolutional networks, faithful to their papers: train them, try them, look into them.

    [bold]Begin here[/]
      convatlas train lenet5 digits     on handwritten digits that come along
      convatlas list                    every network
      convatlas info alexnet            its idea, its layers, what its paper says
      convatlas train --help            what a command can do
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: the process's own arguments) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = words[:words.index("--")] if "--" in words else words
    debug = "--debug" in options or os.environ.get("CONVATLAS_DEBUG", "") not in ("", "0")
    for stream in (sys.stdout, sys.stderr):
        # a terminal that lacks a sign gets '?' for it, not a traceback; one that has all, what is not UTF-8 escaped
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace" if stream.encoding.lower() == "utf-8" else "replace")
    console.listen(debug)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except ConvatlasError as error:
        trace, problem, code = traceback.format_exc(), str(error), error.exit_code
    except KeyboardInterrupt:
        console.plain("interrupted", to=console.err)
        return 130
    except BrokenPipeError:                     # `convatlas list | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        trace, problem, code = traceback.format_exc(), f"something unexpected went wrong ({said})", 1
        if isinstance(error, OSError) and error.errno in FULL:      # of what is said here, or of a temporary folder
            where = f" {error.filename!r}" if error.filename else ""
            problem = f"cannot write{where}: {error.strerror}; make room, and start again"
        elif not debug:
            problem += "; run again with --debug for the traceback"
    if debug:
        console.plain(trace.rstrip(), to=console.err)
    console.error(problem)
    return code


def _run(words: list[str]) -> int:
    """Typer's own way out, which prints usage errors, is an exit; here it becomes a number."""
    try:
        app(words, prog_name="convatlas")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    return 0
