"""RTR's shaped reward: Eq. 21 by hand, masked where no limit is known, and the end of who is too slow or too fast."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.driving.dynamics import Bicycle
from mairl.driving.game import Driving
from mairl.driving.lane_index import FACTS, LaneConfig
from mairl.driving.load import driving, load
from mairl.driving.observe import Sight
from mairl.driving.prepare import WorldConfig
from mairl.driving.rewards import FEATURES, LANE_FEATURES
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import Rules
from mairl.testing.scenarios import made_scenario

SIGHT = Sight(partners=3, edges=8, others=8)
LIMIT = 13.9
"""m/s, of both lanes of `made_scenario`; its exit has none."""


SCENE = made_scenario(1)


@functools.cache
def worlds(limit=0.0):
    config = WorldConfig(
        num_agents=3, num_others=3, grid=GridConfig(edges=32, others=16), lanes=LaneConfig(limit=limit)
    )
    return load([SCENE], config)[0]


@eqx.filter_jit
def stepped(game, state):
    still = jnp.zeros((game.num_agents, 2))
    after, step = game.step(jax.random.key(0), state, still)
    return after, dataclasses.replace(step, obs=None), game.features(state, still, after)


def put(game, x=0.0, y=-2.0, heading=0.0, speed=10.0):
    """The game's start with the first vehicle moved, and what one step straight on brings: reward, features, events."""
    state, _ = eqx.filter_jit(game.reset_to)(0)
    one = {
        "x": x - SCENE.offset[0],
        "y": y - SCENE.offset[1],
        "heading": heading,
        "vx": speed * np.cos(heading),
        "vy": speed * np.sin(heading),
    }
    motion = state.motion
    for name, value in one.items():
        motion = eqx.tree_at(lambda m, n=name: getattr(m, n), motion, getattr(motion, name).at[0].set(value))
    state = eqx.tree_at(lambda s: s.motion, state, motion)
    after, step, features = stepped(game, state)
    features = dict(zip(game.feature_names(), np.asarray(features)[0], strict=True))
    return float(step.reward[0]), features, {k: bool(v[0]) for k, v in step.info.items()}, after


def test_the_reward_is_equation_21():
    game = Driving(worlds(), Bicycle(), sight=SIGHT, reward="rtr-shaped")
    for speed in (0.0, 5.0, LIMIT, 20.0):
        reward, features, happened, _ = put(game, speed=speed)
        expected = 0.5 * (30.0 - abs(speed - LIMIT)) / 30.0
        assert reward == pytest.approx(expected, abs=1e-5)
        assert features["pace"] == pytest.approx(2 * expected, abs=1e-5)
        assert not any(happened.values())
    # Off the road: the infraction as well. Nobody is on a lane there.
    reward, features, happened, _ = put(game, y=-30.0)
    assert happened["off_road"]
    assert reward == pytest.approx(-1.0)
    assert features["pace"] == 0.0


def test_distance_from_the_centreline_and_angle_to_it():
    game = Driving(worlds(), Bicycle(), sight=SIGHT)
    assert game.feature_names() == FEATURES + LANE_FEATURES
    _, features, _, after = put(game, y=-1.4, heading=0.2, speed=3.0)
    y = float(after.motion.y[0]) + SCENE.offset[1]
    assert features["lane_offset"] == pytest.approx(((y + 2.0) / 2.0) ** 2, rel=1e-3)
    assert features["lane_heading"] == pytest.approx(1 - np.cos(0.2), rel=1e-3)
    # Against the lane or far from it: on none.
    for place in ({"heading": np.pi}, {"y": -5.0}):
        _, features, _, _ = put(game, **place)
        assert [features[name] for name in LANE_FEATURES] == [0.0, 0.0, 0.0]


def test_where_no_limit_is_known_nothing_is_paid_unless_one_is_assumed():
    place = {"x": 115.0, "y": -10.0, "heading": -1.0, "speed": 6.0}
    for limit, expected in ((0.0, 0.0), (8.0, 1 - 2.0 / 30.0)):
        game = Driving(worlds(limit=limit), Bicycle(), Rules(at_off_road="ignore"), SIGHT, "rtr-shaped")
        _, features, _, _ = put(game, **place)
        assert features["lane_offset"] > 0
        assert features["pace"] == pytest.approx(expected, abs=1e-4)
    # Where the map has a limit, that is it.
    assert put(game, speed=LIMIT)[1]["pace"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("outcome", ["remove", "stop"])
def test_who_is_off_pace_is_out(outcome):
    rules = Rules(off_pace=True, at_off_pace=outcome, pace=10.0)
    game = Driving(worlds(), Bicycle(), rules, SIGHT, "rtr-shaped")
    for speed, off in ((5.0, False), (3.0, True), (24.5, True)):
        _, _, happened, after = put(game, speed=speed)
        assert happened["off_pace"] == off
        assert bool(after.away[0]) == (off and outcome == "remove")
        assert bool(after.parked[0]) == (off and outcome == "stop")


def test_the_reward_is_differentiable_in_the_acceleration():
    game = Driving(worlds(), Bicycle(), sight=SIGHT, reward="rtr-shaped")
    state, _ = eqx.filter_jit(game.reset_to)(0)

    def total(push):
        _, step = game.step(jax.random.key(0), state, jnp.full((3, 2), 0.0).at[:, 0].set(push))
        return step.reward.sum()

    slopes = jax.jit(jax.grad(total))(jnp.zeros(3))
    paced = np.asarray(game.taking_part(state)) & (np.asarray(state.motion.speed) < LIMIT - 1.0)
    # 6 m/s² at 1, 0.1 s, half of 1/30 for each m/s.
    np.testing.assert_allclose(np.asarray(slopes)[paced], 6.0 * 0.1 * 0.5 / 30.0, rtol=1e-3)
    assert paced.any()


def test_by_its_id_it_has_lanes_limits_and_the_papers_end():
    game = driving(count=1, agents=2, others=4, reward="rtr-shaped")
    assert game.rules.off_pace
    assert game.rules.pace == 30.0
    assert game.rules.at_off_pace == "remove"
    assert game.worlds.lanes is not None
    assert game.worlds.lanes.has_limits


def test_what_is_missing_is_asked_for():
    plain = dataclasses.replace(worlds(), lanes=None)
    with pytest.raises(InvalidGame, match=r"reward for pace needs lanes: build the worlds with WorldConfig\(lanes="):
        Driving(plain, sight=SIGHT, reward="rtr-shaped")
    with pytest.raises(InvalidGame, match=r"Rules\(off_pace=True\) needs lanes"):
        Driving(plain, sight=SIGHT, rules=Rules(off_pace=True))
    lanes = SCENE.map.lanes
    silent = dataclasses.replace(
        lanes, speed_limit=0 * lanes.speed_limit, speed_limit_known=np.zeros_like(lanes.speed_limit_known)
    )
    scene = dataclasses.replace(SCENE, map=dataclasses.replace(SCENE.map, lanes=silent))
    config = WorldConfig(num_agents=3, num_others=3, grid=GridConfig(edges=32, others=16), lanes=LaneConfig())
    none = load([scene], config)[0]
    assert none.lanes is not None
    assert not np.asarray(none.lanes.facts)[:, FACTS.index("limit_known")].any()
    with pytest.raises(InvalidGame, match=r"no lane of these maps has one: .* LaneConfig\(limit=13.9\)"):
        Driving(none, sight=SIGHT, reward="rtr-shaped")
    Driving(load([scene], dataclasses.replace(config, lanes=LaneConfig(limit=LIMIT)))[0], reward="rtr-shaped")
