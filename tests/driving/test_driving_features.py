"""What a vehicle is paid for a step can be told from the states before and after it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.driving.game import Driving
from mairl.driving.load import load
from mairl.driving.observe import Sight
from mairl.driving.prepare import WorldConfig
from mairl.driving.record import following_actions
from mairl.driving.rewards import FEATURES, RewardWeights
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import Rules
from mairl.scenarios.generate import generate

WEIGHTS = RewardWeights(**{name: (-1) ** k * (k + 1.0) for k, name in enumerate(FEATURES)})


@pytest.mark.parametrize("outcome", ["remove", "ignore"])
def test_features_times_weights_is_the_reward(outcome):
    config = WorldConfig(num_agents=6, num_others=10, grid=GridConfig(edges=32, others=16))
    worlds = load([generate(3, "four_way_signal", steps=41)], config)[0]
    rules = Rules(at_off_road=outcome, at_collision=outcome, at_goal=outcome, wrong_way=True)
    game = Driving(worlds, rules=rules, sight=Sight(partners=3, edges=8, others=8), reward=WEIGHTS)

    @eqx.filter_jit
    def run(game):
        # Half keep to the logs and reach their goals, half leave the road.
        swerves = jnp.arange(game.num_agents) % 2 == 1

        def tick(state, _):
            astray = jnp.full(game.num_agents, game.dynamics.num_actions - 1, jnp.int32)
            actions = jnp.where(swerves, astray, following_actions(game, state))
            after, step = game.step(jax.random.key(0), state, actions)
            return after, (step, game.features(state, actions, after))

        return jax.lax.scan(tick, game.reset_to(0)[0], length=40)[1]

    steps, found = run(game)
    np.testing.assert_allclose((found * game.feature_weights()).sum(-1), steps.reward, rtol=1e-4, atol=1e-4)
    assert game.feature_names() == FEATURES
    happened = dict(zip(FEATURES, np.asarray(found).sum((0, 1)), strict=True))
    assert happened["goal"] > 0
    assert happened["off_road"] > 0
    if outcome == "remove":
        assert happened["off_road"] == np.asarray(steps.info["off_road"]).any(0).sum()
