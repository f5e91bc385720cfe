"""docs/training-speed.md says what benchmarks/results hold, and what was missed is said to be missed."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def page(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return runpy.run_path(str(ROOT / "benchmarks" / "speed_page.py"))


def test_the_page_is_what_was_measured(monkeypatch):
    """It drifts unless somebody runs benchmarks/speed_page.py."""
    assert page(monkeypatch)["page"]() == (ROOT / "docs" / "training-speed.md").read_text(encoding="utf-8")


def test_a_missed_target_is_explained(monkeypatch):
    here = page(monkeypatch)
    side = {"images_per_second": 10.0, "over_theirs_by_round": [1.9, 2.1], "first_round_seconds": 31.0}
    sides = {name: {**side, "over_theirs": ratio} for name, ratio in
             (("theirs", 1.0), ("theirs, no data", 1.95), ("ours", 2.0), ("bf16", 2.3), ("compiled", 2.5))}
    row = {"ours": "lenet5_modern", "size": 32, "batch": 64, "target": 2.2, "sides": sides}
    profiles = {"lenet5": {"ours": {"milliseconds_per_step": 3.0, "per_cent": {"convolutions": 60.0, "data": 0.4}}}}
    assert "2.2×, **missed**" in here["step_table"]({"lenet5": row})[-1]
    (text, _) = here["step_misses"]({"lenet5": row}, profiles)
    assert ("misses 2.2×: 2.00×" in text and "1.95×" in text and "convolutions 60 %" in text
            and "data" not in text.split("profiler:")[1])
    assert "2.50×, after 31 s" in text
    assert here["step_misses"]({"lenet5": {**row, "target": 1.9}}, profiles) == []
