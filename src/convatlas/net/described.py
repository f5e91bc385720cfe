"""Networks as files: YAML that names a registered variant and the fields that it changes, such as the rows of its
table.

Such a file stands wherever a variant's name does. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import bounded
from ..errors import ConvatlasError
from ..files import put
from ..run import parse_yaml, written

SUFFIXES = (".yaml", ".yml")
COUNTS = ("params", "macs")     # of the network as described; what a file says must be so


@dataclass(frozen=True)
class Described:
    """The content of such a file."""

    model: str                      # the registered variant
    fields: Mapping[str, Any]       # that it changes
    counts: Mapping[str, int]       # of `COUNTS`, what the file says


def names_file(text: str) -> bool:
    """True for a name of a network that can only be such a file's."""
    return text.endswith(SUFFIXES)


def read(path: str | Path) -> Described:
    """The content of a file, with no look at whether there is such a variant; a ConvatlasError where it is none."""
    try:
        tree = parse_yaml(bounded.text(Path(path).expanduser()), str(path))
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"cannot read the network that {str(path)!r} describes: {error}") from error
    model, fields = tree.pop("model", None), tree.pop("fields", {})
    counts = {name: tree.pop(name) for name in COUNTS if name in tree}
    if not isinstance(model, str) or names_file(model) or not isinstance(fields, dict) or tree or not all(
            isinstance(count, int) for count in counts.values()):
        raise ConvatlasError(f"{path} does not describe a network: it has `model`, the name of a variant, `fields`, a "
                             "mapping of what is changed in it, perhaps `params` and `macs`, whole numbers, and no "
                             "more")
    return Described(model, fields, counts)


def write(path: Path, told: Described, head: str = "") -> Path:
    """Write such a file: `head` as comments, then one line per field, and one per row of a table."""
    lines = [*(f"# {line}".rstrip() for line in head.splitlines()), "format: 1", f"model: {told.model}",
             *(f"{name}: {count}" for name, count in told.counts.items()), "fields:"]
    for name, value in told.fields.items():
        rows = isinstance(value, list) and value and isinstance(value[0], Mapping)
        lines += [f"  {name}:", *(f"  - {written(row)}" for row in value)] if rows else [f"  {name}: {written(value)}"]
    return put(path, "\n".join(lines) + "\n", parents=True)
