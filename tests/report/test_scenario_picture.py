"""Pictures of driving logs: everything is where it should be, in its colour, and nothing else is."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from mairl.core.errors import InvalidData
from mairl.report.animate import write_animation
from mairl.report.scenario_picture import LIGHT, draw_scene, scene_pictures, view_of
from mairl.report.scenario_scene import Event, Rollout, Scene, boxes, corners, found_events, light_places
from mairl.scenarios.schema import USUAL_SIZE, AgentType
from mairl.testing.scenarios import made_scenario

SCENARIO = made_scenario(1, agents=8)


def rgb(name: str) -> np.ndarray:
    return np.array([int(LIGHT[name][k : k + 2], 16) for k in (1, 3, 5)])


def colour_at(scene: Scene, picture: np.ndarray, place) -> np.ndarray:
    return picture[view_of(scene).pixel(float(place[0]), float(place[1]))].astype(int)


def is_near(colour: np.ndarray, name: str, by: int = 12) -> bool:
    return bool(np.abs(colour - rgb(name)).max() <= by)


def with_tracks(**changes):
    return dataclasses.replace(SCENARIO, tracks=dataclasses.replace(SCENARIO.tracks, **changes))


def beside(metres: float) -> Rollout:
    """The log, moved to its left."""
    tracks = SCENARIO.tracks
    return Rollout(tracks.position[..., :2] + np.array([0.0, metres]), tracks.heading, tracks.valid)


def test_agents_are_where_the_log_has_them_in_their_types_colours():
    scene, tracks, step = Scene(SCENARIO), SCENARIO.tracks, 0
    picture = draw_scene(scene, step)
    seen = np.flatnonzero(tracks.valid[:, step])
    assert len(seen) == 8
    for i in seen:
        vehicle = tracks.type[i] == AgentType.VEHICLE
        name = "sdc" if i == SCENARIO.roles.sdc else "vehicle" if vehicle else "pedestrian"
        rear = tracks.position[i, step, :2] - [0.2 * tracks.size[i, step, 0], 0]
        assert is_near(colour_at(scene, picture, rear), name, 12 if vehicle else 90)
        if vehicle:  # The mark is ahead of the middle, towards +x.
            ahead = tracks.position[i, step, :2] + [0.2 * tracks.size[i, step, 0], 0]
            assert is_near(colour_at(scene, picture, ahead), "card", 40)


def test_an_agent_that_is_not_valid_is_not_drawn():
    valid = SCENARIO.tracks.valid.copy()
    valid[1, 0] = False
    gone = Scene(with_tracks(valid=valid))
    rear = SCENARIO.tracks.position[1, 0, :2] - [1.0, 0]
    assert is_near(colour_at(Scene(SCENARIO), draw_scene(Scene(SCENARIO), 0), rear), "vehicle")
    assert not is_near(colour_at(gone, draw_scene(gone, 0), rear), "vehicle", 60)


def test_lights_show_their_state_at_the_step():
    scene = Scene(SCENARIO)
    places, shown = light_places(SCENARIO)
    assert shown.all()
    steps = [0, SCENARIO.num_steps - 1]
    first, last = (colour_at(scene, p, places[0]) for p in scene_pictures(scene, steps))
    assert is_near(first, "stop")
    assert is_near(last, "go")


def test_a_light_without_a_stop_point_stands_where_its_lane_begins():
    signals = dataclasses.replace(SCENARIO.signals, stop_point_known=np.zeros(1, bool))
    places, shown = light_places(dataclasses.replace(SCENARIO, signals=signals))
    assert shown.all()
    np.testing.assert_array_equal(places[0], SCENARIO.map.lanes.centre.line(0)[0, :2])
    lost = dataclasses.replace(signals, lane_known=np.zeros(1, bool))
    assert not light_places(dataclasses.replace(SCENARIO, signals=lost))[1].any()


def test_unknown_sizes_are_the_types_and_dashed():
    known = SCENARIO.tracks.size_known.copy()
    known[1] = False
    known[2, 1] = False
    sizes, guessed = boxes(with_tracks(size_known=known))
    assert guessed.tolist() == [False, True, True, *[False] * 5]
    assert tuple(sizes[1]) == USUAL_SIZE[AgentType.VEHICLE][:2]
    np.testing.assert_allclose(sizes[2], [SCENARIO.tracks.size[2, 0, 0], USUAL_SIZE[AgentType.VEHICLE][1]])
    # The made vehicles have just the default size: what differs is the outline alone, less of which is dark.
    solid, dashed = (draw_scene(Scene(s), 0) for s in (SCENARIO, with_tracks(size_known=known)))
    assert (dashed.sum(axis=2) < 200).sum() < (solid.sum(axis=2) < 200).sum()


def test_corners_worked_by_hand():
    found = corners(np.array([[1.0, 2.0]]), np.array([np.pi / 2]), np.array([[4.0, 2.0]]))
    np.testing.assert_allclose(found[0], [[0, 4], [2, 4], [2, 0], [0, 0]], atol=1e-12)


def test_a_rollout_is_drawn_in_its_colour_and_the_log_is_faint():
    scene = Scene(SCENARIO, beside(8.0))
    picture = draw_scene(scene, 0)
    rear = SCENARIO.tracks.position[1, 0, :2] - [1.0, 0]
    assert is_near(colour_at(scene, picture, rear + np.array([0.0, 8.0])), "simulated")
    log = colour_at(scene, picture, rear)
    assert not is_near(log, "vehicle", 60)
    assert not is_near(log, "road", 30)


def test_flags_are_outlines_while_they_hold():
    flags = {name: np.zeros_like(SCENARIO.tracks.valid) for name in ("collision", "goal")}
    flags["collision"][0, 4:6] = True
    flags["goal"][0, 5:] = True
    scene = Scene(SCENARIO, flags=flags)
    legend = np.abs(draw_scene(scene, 0).astype(int) - rgb("collision")).max(2) <= 6

    def outlined(step: int, name: str) -> int:
        near = np.abs(draw_scene(scene, step).astype(int) - rgb(name)).max(2) <= 6
        row, column = view_of(scene).pixel(*map(float, SCENARIO.tracks.position[0, step, :2]))
        return int((near & ~legend)[row - 25 : row + 25, column - 25 : column + 25].sum())

    assert outlined(3, "collision") == 0
    assert outlined(4, "collision") > 20
    assert outlined(5, "collision") > 20  # Both hold: the collision is shown.
    assert outlined(6, "collision") == 0
    assert outlined(6, "goal") > 20
    last = SCENARIO.num_steps - 1
    assert found_events(scene) == [Event("collision", 0, 4, 5), Event("goal", 0, 5, last)]


def test_a_row_of_pictures_is_the_single_ones_and_leaves_nothing_behind():
    scene, before = Scene(SCENARIO), plt.get_fignums()
    steps = [0, 12, 29]
    for step, picture in zip(steps, scene_pictures(scene, steps)):
        np.testing.assert_array_equal(picture, draw_scene(scene, step))
        assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    assert plt.get_fignums() == before
    np.testing.assert_array_equal(draw_scene(scene), draw_scene(scene, SCENARIO.current))


def test_a_log_becomes_an_animation(tmp_path):
    pictures = list(scene_pictures(Scene(made_scenario(2, steps=5)), longest=200))
    write_animation(pictures, tmp_path / "log.gif", 10.0)
    with Image.open(tmp_path / "log.gif") as written:
        assert getattr(written, "n_frames", 1) == 5
        assert written.info["duration"] == 100
        assert written.size == pictures[0].shape[1::-1]


def test_a_log_without_agents_shows_its_map():
    tracks = SCENARIO.tracks
    fields = ("position", "heading", "velocity", "size", "size_known", "valid", "type", "ids")
    none = dataclasses.replace(tracks, **{name: getattr(tracks, name)[:0] for name in fields})
    flags = np.zeros(0, bool)
    roles = dataclasses.replace(SCENARIO.roles, sdc=None, predict=flags, of_interest=flags)
    scene = Scene(dataclasses.replace(SCENARIO, tracks=none, roles=roles))
    assert is_near(colour_at(scene, draw_scene(scene), [20.0, 1.0] - SCENARIO.offset[:2]), "road")


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (Scene(SCENARIO, dataclasses.replace(beside(1.0), heading=np.zeros((8, 3)))), r"heading has shape \(8, 3\)"),
        (Scene(SCENARIO, beside(np.nan)), "position is not finite at"),
        (Scene(SCENARIO, beside(1e6)), "position reaches 1e"),
        (Scene(SCENARIO, flags={"crash": SCENARIO.tracks.valid}), "no flag 'crash', use collision, offroad, goal"),
        (Scene(SCENARIO, flags={"goal": SCENARIO.tracks.valid[:3]}), r"flags\['goal'\] has shape \(3, 30\)"),
    ],
)
def test_what_does_not_fit_is_refused(scene, said):
    with pytest.raises(InvalidData, match=said):
        draw_scene(scene, 0)


@pytest.mark.parametrize("step", [-1, 30])
def test_steps_that_are_not_there_are_refused(step):
    with pytest.raises(InvalidData, match=f"steps 0 … 29, not {step}"):
        draw_scene(Scene(SCENARIO), step)
