"""Vehicles on their own: IDM in closed form, nobody is hit from behind, logs are left alone where it is off."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.core.policy import DiscretePolicy
from mairl.driving.autopilot import Autopilot, autopilot
from mairl.driving.dynamics import Bicycle
from mairl.driving.game import Driving
from mairl.driving.idm import Driver, idm
from mairl.driving.load import load
from mairl.driving.observe import Sight
from mairl.driving.paths import PATH, lanes_beside_paths
from mairl.driving.prepare import LOG, WorldConfig
from mairl.driving.record import following_actions
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import scene_of
from mairl.scenarios.generate import generate
from mairl.scenarios.schema import AgentType

SIGHT = Sight(partners=3, edges=8, others=8)
LENGTH, STEPS = 4.5, 301


@pytest.fixture(scope="module")
def worlds():
    scenes = [generate(3, "four_way_signal", steps=61), generate(5, "t_stop", steps=61)]
    return load(scenes, WorldConfig(num_agents=3, num_others=13, grid=GridConfig(edges=32, others=16)))[0]


def straight(worlds, begins, speeds, turn=0.0):
    """One world of a straight road in the direction `turn`. Vehicle 0 is driven, the others are not; logs go on at
    their speeds."""
    time = 0.1 * np.arange(STEPS)
    along = np.asarray(begins, float) + time[:, None] * np.asarray(speeds, float)
    one = np.ones_like(along)
    c, s = np.cos(turn), np.sin(turn)
    v = one * speeds
    log = np.stack([c * along, s * along, 0.75 * one, turn * one, c * one, s * one, c * v, s * v, one], axis=1)
    assert log.shape[1] == len(LOG)
    slots = len(begins)
    sizes = [jnp.full((1, slots), size, jnp.float32) for size in (LENGTH, 1.9, 1.5)]
    goal = jnp.asarray([1e4, 0.0, 0.0, 0.0, 0.0], jnp.float32)[None, :, None]
    values = {
        "log": jnp.asarray(log[None], jnp.float32),
        **dict(zip(("length", "width", "height"), sizes, strict=True)),
        "kind": jnp.full((1, slots), AgentType.VEHICLE, jnp.int8),
        "driven": jnp.ones((1, 1), bool),
        "goal": goal,
        "start": jnp.zeros(1, jnp.int32),
        "stop": jnp.zeros((1, 5, 0)),
        "red": jnp.zeros((1, STEPS, 0), bool),
        "has_edges": jnp.zeros(1, bool),
    }
    return dataclasses.replace(worlds, **values)


def rolled(game, action_of, steps, world=0):
    """Scenes `[time]` before each step and after the last, and the steps."""
    return jax.tree.map(np.asarray, run(game, action_of, steps, jnp.asarray(world)))


@eqx.filter_jit
def run(game, action_of, steps, world):
    def tick(state, time):
        after, step = game.step(jax.random.key(0), state, action_of(game, state, time))
        # Without observations, which nobody looks at here.
        return after, (scene_of(game.worlds, state), after, dataclasses.replace(step, obs=None))

    state, _ = game.reset_to(world)
    _, (scenes, states, step) = jax.lax.scan(tick, state, jnp.arange(steps))
    return scenes, states, step


def accelerating(metres):
    """Actions of `Bicycle`: straight on, with this acceleration."""
    return lambda game, state, time: jnp.full((game.num_agents, 2), 0.0).at[:, 0].set(metres(time) / 6.0)


COASTING = accelerating(lambda time: 0.0)


def follow(game, state, time):
    return following_actions(game, state)


def test_idm_is_the_published_formula():
    driver = Driver()
    for speed, wanted, gap, closing in [(10, 15, 20, 0), (10, 15, 20, 5), (0, 15, 3, 0), (20, 15, 100, -3)]:
        room = driver.gap + max(0.0, speed * driver.headway + speed * closing / (2 * np.sqrt(1.5 * 2.0)))
        expected = max(1.5 * (1 - (speed / wanted) ** 4 - (room / gap) ** 2), -8.0)
        assert float(idm(float(speed), float(wanted), float(gap), float(closing), driver)) == pytest.approx(expected)
    assert float(idm(30.0, 30.0, 1.0, 30.0, driver)) == -8.0


@pytest.mark.parametrize("turn", [0.0, 2.0])
def test_the_gap_behind_a_steady_leader_is_idms_equilibrium(worlds, turn):
    """s = (s₀ + v T) / √(1 - (v / v₀)⁴)."""
    road = straight(worlds, [40.0, 0.0], [8.0, 12.0], turn)
    game = Driving(road, Bicycle(), sight=SIGHT, traffic="idm")
    scenes, _, _ = rolled(game, COASTING, 300)
    gap = np.hypot(scenes.x[-1, 0] - scenes.x[-1, 1], scenes.y[-1, 0] - scenes.y[-1, 1]) - LENGTH
    assert scenes.speed[-1, 1] == pytest.approx(8.0, abs=0.05)
    assert gap == pytest.approx((2.0 + 8.0 * 1.5) / np.sqrt(1 - (8 / 12) ** 4), abs=0.3)


def test_a_free_road_is_driven_at_the_wanted_speed(worlds):
    road = straight(worlds, [1000.0, 0.0], [1.0, 12.0])
    game = Driving(road, Bicycle(), sight=SIGHT, traffic="idm")
    scenes, _, _ = rolled(game, COASTING, 100)
    np.testing.assert_allclose(scenes.speed[:, 1], 12.0, atol=1e-3)
    np.testing.assert_allclose(scenes.x[:, 1], 1.2 * np.arange(100), atol=1e-2)


@pytest.mark.parametrize("speed", [5.0, 15.0, 25.0])
def test_nobody_hits_a_leader_that_brakes(worlds, speed):
    """Four vehicles behind each other; the first brakes with 5 m/s² until it stands. The log would run into it."""
    gap = 2.0 + 1.5 * speed + LENGTH
    road = straight(worlds, [0.0, -gap, -2 * gap, -3 * gap], [speed] * 4)
    steps = 200
    action = accelerating(lambda time: jnp.where(time < speed / 0.5, -5.0, 0.0))
    scenes, _, step = rolled(Driving(road, Bicycle(), sight=SIGHT, traffic="idm"), action, steps)
    assert (scenes.x[:, :3] - scenes.x[:, 1:] > LENGTH).all()
    assert not step.info["collision"].any()
    assert (np.abs(scenes.speed[-1]) < 0.5).all()
    assert (scenes.x[-1, :3] - scenes.x[-1, 1:] - LENGTH < 6.0).all()
    rules = dataclasses.replace(Driving(road, sight=SIGHT).rules, at_collision="ignore")
    _, _, blind = rolled(Driving(road, Bicycle(), rules, SIGHT), action, steps)
    assert blind.info["collision"].any()


def test_a_red_light_is_waited_for(worlds):
    road = straight(worlds, [1000.0, 0.0], [1.0, 10.0])
    line = jnp.array([60.0, 0.0, 1.0, 0.0, 2.0])[None, :, None]
    red = jnp.arange(STEPS)[None, :, None] < 150
    road = dataclasses.replace(road, stop=line, red=red)
    scenes, _, _ = rolled(Driving(road, Bicycle(), sight=SIGHT, traffic="idm"), COASTING, 300)
    front = scenes.x[:, 1] + LENGTH / 2
    assert front[:150].max() < 60.0
    assert front[149] > 55.0
    assert front[-1] > 100.0


def test_whoever_stands_in_the_log_at_its_end_stands_there_and_others_leave(worlds):
    road = straight(worlds, [1000.0, 0.0, 200.0], [1.0, 10.0, 10.0])
    log = np.array(road.log)
    x, vx = LOG.index("x"), LOG.index("vx")
    # The one slows from 10 m/s to 0 within 50 m from step 100 on; the other's log ends at step 50.
    t = np.clip(0.1 * np.arange(STEPS) - 10.0, 0, 10.0)
    log[0, :, x, 1] = np.minimum(np.arange(STEPS), 100) * 1.0 + 10 * t - 0.5 * t * t
    log[0, :, vx, 1] = np.where(np.arange(STEPS) > 100, 10 - t, 10.0)
    log[0, 51:, :, 2] = 0.0
    road = dataclasses.replace(road, log=jnp.asarray(log))
    scenes, _, _ = rolled(Driving(road, Bicycle(), sight=SIGHT, traffic="idm"), COASTING, 300)
    assert scenes.present[:, 1].all()
    assert scenes.x[-1, 1] == pytest.approx(150.0, abs=3.0)
    assert scenes.speed[-1, 1] < 1.0
    assert scenes.present[:48, 2].all()
    assert not scenes.present[55:, 2].any()


def test_whoever_would_enter_into_somebody_waits(worlds):
    """The log of the second begins at step 20 close behind where the first, which brakes, then stands."""
    road = straight(worlds, [0.0, -20.0], [10.0, 10.0])
    log = np.array(road.log)
    log[0, :20, :, 1] = 0.0
    road = dataclasses.replace(road, log=jnp.asarray(log))
    game = Driving(road, Bicycle(), sight=SIGHT, traffic="idm")
    scenes, _, step = rolled(game, accelerating(lambda time: jnp.where(time < 20, -5.0, 0.0)), 60)
    assert not scenes.present[:20, 1].any()
    # It would come at 10 m/s, 5 m behind who stands at 10 m.
    assert scenes.x[25, 0] == pytest.approx(10.0, abs=1.0)
    assert not scenes.present[:, 1].any()
    assert not step.info["collision"].any()
    on, _, _ = rolled(game, COASTING, 60)
    assert on.present[20:, 1].all()
    np.testing.assert_allclose(on.speed[21, 1], 10.0, atol=1.5)


def test_positions_are_differentiable_in_the_leaders_actions(worlds):
    road = straight(worlds, [30.0, 0.0], [8.0, 8.0])
    game = Driving(road, Bicycle(), sight=SIGHT, traffic="idm")

    @eqx.filter_jit
    def follower(push):
        def tick(state, _):
            after, _ = game.step(jax.random.key(0), state, jnp.array([[push, 0.0]]))
            return after, None

        state, _ = game.reset_to(0)
        return scene_of(road, jax.lax.scan(tick, state, None, length=40)[0]).x[1]

    slope = float(jax.grad(follower)(0.05))
    step = 0.01
    assert slope == pytest.approx(float(follower(0.05 + step) - follower(0.05 - step)) / (2 * step), rel=0.02)
    assert slope > 1.0


def test_without_it_everything_else_replays_its_log(worlds):
    plain = Driving(worlds, sight=SIGHT)
    logs, _, _ = rolled(dataclasses.replace(plain, traffic="logs"), follow, 40)
    also, _, _ = rolled(plain, follow, 40)
    for a, b in zip(jax.tree.leaves(logs), jax.tree.leaves(also), strict=True):
        np.testing.assert_array_equal(a, b)
    n = worlds.num_agents
    np.testing.assert_array_equal(logs.x[:, n:], np.asarray(worlds.log)[0, :40, LOG.index("x"), n:])
    assert eqx.filter_jit(plain.reset_to)(0)[0].riders is None


def test_on_made_up_roads_vehicles_keep_to_their_paths_and_touch_nobody(worlds):
    game = Driving(worlds, sight=SIGHT, traffic="idm")
    assert isinstance(game.traffic, Autopilot)
    for world in range(len(worlds)):
        scenes, _, step = rolled(game, follow, game.horizon, world)
        assert not step.info["collision"].any()
        rides = np.flatnonzero(np.asarray(game.traffic.rides[world]))
        log = np.asarray(worlds.log[world])
        for slot in rides:
            there = log[log[:, LOG.index("valid"), slot] > 0][:, :2, slot]
            at = np.stack([scenes.x[:, slot], scenes.y[:, slot]], 1)[scenes.present[:, slot]]
            assert np.abs(at[:, None] - there).max(-1).min(1).max() < 1.5
    assert np.asarray(game.traffic.rides).any()
    # Who stands, walks or is driven is not driven by it.
    assert not np.asarray(autopilot(worlds).rides)[:, :1].any()


def beside(road, offset=3.5, driver=Driver(changes=True)):
    """An autopilot for a straight road with another lane to the left."""
    own = autopilot(road, driver)
    return dataclasses.replace(own, path=own.path.at[:, PATH.index("left")].set(offset))


def test_a_slow_leader_is_passed_in_the_lane_beside_and_nobody_is_touched(worlds):
    road = straight(worlds, [30.0, 0.0], [4.0, 12.0])
    for lane in (3.5, 0.0):
        game = Driving(road, Bicycle(), sight=SIGHT, traffic=beside(road, lane))
        scenes, states, step = rolled(game, COASTING, 200)
        assert not step.info["collision"].any()
        assert (scenes.x[-1, 1] > scenes.x[-1, 0]) == (lane > 0)
        assert scenes.y[:, 1].max() == pytest.approx(lane, abs=0.01)
        assert (np.diff(scenes.y[:, 1]) < 0.11).all()
        assert set(np.unique(states.riders.lane[:, 1])) <= ({0, 1} if lane else {0})


def test_nobody_is_cut_off(worlds):
    """A fast vehicle comes up in the lane beside: only once it is past is that changed to."""
    road = straight(worlds, [30.0, 0.0, -30.0], [4.0, 12.0, 20.0])
    log = np.array(road.log)
    log[0, :, LOG.index("y"), 2] = 3.5
    road = dataclasses.replace(road, log=jnp.asarray(log))
    own = beside(road)
    # That one replays its log: it would not brake.
    game = Driving(road, Bicycle(), sight=SIGHT, traffic=dataclasses.replace(own, rides=own.rides.at[0, 2].set(False)))
    scenes, states, _ = rolled(game, COASTING, 120)
    begins = int(np.argmax(states.riders.lane[:, 1] == 1))
    assert begins > 0
    assert scenes.x[begins, 2] > scenes.x[begins, 1]
    gap = np.abs(scenes.x[:, 1] - scenes.x[:, 2]) > LENGTH
    assert (gap | (np.abs(scenes.y[:, 1] - scenes.y[:, 2]) > 1.9)).all()


def test_lanes_beside_are_found_in_the_map():
    highway = generate(0, "highway", steps=31)
    made = load([highway], WorldConfig(num_agents=2, num_others=20))[0]
    found = np.asarray(lanes_beside_paths(made))[0]
    some = found[found != 0]
    assert len(some)
    np.testing.assert_allclose(np.median(np.abs(some)), np.median(highway.map.lanes.width), atol=0.1)
    assert (found[0] >= 0).all()
    assert (found[1] <= 0).all()


class Straight(DiscretePolicy):
    """Always the same action."""

    action: int

    def logits(self, obs):
        return jnp.full((len(obs["ego"]), 91), -1e9).at[:, self.action].set(0.0)


def test_another_policy_drives_the_places_that_nobody_learns(worlds):
    hard, ease = 90, 45
    game = Driving(worlds, sight=SIGHT, traffic=Straight(hard), learners=1)
    same = Driving(worlds, sight=SIGHT)
    asked = jnp.full(3, ease, jnp.int32)
    state, _ = eqx.filter_jit(game.reset_to)(0)
    after, step = eqx.filter_jit(game.step)(jax.random.key(0), state, asked)
    plain, _ = eqx.filter_jit(same.step)(jax.random.key(0), state, jnp.array([ease, hard, hard], jnp.int32))
    for a, b in zip(jax.tree.leaves(after.motion), jax.tree.leaves(plain.motion), strict=True):
        np.testing.assert_array_equal(a, b)
    assert step.mask.tolist() == [True, False, False]
    assert step.terminated.tolist() == [False, True, True]
    assert (np.asarray(step.reward)[1:] == 0).all()


def test_who_drives_is_checked(worlds):
    with pytest.raises(InvalidGame, match="traffic is 'rails'"):
        Driving(worlds, sight=SIGHT, traffic="rails")
    with pytest.raises(InvalidGame, match="learners is 4"):
        Driving(worlds, sight=SIGHT, learners=4)
