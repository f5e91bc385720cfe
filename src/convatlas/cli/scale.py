"""`convatlas scale`: networks scaled to a budget, see `scaling/`."""

import typer

from .scaling.apply import apply
from .scaling.baseline import baseline
from .scaling.budget import budget
from .scaling.search import search

scale = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

COMMANDS = (
    ("budget", budget, "The networks that the rule gives, or the one that a budget reaches."),
    ("search", search, "Find on your data the ratio in which depth, width and resolution grow."),
    ("apply", apply, "Train the larger networks of a search's ratio, and say whether it held."),
    ("baseline", baseline, "Find a small network by search, for your data and your budget."),
)
for _name, _function, _brief in COMMANDS:
    scale.command(_name, short_help=_brief)(_function)


@scale.callback()
def top() -> None:
    """Scale a network in depth, width and resolution together, as EfficientNet was: start small, find the ratio once,
    then spend any budget.

    [bold]Examples[/]
      convatlas scale budget efficientnet_b0 --phi 0..7
      convatlas scale budget mobilenet_v2 --macs 1G --out mobile.yaml
    """
