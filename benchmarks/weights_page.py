"""Write the end of docs/weights.md: how long loading takes, from results/load.json, and whose weights load, from the
tables of names and the catalog.

uv run python benchmarks/weights_page.py

That they load, compute the same and go back is tested for each row: uv run pytest tests/weights -m "slow or not slow"
"""

import json
from pathlib import Path

from convatlas.weights import catalog, libraries, peers_of
from convatlas.weights.tables import families

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"
MARK = "<!-- what follows is written by benchmarks/weights_page.py -->"


def times() -> str:
    """What `benchmarks/load.py` measured."""
    tree = json.loads((Path(__file__).parent / "results" / "load.json").read_text(encoding="utf-8"))
    machine = tree["machine"]
    lines = ["## How long it takes", "",
             "Loading a network from a file in the page cache: seconds, and peak memory beyond what the process held",
             "before, in file sizes; medians of rounds in turns, each a process of its own, equal scores "
             f"(`benchmarks/load.py`; {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}).", "",
             "| network | MB | file | the library | seconds, ours | theirs | times faster | memory, ours | theirs |",
             "|---|--:|---|---|--:|--:|--:|--:|--:|"]
    for name, rows in tree["results"].items():
        for pair in rows["ratios"]:
            library, _, kind = pair.replace(" / convatlas,", "").partition(" ")
            ours, theirs = rows[f"convatlas, {kind}"], rows[f"{library}, {kind}"]
            lines.append(f"| `{name}` | {ours['megabytes']:.0f} | {kind} | {library} | {ours['seconds']:.2f} | "
                         f"{theirs['seconds']:.2f} | {rows['ratios'][pair]:.1f} | {ours['memory']:.2f} | "
                         f"{theirs['memory']:.2f} |")
    return "\n".join([*lines, ""])


def table() -> str:
    """The rows, one per network of another library."""
    lines = ["## Whose weights load", "", "| library | its network | ours | built with | public weights known |",
             "|---|---|---|---|---|"]
    for family in families():
        for library in libraries(family):
            for peer in peers_of(family, library):
                fields = ", ".join(f"{name}={value}" for name, value in peer.fields.items())
                known = sum(each.network == peer.name and each.id.startswith(f"{library}/") for each in catalog())
                lines.append(f"| {library} | `{peer.name}` | `{peer.ours}` | {fields} | {known or ''} |")
    return "\n".join([*lines, ""])


def preparations() -> str:
    """Rows of releases whose pictures are prepared alike, with the line that says so."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for family in families():
        for library in libraries(family):
            for peer in peers_of(family, library):
                for each in peer.releases:
                    how = each.preprocess
                    numbers = tuple(", ".join(f"{value:.4g}" for value in values or ()) for values in (how.mean, how.std))
                    classes = ", ".join(map(str, each.classes))
                    order = "blue first" if peer.bgr else ""
                    rows.setdefault((library, *numbers, order, classes, each.source), []).append(f"`{peer.name}`")
    lines = ["## How their pictures are prepared", "",
             "Mean and deviation of pixels in [0, 1], red, green, blue. torchvision's and timm's weights say it with "
             "their names", "(`convatlas list --pretrained`).", "",
             "| library | networks | mean | deviation | | classes, if not the usual number | source |",
             "|---|---|---|---|---|---|---|"]
    for (library, mean, std, order, classes, source), names in rows.items():
        shown = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if names[2:] else "")
        lines.append(f"| {library} | {shown} | {mean} | {std} | {order} | {classes} | {source} |")
    return "\n".join([*lines, ""])


def page(text: str) -> str:
    """The page with its tables anew."""
    return "\n".join([text.partition(MARK)[0] + MARK, "", times(), table(), preparations()])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
