"""Overlaid curves: the numbers they hold, what stands at the lines' ends, and what is refused."""

import math

import numpy as np
import pytest

from convatlas.errors import ConvatlasError
from convatlas.inspect.curves import PALETTE, overlay, save, smoothed, spread


def rows(*accuracies):
    return [{"epoch": e, "step": 10 * e, "seconds": 100 * e, "val_top1": accuracy, "train_loss": 1 / e, "lr": 0.1}
            for e, accuracy in enumerate(accuracies, 1)]


def line(axes, color):
    """The longest solid line of a colour: not the thin one to its name, nor a mark."""
    wide = [each for each in axes.lines if each.get_color() == color and each.get_linewidth() > 1.5]
    return max(wide, key=lambda each: len(each.get_xdata()))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_lines_names_and_best_points():
    error, loss = overlay({"one": rows(0.5, 0.9, 0.8), "two": rows(0.6, 0.7)}).axes
    np.testing.assert_allclose(line(error, PALETTE[0]).get_ydata(), [50, 10, 20])
    np.testing.assert_allclose(line(loss, PALETTE[1]).get_ydata(), [1, 0.5])
    assert {"one  10 %", "two  30 %", "Validation error"} <= set(texts(error)) and "one  0.333" in texts(loss)
    marks = [(each.get_xdata()[0], round(each.get_ydata()[0], 6)) for each in error.lines if each.get_marker() == "o"]
    assert marks == [(2, 10), (2, 30)]


def test_what_runs_to_the_right():
    graphs = [overlay({"one": rows(0.5, 0.9)}, ["val_top1"], x=x).axes[0] for x in ("epoch", "step", "seconds")]
    times = [line(axes, PALETTE[0]).get_xdata() for axes in graphs]
    np.testing.assert_allclose(times, [[1, 2], [10, 20], [100 / 60, 200 / 60]])


def test_smoothing_keeps_the_raw_line():
    axes = overlay({"one": rows(0.5, 0.9, 0.8)}, ["val_top1"], smooth=0.5).axes[0]
    np.testing.assert_allclose(line(axes, PALETTE[0]).get_ydata(), [50, 70 / 3, 150 / 7])
    assert any(np.allclose(each.get_ydata(), [50, 10, 20]) for each in axes.lines
               if len(each.get_ydata()) == 3 and each.get_alpha())
    assert smoothed([2, math.nan, 2], 0.9) == pytest.approx([2, 2, 2])
    assert math.isnan(smoothed([math.nan], 0.9)[0])


def test_names_are_kept_apart_and_move_little():
    assert spread([0.2, 0.8], 0.1) == [0.2, 0.8]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0, 1.0], 0.1) == pytest.approx([0.0, 0.1, 1.0])
    random = sorted(np.random.default_rng(0).random(9))
    heights = spread(random, 0.1)
    assert min(np.diff(heights)) > 0.1 - 1e-9 and heights[0] >= 0 and heights[-1] <= 1 + 1e-9


def test_a_shared_date_is_not_repeated():
    def ends(*names):
        return [text for text in texts(overlay(dict.fromkeys(names, rows(0.5)), ["val_top1"]).axes[0])
                if "50 %" in text]

    assert ends("2026-11-23-a", "2026-11-23-b") == ["a  50 %", "b  50 %"]
    assert ends("2026-11-23-a", "2026-11-24-b") == ["2026-11-23-a  50 %", "2026-11-24-b  50 %"]


def test_many_runs_and_lonely_points_are_drawn():
    runs = {f"run {i}": rows(*[0.5 + 0.02 * i] * 3) for i in range(20)} | {"new": rows(0.4), "empty": [],
                                                                           "lost": rows(math.nan, math.nan)}
    axes = overlay(runs, ["val_top1"]).axes[0]
    assert sum("run" in text for text in texts(axes)) == 20
    assert not any("empty" in text or "lost" in text for text in texts(axes))


def test_refusals(tmp_path):
    with pytest.raises(ConvatlasError, match="did you mean 'val_top1'"):
        overlay({"one": rows(0.5)}, ["val_top"])
    with pytest.raises(ConvatlasError, match="none of 'one' has finished an epoch"):
        overlay({"one": []})
    with pytest.raises(ConvatlasError, match="--smooth 1 is refused"):
        overlay({"one": rows(0.5)}, smooth=1)
    with pytest.raises(ConvatlasError, match=r"one of .png, .svg, .pdf"):
        save({"one": rows(0.5)}, tmp_path / "curves.bmp")


def test_files(tmp_path):
    save({"one": rows(0.5, 0.9)}, tmp_path / "new/c.png")
    assert (tmp_path / "new/c.png").read_bytes()[:4] == b"\x89PNG"
