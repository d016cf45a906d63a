"""How well vehicles drive, on distributions and rollouts whose measures are known."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.policy import UniformPolicy
from mairl.driving.dynamics import InvertibleBicycle
from mairl.driving.game import Driving
from mairl.driving.load import load
from mairl.driving.observe import Sight
from mairl.driving.prepare import WorldConfig
from mairl.driving.record import following_actions
from mairl.driving.road_grid import GridConfig
from mairl.metrics.driving import BINS, driving_metrics, jensen_shannon, staying
from mairl.scenarios.generate import generate


@pytest.fixture(scope="module")
def game():
    scenes = [generate(0, "highway", steps=31)]
    worlds, _, _ = load(scenes, WorldConfig(num_agents=6, num_others=30, grid=GridConfig(edges=16, others=16)))
    return Driving(worlds, InvertibleBicycle(), sight=Sight(partners=2, edges=4, others=4))


def test_divergence_of_histograms():
    assert jensen_shannon(np.array([1, 2.0]), np.array([2, 4.0])) == pytest.approx(0.0, abs=1e-12)
    assert jensen_shannon(np.array([1, 0.0]), np.array([0, 3.0])) == pytest.approx(np.log(2))
    # Half of one is the other: KL to the middle (3/4, 1/4) from (1, 0) and from (1/2, 1/2).
    expected = 0.5 * np.log(4 / 3) + 0.5 * (0.5 * np.log(2 / 3) + 0.5 * np.log(2))
    assert jensen_shannon(np.array([5, 0.0]), np.array([1, 1.0])) == pytest.approx(expected)
    assert jensen_shannon(np.zeros(2), np.ones(2)) is None


class Logged(eqx.Module):
    """Takes what a plan has for the moment that the clock shows."""

    plan: jax.Array

    def sample(self, key, obs, action_mask=None):
        step = jnp.round(obs["ego"][0, -1] * self.plan.shape[0]).astype(jnp.int32)
        return self.plan[step]

    def mode(self, obs, action_mask=None):
        return self.sample(None, obs)


def test_who_drives_like_the_log_is_near_it_and_alike(game):
    clocked = Driving(game.worlds, game.dynamics, sight=Sight(partners=2, edges=4, others=4, clock=True))

    @eqx.filter_jit
    def plan(game):
        def tick(state, _):
            action = following_actions(game, state)
            return game.step(jax.random.key(0), state, action)[0], action

        return jax.lax.scan(tick, game.reset_to(0)[0], None, length=game.horizon)[1]

    found = driving_metrics(clocked, Logged(plan(clocked)), greedy=True)
    assert found["controlled_agents"] == int(game.worlds.driven.sum()) > 2
    assert found["goal_rate"] == 1.0
    assert found["infraction_rate"] == 0.0
    assert found["fde"] < 0.5
    assert max(found["ate"], found["cte"]) <= found["fde"]
    assert set(found["jsd"]) == set(BINS)
    wild = driving_metrics(game, UniformPolicy(game.num_agents, game.action_space))
    assert wild["infraction_rate"] > 0.5
    assert wild["fde"] > 3.0
    for name in ("acceleration", "lateral_offset"):
        assert wild["jsd"][name] > found["jsd"][name] + 0.05


def test_to_be_compared_with_logs_nobody_is_taken_off_the_road(game):
    strict = dataclasses.replace(game.rules, at_red_light="stop", at_wrong_way="remove", at_off_pace="remove")
    rules = staying(dataclasses.replace(game, rules=strict)).rules
    outcomes = {f.name: getattr(rules, f.name) for f in dataclasses.fields(rules) if f.name.startswith("at_")}
    assert len(outcomes) == 6
    assert set(outcomes.values()) == {"ignore"}
