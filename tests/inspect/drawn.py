"""What stands on a figure, and whether all of it can be read."""

from matplotlib.backends.backend_agg import FigureCanvasAgg


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def ticks(axes):
    """The labels of the ticks within the axes' limits."""
    sides = ((axes.get_xticks(), axes.get_xticklabels(), axes.get_xlim()), (axes.get_yticks(), axes.get_yticklabels(), axes.get_ylim()))
    return [label for places, labels, ends in sides for place, label in zip(places, labels, strict=True)
            if axes.axison and min(ends) <= place <= max(ends)]


def assert_readable(figure):
    """No word sticks out of the figure, and no two overlap."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    shown = [text for axes in figure.axes for text in (*axes.texts, *ticks(axes)) if text.get_text() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    for name, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, f"{name!r} is cut off"
    for i, (name, box) in enumerate(boxes):
        for other, second in boxes[:i]:
            wide = min(box.x1, second.x1) - max(box.x0, second.x0)
            high = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert wide < 2 or high < 3, f"{name!r} lies over {other!r}"
