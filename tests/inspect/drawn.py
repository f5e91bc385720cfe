"""What stands on a figure, and whether all of it can be read."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


def words(figure):
    return [text.get_text() for text in (*figure.texts, *(text for axes in figure.axes for text in axes.texts))]


def ticks(axes):
    """The labels of the ticks within the axes' limits."""
    sides = ((axes.get_xticks(), axes.get_xticklabels(), axes.get_xlim()),
             (axes.get_yticks(), axes.get_yticklabels(), axes.get_ylim()))
    return [label for places, labels, ends in sides for place, label in zip(places, labels, strict=True)
            if axes.axison and min(ends) <= place <= max(ends)]


def assert_readable(figure):
    """No word sticks out of the figure, and no two overlap."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    all_of_it = (*figure.texts, *(text for axes in figure.axes for text in (*axes.texts, *ticks(axes))))
    shown = [text for text in all_of_it if text.get_text() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    for name, box in boxes:
        assert (box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1
                and box.y1 <= figure.bbox.y1), f"{name!r} is cut off"
    low, high = (np.array([getattr(box, side) for _, box in boxes]) for side in ("min", "max"))
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)    # (n, n, 2): of every two, wide and high
    over = np.triu((shared[..., 0] >= 2) & (shared[..., 1] >= 3), 1)
    assert not over.any(), " lies over ".join(repr(boxes[i][0]) for i in np.argwhere(over)[0])
