"""Labels beside points: none lies on another, on the ink, or outside the axes."""

from __future__ import annotations

import numpy as np

from workbench import style
from workbench.figures import labels


def test_labels_touch_nothing() -> None:
    with style.paper():
        figure = style.new_figure(3.25, 2)
        ax = figure.add_subplot()
        ax.set(xlim=(0, 1), ylim=(0, 1))
        points = [labels.Point(0.5 + dx, 0.5, 0.02, 0.1, f"label {i}", "black") for i, dx in enumerate((0, 0.05, 0.1))]
        found = labels.find_places(ax, points)
        assert found is not None
        boxes = np.stack([places.box[k] for places, k in found])
        ink = np.concatenate([labels._ink(ax, p) for p in points])
        assert labels.overlap(boxes, ink).max() < 1
        assert np.count_nonzero(labels.overlap(boxes, boxes)) == len(points)  # each with itself
        np.testing.assert_allclose(
            labels.overlap(boxes, ax.bbox.extents[None])[:, 0], np.diag(labels.overlap(boxes, boxes))
        )
