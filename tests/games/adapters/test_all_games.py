"""Every game that has an id is a sound PettingZoo environment, and a sound Gymnasium one for each agent."""

import warnings

import numpy as np
import pytest

pytest.importorskip("pettingzoo")
pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test

from mairl.core.policy import UniformPolicy
from mairl.games import GAMES, HOST_GAMES, make_game
from mairl.games.adapters import to_gymnasium, to_pettingzoo


@pytest.fixture(scope="module", params=[name for name in GAMES if name not in HOST_GAMES])
def game(request):
    return make_game(request.param)


def test_pettingzoo(game, capsys):
    env = to_pettingzoo(game)
    parallel_api_test(env, num_cycles=game.horizon + 2)
    assert "Passed" in capsys.readouterr().out
    parallel_seed_test(lambda: to_pettingzoo(game), num_cycles=5)
    assert list(env.possible_agents) == list(game.agent_names())


def test_gymnasium(game):
    agent = game.num_agents - 1
    env = to_gymnasium(game, agent, UniformPolicy(game.num_agents, game.action_space))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*WARN.*")  # Advice on infinite bounds.
        check_env(env, skip_render_check=True)
    obs, _ = env.reset(seed=2)
    again, _ = env.reset(seed=2)
    for a, b in zip(_leaves(obs), _leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def _leaves(obs):
    if isinstance(obs, dict):
        return [leaf for value in obs.values() for leaf in _leaves(value)]
    return [obs]
