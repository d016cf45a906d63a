"""A map with a road far from everything else: valid, but refused by what would index all the land between."""

import dataclasses

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.driving.road_grid import GridConfig, joined, road_grid
from mairl.driving.segments import segments
from mairl.driving.world import worlds_of
from mairl.scenarios import build
from mairl.scenarios.validate import validated
from mairl.testing.scenarios import made_scenario


def with_line_at(x: float, y: float):
    """A scenario with ten metres of a road line at a place, metres."""
    made = made_scenario(0)
    line = np.array([[x, y, 0], [x + 10, y, 0]], np.float32)
    lines = build.polylines([line], ["stray"], [1])
    lines = dataclasses.replace(lines, points=lines.points.astype(np.float32))
    return validated(dataclasses.replace(made, map=dataclasses.replace(made.map, lines=lines)))


def test_a_stray_line_is_named_with_the_size_of_the_map():
    with pytest.raises(InvalidData, match=r"60\.\d by 60\.\d km, that is 14\d,\d+,\d+ cells of 5 m"):
        worlds_of([with_line_at(6e4, 6e4)])


def test_maps_are_refused_that_are_too_large_only_together():
    grids = [road_grid(segments(with_line_at(x, y).map), GridConfig()) for x, y in ((3e4, 0.0), (0.0, 3e4))]
    with pytest.raises(InvalidData, match="the maps together span 30"):
        joined(grids)


def test_large_maps_are_indexed():
    assert len(worlds_of([with_line_at(9e3, 9e3)])[0]) == 1
