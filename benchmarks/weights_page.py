"""Write the table at the end of docs/weights.md: whose weights load, network by network, from the tables of names and the catalog.

uv run python benchmarks/weights_page.py

That they load, compute the same and go back is tested for each row: uv run pytest tests/weights -m "slow or not slow"
"""

from pathlib import Path

from convatlas.weights import catalog, libraries, peers_of
from convatlas.weights.tables import families

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"
MARK = "<!-- what follows is written by benchmarks/weights_page.py -->"


def table() -> str:
    """The rows, one per network of another library."""
    lines = [MARK, "", "| library | its network | ours | built with | public weights known |", "|---|---|---|---|---|"]
    for family in families():
        for library in libraries(family):
            for peer in peers_of(family, library):
                fields = ", ".join(f"{name}={value}" for name, value in peer.fields.items())
                known = sum(each.network == peer.name and each.id.startswith(f"{library}/") for each in catalog())
                lines.append(f"| {library} | `{peer.name}` | `{peer.ours}` | {fields} | {known or ''} |")
    return "\n".join([*lines, ""])


def page(text: str) -> str:
    """The page with the table anew."""
    return text.partition(MARK)[0] + table()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
