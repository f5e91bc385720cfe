"""From the words of `convatlas train` to the Run they ask for; mistakes in them are reported before torch loads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConvatlasError
from ..net.described import names_file
from ..recipes import recipe as read
from ..run import Data, Model, Run, assignment, dotted, resolve, said
from ..runs.folder import check_resume, run_of

if TYPE_CHECKING:
    from ..tasks.fit import Choice

UNSAID = Run(model=Model(name=""), data=Data(source=""))

Flags = Sequence[tuple[str, Any]]       # ("optim.lr", 0.05); None where the flag was not given


def configured(flags: Flags, *, recipe: str | None, config: Path | None,
               sets: Sequence[str]) -> tuple[Run, "Choice | None"]:
    """A new run: recipe < config file < flags < `--set`. The recipe: as named, the file's, or the one chosen for the
    network and the data, which comes second.
    """
    asked = resolve(UNSAID, config=config, flags=dotted(flags), sets=sets)
    if names_file(asked.model.name):
        from ..zoo import of_registered  # the networks, and with them torch

        asked = of_registered(asked)
        flags = [*flags, ("model.name", asked.model.name),
                 *((f"model.fields.{field}", value) for field, value in asked.model.fields.items())]
    name, choice = recipe or asked.recipe, None
    if not name and asked.model.name:
        from ..tasks.fit import choose  # the networks, and with them torch

        choice = choose(asked.model.name, asked.data.source or "digits", asked.model.weights,
                        said(config, dotted(flags), sets))
        name = choice.recipe
    if name:
        base = read(name) if choice is None else read(name).change("model.name", asked.model.name)
    else:
        raise ConvatlasError("no network is named: say which, for example `convatlas train lenet5 digits`"
                             " (`convatlas list` shows all)")
    return resolve(base.change("data.source", "digits"), config=config,
                   flags=dotted([*flags, ("recipe", base.recipe)]), sets=sets), choice


def resumed(folder: Path, flags: Flags, *, recipe: str | None, config: Path | None, sets: Sequence[str]) -> Run:
    """The run in `folder`, going on; what would make another run of it is refused."""
    after = resolve(run_of(folder), config=config, flags=dotted([*flags, ("recipe", recipe)]), sets=sets)
    check_resume(folder, after)
    return after


def preparation(sets: Sequence[str] | None) -> dict[str, Any]:
    """`--set preprocess.mean=…` as `{"mean": …}`; anything else is refused."""
    changes: dict[str, Any] = {}
    for text in sets or ():
        over = assignment(text)
        if not isinstance(over.get("preprocess"), dict):
            raise ConvatlasError(f"--set {text!r} is refused: here it changes how pictures are prepared, for example "
                                 "preprocess.mean=0.485,0.456,0.406")
        changes |= over["preprocess"]
    return changes


def image_size(text: str | None) -> int | list[int] | None:
    """`224`, or `224x192`: height x width."""
    if text is None:
        return None
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ConvatlasError(f"--image-size takes one number or HEIGHTxWIDTH, for example 224 or 224x192, not {text!r}")
    return [int(side) for side in sides] if len(sides) == 2 else int(text)
