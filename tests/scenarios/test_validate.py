"""Scenarios: what is made is valid, and each planted fault is named."""

import dataclasses

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios.build import wrapped
from mairl.scenarios.validate import validated
from mairl.testing.scenarios import made_scenario


def test_recentring_keeps_world_positions_and_clears_what_is_not_valid():
    scenario = made_scenario(3)
    assert scenario.tracks.position.dtype == np.float32
    assert (scenario.tracks.position[~scenario.tracks.valid] == 0).all()
    world = scenario.map.lanes.centre.line(0).astype(np.float64) + scenario.offset
    np.testing.assert_allclose(world[0], [-100, -2, 0], atol=1e-5)
    np.testing.assert_array_equal(scenario.offset, np.round(scenario.offset))


def test_angles_wrap_to_half_open_interval():
    np.testing.assert_allclose(wrapped(np.array([np.pi, -np.pi, 3 * np.pi, 0.1])), [np.pi, np.pi, np.pi, 0.1])


def replaced(scenario, path: str, value):
    first, _, rest = path.partition(".")
    inner = value if not rest else replaced(getattr(scenario, first), rest, value)
    return dataclasses.replace(scenario, **{first: inner})


def planted(scenario, path: str, change):
    value = scenario
    for name in path.split("."):
        value = getattr(value, name)
    value = change(value.copy() if isinstance(value, np.ndarray) else value)
    return replaced(scenario, path, value)


def assign(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("dt", lambda _: 0.0, "dt"),
        ("current", lambda _: 99, "current"),
        ("roles.sdc", lambda _: 5, "roles.sdc"),
        ("tracks.heading", lambda a: a[:, :-1], "tracks.heading"),
        ("tracks.position", assign((0, 0, 0), np.nan), "tracks.position"),
        ("tracks.position", assign((0, 0, 0), 1e6), "tracks.position"),
        ("tracks.velocity", assign((0, 0, 0), 1e3), "tracks.velocity"),
        ("tracks.size", assign((0, 0, 0), 0.0), "tracks.size"),
        ("tracks.type", assign(0, 9), "tracks.type"),
        ("tracks.ids", lambda ids: (ids[0], *ids[:-1]), "tracks.ids"),
        ("map.lanes.centre.starts", assign(1, 0), "map.lanes.centre.starts"),
        ("map.edges.points", assign((0, 0), np.inf), "map.edges.points"),
        ("map.lines.kind", assign(0, 77), "map.lines.kind"),
        ("map.lanes.successors", assign((0, 1), 3), "map.lanes.successors"),
        ("map.lanes.width", assign(0, -1.0), "map.lanes.width"),
        ("map.stop_signs.controls", assign((0, 0), 1), "map.stop_signs.controls"),
        ("signals.state", assign((0, 0), 99), "signals.state"),
        ("signals.lane", assign(0, -1), "signals.lane"),
    ],
)
def test_a_planted_fault_is_named(path, change, said):
    with pytest.raises(InvalidData, match=said):
        validated(planted(made_scenario(), path, change))
