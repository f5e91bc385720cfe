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


def test_a_step_that_large_kernels_do_not_bring_far_enough_is_said_to_be_missed(monkeypatch):
    here = page(monkeypatch)
    parts = dict.fromkeys(here["PARTS"], 10.0)
    sides = {side: {"cpu_ms": cpu, "parts_ms": parts} for side, cpu in
             (("torch, channels first", 300.0), ("torch, channels last", 250.0), ("native, channels last", 130.0))}
    row = {"size": 224, "batch": 2, "sides": sides, "step_over_first": 2.3, "step_over_first_by_round": [2.2, 2.4],
           "step_over_last": 1.9, "depthwise_over_first": 5.0, "depthwise_over_last": 2.9,
           "machine": {"cores": 2, "processor": "P", "torch": "2", "python": "3"}}
    text = "\n".join(here["large_kernels"]({"slak_tiny": row}))
    assert "(missed: 2.90× at least)" in text and "Missed by slak_tiny 2.30×" in text
    assert "of whose step depthwise convolutions are 23 %: without them it would be 3.00×" in text
    better = {**row, "step_over_first": 4.1, "depthwise_over_last": 3.0}
    reached = "\n".join(here["large_kernels"]({"slak_tiny": better}))
    assert "Missed by" not in reached and "(reached: 3.00× at least)" in reached
