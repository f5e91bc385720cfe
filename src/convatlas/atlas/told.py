"""Data of the pages, told by the library: nothing is typed twice."""

from collections.abc import Iterator

from .build import Page, Wanted


def home(wanted: Wanted) -> Iterator[Page]:
    """The first page."""
    yield Page("index.html", "index.html.j2", "convatlas", {"variants": len(wanted.variants)},
               about="Convolutional networks, faithful to their papers, to look at and to touch.")
