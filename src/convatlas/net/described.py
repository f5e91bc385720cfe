"""Networks as files: YAML that names a registered variant and what is changed in it, such as the rows of its table.

Such a file stands wherever a variant's name does, and is a configuration too, with nothing but `model`. Imports no
torch.
"""

from collections.abc import Mapping
from pathlib import Path

from .. import bounded
from ..errors import ConvatlasError
from ..files import put
from ..run import FORMAT, Model, build, parse_yaml, written

SUFFIXES = (".yaml", ".yml")


def names_file(text: str) -> bool:
    """True for a name of a network that can only be such a file's."""
    return text.endswith(SUFFIXES)


def read(path: str | Path) -> Model:
    """The network of a file, with no look at whether there is such a variant; a ConvatlasError where it has none, or
    more than a network.
    """
    try:
        tree = parse_yaml(bounded.text(Path(path).expanduser()), str(path))
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"cannot read the network that {str(path)!r} describes: {error}") from error
    said = build(tree, str(path)).model
    if {*tree} != {"model"} or not {"name"} <= said.model_fields_set <= {"name", "fields"}:
        raise ConvatlasError(f"{path} is no network's description, which has `model` with `name`, a variant, and "
                             "`fields`, what is changed in it, and no more; a whole configuration goes with --config")
    if names_file(said.name):
        raise ConvatlasError(f"{path} describes a network by another file, {said.name!r}: name a variant there "
                             "(`convatlas list`)")
    return said


def write(path: Path, model: Model, head: str = "") -> Path:
    """Write such a file: `head` as comments, then one line per field, and one per row of a table."""
    lines = [*(f"# {line}".rstrip() for line in head.splitlines()), f"format: {FORMAT}", "model:",
             f"  name: {model.name}", "  fields:" if model.fields else "  fields: {}"]
    for name, value in model.fields.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"    {name}:", *(f"    - {written(row)}" for row in value)]
        else:
            lines.append(f"    {name}: {written(value)}")
    return put(path, "\n".join(lines) + "\n", parents=True)
