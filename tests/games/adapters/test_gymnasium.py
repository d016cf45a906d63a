"""One agent's view passes Gymnasium's checker; partners act as their policy says."""

import warnings

import jax
import numpy as np
import pytest

pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env

from mairl.core.errors import InvalidGame
from mairl.core.policy import UniformPolicy
from mairl.games.adapters import to_gymnasium
from mairl.games.gems import Gems


def test_checker_and_seeds():
    game = Gems(layout="random", horizon=12)
    env = to_gymnasium(game, 1, UniformPolicy(game.num_agents, game.action_space))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="gymnasium|importlib")  # Advice on infinite bounds and registration.
        warnings.filterwarnings("ignore", message=".*WARN.*")
        check_env(env, skip_render_check=True)
    plays = []
    for _ in range(2):
        first, _ = env.reset(seed=4)
        steps = [env.step(i % 5) for i in range(12)]
        assert [s[3] for s in steps] == [False] * 11 + [True]
        plays.append(np.concatenate([flat(first), *[flat(s[0]) for s in steps], [s[1] for s in steps]]))
    np.testing.assert_array_equal(*plays)


def test_no_such_agent():
    game = Gems(layout="random")
    with pytest.raises(InvalidGame, match=r"choose 0 … 1"):
        to_gymnasium(game, 2, UniformPolicy(game.num_agents, game.action_space))


def flat(obs):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(obs)])
