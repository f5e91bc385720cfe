"""The documentation as a site: every page has its place, every public name its entry, and nothing comes from elsewhere.

The site itself is built by `.ci/run`, which takes seconds and the group `docs`.
"""

import re
import runpy
import tomllib

import pytest
from printed import HOUSE

import convatlas

PROJECT = tomllib.loads((HOUSE / "zensical.toml").read_text(encoding="utf-8"))["project"]


def test_every_page_has_its_place():
    def pages(tree):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from [each] if isinstance(each, str) else pages(each)

    assert sorted(pages(PROJECT["nav"])) == sorted(
        ["atlas/index.html", *(path.name for path in (HOUSE / "docs").glob("*.md"))])
    assert PROJECT["theme"]["font"] is False


def test_every_public_name_is_in_the_reference():
    names = re.findall(r"^::: convatlas\.(\w+)$", (HOUSE / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted([*names, "__version__"]) == sorted(convatlas.__all__)


@pytest.mark.parametrize(("page", "found"), [
    ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
    ('<link rel="stylesheet" href="//fonts.example/css?a">', ["//fonts.example/css?a"]),
    ("<p>x<img alt='' src='http://example.org/a.png'></p>", ["http://example.org/a.png"]),
    ('<a href="https://example.org">away</a><link rel="canonical" href="https://example.org"><img src="a//b.png">',
     []),
    ('<script src="./assets/x.js?https://"></script><img src="data:image/png;base64,//8=">', []),
])
def test_what_is_loaded_from_elsewhere_is_found(page, found):
    assert runpy.run_path(str(HOUSE / "benchmarks" / "site.py"))["elsewhere"](page) == found
