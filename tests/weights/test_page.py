"""docs/weights.md lists what the tables say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_tables_say():
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    assert page == runpy.run_path(str(ROOT / "benchmarks"
                                      / "weights_page.py"))["page"](page), "uv run python benchmarks/weights_page.py"
