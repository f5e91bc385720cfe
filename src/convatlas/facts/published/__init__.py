"""The published figures: one `.jsonl` file per architecture file, one figure per line."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import Field, JsonValue

from ...run import Record


class Fact(Record):
    """One figure: what, of which network, as printed where."""

    variant: str                    # the registered name, or the name it would have
    fact: str                       # 'params', 'macs', 'output', 'test_error_pct' …
    value: JsonValue
    source: str
    # what its specification differs in from the registered one: {"image_size": 192}
    fields: dict[str, Any] = Field({})
    layer: str = ""                 # the module it speaks of; '' is the whole network
    digits: int | None = None       # significant digits as printed; None is exact
    protocol: str = ""              # how it was measured, where that matters
    note: str = ""
    contested: str = ""             # what disagrees with it, and which we build

    @property
    def label(self) -> str:
        """The fact with its layer and its fields: `params of stages.1.c3`, `macs, width=2.0`."""
        return (self.fact + (f" of {self.layer}" if self.layer else "")
                + "".join(f", {field}={value}" for field, value in self.fields.items()))


@cache
def published() -> tuple[Fact, ...]:
    """Every figure, in the order of the files."""
    tables = sorted((file for file in files(__name__).iterdir() if file.name.endswith(".jsonl")),
                    key=lambda file: file.name)
    lines = [line for table in tables for line in table.read_text(encoding="utf-8").splitlines() if line]
    return tuple(Fact.model_validate(json.loads(line)) for line in lines)
