"""Figures and pictures on their own: what they draw, and that they leave nothing behind."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from convatlas.draw.markup import duration
from convatlas.draw.plots import COLORS, best_row, confusion, curves, filter_pictures, svg, to_image


def rows(count, **changed):
    base = {"lr": 0.1, "train_loss": 1.0, "train_top1": 0.5, "val_loss": 1.0, "val_top1": 0.5}
    return [{"epoch": e, **base, **{name: values[e - 1] for name, values in changed.items()}}
            for e in range(1, count + 1)]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_best_row_is_the_most_accurate_then_the_least_loss_then_the_first():
    table = rows(4, val_top1=[0.8, 0.9, 0.9, 0.9], val_loss=[0.1, 0.4, 0.3, 0.3])
    assert best_row(table)["epoch"] == 3
    assert best_row([]) is None


def test_curves_hold_the_numbers():
    figure = curves(rows(3, train_top1=[0.5, 0.7, 0.9], val_top1=[0.4, 0.6, 0.55]))
    assert [texts(axes)[-2] for axes in figure.axes] == ["Loss", "Top-1 error", "Learning rate"]
    error = figure.axes[1]
    training, validation = error.lines[1], error.lines[2]       # the first is the mark of the best epoch
    np.testing.assert_allclose(training.get_ydata(), [50, 30, 10])
    np.testing.assert_allclose(validation.get_ydata(), [60, 40, 45])
    assert "40 % at epoch 2" in texts(error)


def test_wide_ranges_are_logarithmic_and_zero_is_still_there():
    loss, error, _ = curves(rows(3, train_loss=[2, 0.2, 0.02], train_top1=[0.5, 0.99, 1.0])).axes
    assert loss.get_yscale() == "symlog" and min(loss.get_yticks()) > 0
    assert error.get_yscale() == "symlog" and error.get_ylim()[0] == 0 and error.get_yticks()[0] == 0
    assert curves(rows(3, train_loss=[2, 1, 0.5])).axes[0].get_yscale() == "linear"


def test_a_rate_in_steps_is_logarithmic_a_cosine_is_not():
    steps = [0.1] * 4 + [0.001] * 4
    cosine = [0.1, 0.09, 0.07, 0.05, 0.03, 0.01, 0.001, 0.0001]
    assert [curves(rows(8, lr=lr), ["lr"]).axes[0].get_yscale() for lr in (steps, cosine)] == ["symlog", "linear"]


def test_labels_at_the_ends_do_not_overlap():
    axes = curves(rows(5), ["loss"]).axes[0]
    heights = [text.get_position()[1] for text in axes.texts if text.get_text() in ("training", "validation")]
    assert len(heights) == 2 and abs(heights[0] - heights[1]) >= 0.0899


@pytest.mark.parametrize("table", [
    [], rows(1), rows(2, val_loss=[float("nan"), float("inf")]), rows(2, train_loss=[0, 0], val_loss=[0, 0]),
    rows(2, val_loss=[-1, -2], train_loss=[-1, -3]), rows(300),
])
def test_any_rows_can_be_drawn(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert svg(curves(table), "c", "Curves").endswith("</svg>")


def test_confusion_shows_every_count():
    matrix = torch.tensor([[8, 2, 0], [0, 5, 0], [1, 0, 1234]])
    axes = confusion(matrix, ["a", "b", "a very long name of a class"]).axes[0]
    numbers = [text for text in texts(axes) if text.isdigit()]
    assert sorted(map(int, numbers)) == [1, 2, 5, 8, 1234]
    assert "a very long nam…" in texts(axes) and len(axes.patches) == 5
    with pytest.raises(ValueError, match="does not fit 2 classes"):
        confusion(matrix, ["a", "b"])


def test_a_larger_share_of_mistakes_is_darker():
    matrix = torch.tensor([[50, 40, 10], [0, 100, 0], [0, 0, 0]])
    patches = {(int(p.get_x()), int(p.get_y())): p for p in confusion(matrix, list("abc")).axes[0].patches}
    assert patches[1, 0].get_alpha() > patches[2, 0].get_alpha() > 0.2
    assert patches[0, 0].get_facecolor()[:3] == patches[1, 1].get_facecolor()[:3] != patches[1, 0].get_facecolor()[:3]


def test_names_are_not_mathematics_and_missing_glyphs_are_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = svg(confusion(torch.eye(2, dtype=torch.int64), ["$\\frac", "猫<"]), "c", "<t>")
    assert "$\\frac" in drawn and "猫&lt;" in drawn and 'aria-label="&lt;t&gt;"' in drawn


def test_svg_is_the_same_twice_and_has_no_colour_of_its_own():
    first, second = (svg(curves(rows(5)), "x", "t") for _ in range(2))
    assert first == second and "font-family" not in first and "metadata" not in first
    assert not [color for color in COLORS.values() if color in first]


def test_filters_are_scaled_one_by_one_around_grey():
    filters = torch.zeros(3, 1, 2, 2)
    filters[0, 0, 0], filters[1, 0, 0, 1], filters[1, 0, 1, 1] = 0.001, 5.0, -5.0
    first, second, blank = (np.asarray(picture) for picture in filter_pictures(filters))
    assert first.tolist() == [[255, 255], [128, 128]] and second.tolist() == [[128, 255], [128, 0]]
    assert (blank == 128).all()


@pytest.mark.parametrize("cin, mode", [(1, "L"), (3, "RGB"), (2, "L"), (64, "L")])
def test_filters_by_channels(cin, mode):
    pictures = filter_pictures(torch.randn(100, cin, 7, 5), limit=20)
    assert len(pictures) == 20 and {(picture.mode, picture.size) for picture in pictures} == {(mode, (5, 7))}


def test_filters_that_diverged_can_still_be_drawn():
    assert len(filter_pictures(torch.full((2, 1, 3, 3), float("nan")))) == 2
    with pytest.raises(ValueError, match="cout, cin, h, w"):
        filter_pictures(torch.zeros(3, 3))


@pytest.mark.parametrize("channels, mode", [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGBA")])
def test_pictures_by_channels(channels, mode):
    pixels = torch.randint(0, 256, (channels, 6, 4), dtype=torch.uint8)
    picture = to_image(pixels)
    assert picture.mode == mode and picture.size == (4, 6)
    if channels == 3:
        assert picture.getpixel((1, 2)) == tuple(pixels[:, 2, 1].tolist())


def test_matplotlib_is_left_as_it_was_and_imported_late():
    code = ("import sys, torch; from convatlas.draw import plots; from convatlas.inspect import report\n"
            "assert 'matplotlib' not in sys.modules\n"
            "import matplotlib as m; m.rcParams['lines.linewidth'] = 7\n"
            "plots.svg(plots.confusion(torch.eye(3, dtype=torch.int64), list('abc')), 'c', 't')\n"
            "assert m.rcParams['lines.linewidth'] == 7 and m.rcParams['svg.fonttype'] == 'path' and not "
            "m.rcParams['svg.hashsalt']\nassert 'matplotlib.pyplot' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("seconds, said", [(8.44, "8.4 s"), (59.97, "1 min 00 s"), (192, "3 min 12 s"),
                                           (7500, "2 h 05 min")])
def test_durations(seconds, said):
    assert duration(seconds) == said
