"""Build the documentation as a site, build/site: links checked, and nothing in it from elsewhere.

uv run --group docs python benchmarks/site.py              # with the atlas, build/site/atlas: minutes
uv run --group docs python benchmarks/site.py --pages      # the pages alone, whose link to the atlas then leads nowhere

Zensical, by the authors of Material for MkDocs, reads the pages; mkdocstrings takes the reference from the docstrings.
`uv run --group docs zensical serve` shows a page while it is written.
"""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

HOUSE = Path(__file__).parents[1]
SITE = HOUSE / "build" / "site"
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "link": "href"}


class Loading(HTMLParser):
    """The addresses that a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what an element loads; a link to another page is no load."""
        given = dict(attrs)
        address = given.get(LOADED.get(tag, "")) or ""
        if address and not (tag == "link" and given.get("rel") in ("canonical", "prev", "next", "alternate")):
            self.addresses.append(address)


def elsewhere(page: str) -> list[str]:
    """What the page loads from another origin."""
    seen = Loading()
    seen.feed(page)
    return [each for each in seen.addresses if re.match(r"(https?:)?//", each)]


def main() -> None:
    """Build, and look through every page."""
    zensical = shutil.which("zensical", path=str(Path(sys.executable).parent)) or sys.exit(
        "needs Zensical: uv run --group docs python benchmarks/site.py")
    subprocess.run([zensical, "build", "--clean", "--strict"], cwd=HOUSE, check=True)
    if "--pages" not in sys.argv[1:]:
        subprocess.run([sys.executable, "-m", "convatlas", "atlas", "--out", SITE / "atlas"], check=True)
    pages = sorted(SITE.rglob("*.html"))
    found = [f"{page.relative_to(SITE)}: {address}" for page in pages for address in elsewhere(page.read_text("utf-8"))]
    if found:
        sys.exit("loaded from elsewhere:\n" + "\n".join(found))
    size = sum(file.stat().st_size for file in SITE.rglob("*") if file.is_file())
    print(f"{len(pages)} pages, {size / 1e6:.1f} MB, nothing from elsewhere: {SITE}")


if __name__ == "__main__":
    main()
