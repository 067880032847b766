"""Names beside points that may lie close together: none hides another or a point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

SIZE: Final = 8.0
HEIGHT: Final = 10.0
"""Of a line of text, in points, as everything here."""
MARKER: Final = 4.5
NEAR: Final = 8.0
FAR: Final = 90.0
STEP: Final = 6.0
# Right before left, above before below: where readers look first.
DIRECTIONS: Final = ((1, 0.5), (1, 0), (1, -0.5), (0, 1), (0, -1), (-1, 0.5), (-1, 0), (-1, -0.5))
COST_OF_A_LINE: Final = 20.0
COST_OF_A_BOX: Final = 1000.0
POINTS_OF_A_LINE: Final = 20


Segment = tuple[tuple[float, float], tuple[float, float]]
"""A line along one of the axes, by its ends in the data's coordinates."""


class Point(NamedTuple):
    """What is named: its place in the data's coordinates, its name and its colour."""

    x: float
    y: float
    name: str
    colour: str


class _Box(NamedTuple):
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.top <= other.bottom or other.top <= self.bottom)

    def holds(self, x: float, y: float) -> bool:
        return bool(self.left < x < self.right and self.bottom < y < self.top)

    def lies_in(self, other: _Box) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


def label_points(axes: Axes, points: Sequence[Point], segments: Sequence[Segment] = ()) -> None:
    """Write each name where it hides nothing, as near as possible, with a line to its point.

    Call it when limits and layout of the figure are final (`Figure.draw_without_rendering`).

    Parameters
    ----------
    axes
        Panel in which the points are drawn.
    points
        Points to name, in the order in which they choose their places.
    segments
        Lines that names should not cross.
    """
    scale = 72 / axes.figure.dpi
    frame = _Box(*(scale * edge for edge in axes.bbox.extents))
    places = [scale * axes.transData.transform((point.x, point.y)) for point in points]
    taken = [_Box(x - MARKER, y - MARKER, x + MARKER, y + MARKER) for x, y in places]
    ends = [scale * axes.transData.transform(segment) for segment in segments]
    lines = [_Box(*(end.min(axis=0) - 0.5), *(end.max(axis=0) + 0.5)) for end in ends]
    for point, (x, y) in zip(points, places, strict=True):
        width = TextPath((0, 0), point.name, prop=FontProperties(size=SIZE)).get_extents().width
        # A line to the point starts in its own marker, and may cross no other and no name.
        others = [other for other in taken if not other.holds(x, y)]
        costs = {
            box: near + _cost(box, frame, taken, lines) + COST_OF_A_LINE * _crossed((x, y), box, others)
            for near, box in _candidates(x, y, width)
        }
        box = min(costs, key=costs.__getitem__)
        taken.append(box)
        _write(axes, point, (box.left - x, (box.bottom + box.top) / 2 - y))


def _candidates(x: float, y: float, width: float) -> list[tuple[float, _Box]]:
    """Return places for a name around a point, with their distances."""
    found = []
    steps = [NEAR + STEP * number for number in range(int((FAR - NEAR) / STEP))]
    for distance, (right, up) in product(steps, DIRECTIONS):
        left = x + distance * right - {1: 0.0, 0: width / 2, -1: width}[right]
        bottom = y + (distance + HEIGHT / 2) * up - HEIGHT / 2
        found.append((distance, _Box(left, bottom, left + width, bottom + HEIGHT)))
    return found


def _cost(box: _Box, frame: _Box, taken: Sequence[_Box], lines: Sequence[_Box]) -> float:
    hidden = sum(box.meets(other) for other in taken) + (not box.lies_in(frame))
    return COST_OF_A_BOX * hidden + COST_OF_A_LINE * sum(box.meets(line) for line in lines)


def _crossed(point: tuple[float, float], box: _Box, others: Sequence[_Box]) -> int:
    """Count what lies under the line from a point to the middle of its name."""
    middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
    shares = [number / POINTS_OF_A_LINE for number in range(POINTS_OF_A_LINE)]
    line = [tuple(a + share * (b - a) for a, b in zip(point, middle, strict=True)) for share in shares]
    return sum(any(other.holds(*place) for place in line) for other in others)


def _write(axes: Axes, point: Point, offset: tuple[float, float]) -> None:
    line = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.8, "shrinkA": 0, "shrinkB": MARKER}
    text = axes.annotate(
        point.name,
        (point.x, point.y),
        offset,
        textcoords="offset points",
        fontsize=SIZE,
        va="center",
        arrowprops=line,
        zorder=4,
    )
    text.set_in_layout(False)
