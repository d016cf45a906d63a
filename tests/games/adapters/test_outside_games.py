"""Games as others ship them: played, recorded and learned from."""

import functools
import warnings

import equinox as eqx
import jax
import numpy as np
import pytest

pytest.importorskip("pettingzoo")
pytest.importorskip("gymnasium")

from mairl.algorithms.fit import fit
from mairl.algorithms.mamql import MAMQL
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Box, Discrete
from mairl.data.collect import record
from mairl.games.adapters import from_pettingzoo
from mairl.networks.build import NetworkConfig


def speaker_listener():
    return pytest.importorskip("mpe2.simple_speaker_listener_v4").parallel_env(max_cycles=10)


def rock_paper_scissors():
    pettingzoo = pytest.importorskip("pettingzoo")
    pytest.importorskip("pygame")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It warns of its own names.
        return pettingzoo.make("parallel", "classic/rps-v2", max_cycles=6)


def simple_spread_with_vectors():
    return pytest.importorskip("mpe2.simple_spread_v3").parallel_env(max_cycles=6, continuous_actions=True)


@pytest.mark.parametrize(
    ("make", "horizon", "agents", "space"),
    [
        (speaker_listener, 10, 2, Discrete(5)),
        (rock_paper_scissors, 6, 2, Discrete(3)),
        (simple_spread_with_vectors, 6, 3, Box(5, 0.0, 1.0)),
    ],
)
def test_random_play_is_recorded(make, horizon, agents, space):
    game = from_pettingzoo(make, horizon=horizon)
    assert (game.num_agents, game.action_space) == (agents, space)
    data = record(game, UniformPolicy(agents, space), jax.random.key(0), num_episodes=3, workers=0)
    assert np.asarray(data.lengths).tolist() == [horizon] * 3
    assert np.asarray(data.truncated)[:, -1].all()
    assert np.asarray(data.true_reward).any()
    again = record(game, UniformPolicy(agents, space), jax.random.key(0), num_episodes=3, workers=0)
    np.testing.assert_array_equal(data.obs, again.obs)


def test_mamql_learns_in_a_game_of_unlike_agents():
    game = from_pettingzoo(speaker_listener)
    assert game.static_mask == ((True,) * 3 + (False,) * 2, (True,) * 5)
    assert game.observation_spec.shape == (11,)
    random = UniformPolicy(2, game.action_space)
    data = record(game, random, jax.random.key(0), num_episodes=20, workers=0)
    small = NetworkConfig(width=16)
    learner = MAMQL(num_envs=2, num_steps=5, updates=2, batch=16, critic_network=small, reward_network=small)
    result = fit(learner, game, data, budget=200, evaluations=2, episodes=4, workers=0)
    assert result.failures == []
    assert np.isfinite([r["return/agent_mean"] for r in result.rows]).all()
    policy = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, result.learned.policy)
    seen, allowed = np.asarray(data.obs)[0, 0], np.asarray(game.static_mask)
    assert max(int(policy.sample(jax.random.key(k), seen, allowed)[0]) for k in range(20)) < 3


def test_a_game_of_ours_goes_out_and_comes_back():
    from mairl.games import make_game
    from mairl.games.adapters import to_pettingzoo

    ours = make_game("gems")
    game = from_pettingzoo(functools.partial(to_pettingzoo, ours), horizon=ours.horizon)
    assert (game.num_agents, game.action_space, game.names) == (ours.num_agents, ours.action_space, ours.agent_names())
    assert game.observation_spec.shape == ours.observation_spec.shape
