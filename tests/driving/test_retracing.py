"""Keeping to a log's path from wherever a vehicle has got to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.driving.dynamics import Bicycle, motion
from mairl.driving.follow import following, retracing
from mairl.driving.game import Driving
from mairl.driving.load import load
from mairl.driving.observe import Sight
from mairl.driving.prepare import LOG, WorldConfig
from mairl.driving.record import disturbed, retracing_actions
from mairl.driving.road_grid import GridConfig
from mairl.scenarios.generate import generate


@pytest.fixture(scope="module")
def game():
    scenes = [generate(3, "four_way_signal", steps=41), generate(5, "t_stop", steps=41)]
    worlds = load(scenes, WorldConfig(num_agents=6, num_others=10, grid=GridConfig(edges=32, others=16)))[0]
    return Driving(worlds, sight=Sight(partners=3, edges=8, others=8))


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_reaches_goals_from_wherever_disturbances_lead(game, noise):
    @eqx.filter_jit
    def run(game, world):
        def tick(state, key):
            action = disturbed(game, key, retracing_actions(game, state), noise)
            state, step = game.step(key, state, action)
            return state, step.info

        return jax.lax.scan(tick, game.reset_to(world)[0], jax.random.split(jax.random.key(1), game.horizon))[1]

    driven = np.asarray(game.worlds.driven).sum()
    assert driven >= 6
    happened = [jax.tree.map(lambda x: np.asarray(x).any(0).sum(), run(game, world)) for world in range(2)]
    assert sum(h["goal"] for h in happened) >= 0.9 * driven
    assert sum(h["collision"] + h["off_road"] for h in happened) == 0


@eqx.filter_jit
def at_place_of(game, state, late, aside):
    """Vehicles where their logs were `late` steps ago, `aside` metres to the left."""
    log = game.worlds.log[state.world, state.time - late, :, : game.num_agents]
    x, y, heading, vx, vy = (log[LOG.index(name)] for name in ("x", "y", "heading", "vx", "vy"))
    moved = motion(x - aside * jnp.sin(heading), y + aside * jnp.cos(heading), heading, vx, vy)
    return eqx.tree_at(lambda s: s.motion, state, moved)


def test_does_not_chase_the_schedule_but_comes_back_to_the_path(game):
    state = eqx.tree_at(lambda s: s.time, eqx.filter_jit(game.reset_to)(0)[0], jnp.int32(20))
    fast = np.asarray(state.motion.speed > 3.0) & np.asarray(game.worlds.driven[0])
    assert fast.any()
    late, model = at_place_of(game, state, 8, 0.0), Bicycle()
    chase, retrace = (eqx.filter_jit(way)(game.worlds, model, late) for way in (following, retracing))
    chased, kept = np.asarray(chase)[fast], np.asarray(retrace)[fast]
    assert (chased[:, 0] == model.max_acceleration).any()
    speed = np.asarray(late.motion.speed)[fast]
    # At most as much faster as lateness allows, within a step's change of the log's own speed.
    assert (kept[:, 0] <= (0.2 * speed + 2.0) / 0.15).all()
    assert (np.abs(kept[:, 1]) < 0.1).all()
    left, right, straight = (
        np.asarray(eqx.filter_jit(retracing)(game.worlds, model, at_place_of(game, state, 0, aside)))[fast]
        for aside in (1.0, -1.0, 0.0)
    )
    assert (left[:, 1] < straight[:, 1] - 1e-3).all()
    assert (right[:, 1] > straight[:, 1] + 1e-3).all()
