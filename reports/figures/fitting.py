"""Room at the left of a figure for what stands beside its axes, whose width its numbers decide."""

from matplotlib.figure import Figure

_MARGIN = 0.02


def fit(figure: Figure) -> None:
    """Narrow all axes from the left until no label or number is cut off there."""
    lacking = (_MARGIN - figure.get_tightbbox().x0) / figure.get_figwidth()
    if lacking <= 0:
        return
    boxes = [axis.get_position() for axis in figure.axes]
    left, right = min(box.x0 for box in boxes), max(box.x1 for box in boxes)
    share = 1 - lacking / (right - left)
    for axis, box in zip(figure.axes, boxes, strict=True):
        start = right - (right - box.x0) * share
        axis.set_position((start, box.y0, box.width * share, box.height))
