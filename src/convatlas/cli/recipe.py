"""`convatlas recipe list` and `convatlas recipe show`."""

from typing import Annotated

import typer
from rich.markup import escape

from . import console
from .options import COMMON, Debug, Json, argument, switch

recipe = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@recipe.callback()
def top() -> None:
    """Show recipes: how a paper trained its network, as `convatlas train` follows it.

    [bold]Examples[/]
      convatlas recipe list
      convatlas recipe show lenet5
      convatlas recipe show modern --full > mine.yaml
      convatlas train -c mine.yaml
    """


@recipe.command("list")
def list_recipes(debug: Debug = False, json: Json = False) -> None:
    """List the recipes: what each is, and its chief figures."""
    from ..recipes import about, names
    from ..recipes import recipe as read

    runs = {name: read(name) for name in names()}
    titles = {name: about(name).partition("\n")[0].rstrip(".") for name in runs}
    if json:
        console.document([{"name": name, "title": titles[name], "run": run.model_dump(mode="json")}
                          for name, run in runs.items()])
        return
    table = console.table("recipe", "what", "paper", "optimiser", ">lr", "schedule", ">epochs", ">batch")
    for name, run in runs.items():
        what, _, source = titles[name].partition(" — ")
        paper = source.partition(",")[0]        # the section is in `recipe show`
        table.add_row(f"[bold cyan]{name}[/]", escape(what), escape(paper), run.optim.name, f"{run.optim.lr:g}",
                      run.schedule.name, str(run.train.epochs), str(run.data.batch_size))
    console.out.print(table)


@recipe.command("show")
def show(
    name: Annotated[str, argument("NAME", "A name that [bold]convatlas recipe list[/] shows.")],
    full: Annotated[bool, switch("--full", panel=COMMON, help="Every field, also those that the recipe leaves as they "
                                 "are.")] = False,
    debug: Debug = False,
    json: Json = False,
) -> None:
    """Print a recipe as YAML that `convatlas train --config` reads, with its source in the comment above it."""
    import yaml

    from ..recipes import about
    from ..recipes import recipe as read

    run = read(name)
    source = "".join(f"# {line}".rstrip() + "\n" for line in about(name).splitlines())
    said = run.model_dump(mode="json", exclude_unset=not full)
    if json:
        console.document({"name": name, "about": about(name), "run": said})
        return
    short = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    console.plain(source + (run.to_yaml() if full else short).rstrip())
