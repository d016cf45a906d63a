"""Games pass PettingZoo's own tests and play as they do natively."""

from functools import partial

import jax
import numpy as np
import pytest

pytest.importorskip("pettingzoo")
from pettingzoo.test import parallel_api_test, parallel_seed_test

from mairl.games.adapters import to_pettingzoo
from mairl.games.gems import Gems


@pytest.fixture(scope="module")
def game():
    return Gems(layout="random", horizon=12)


def test_parallel_api(game, capsys):
    parallel_api_test(to_pettingzoo(game), num_cycles=40)
    assert "Passed" in capsys.readouterr().out


def test_seeds(game):
    parallel_seed_test(lambda: to_pettingzoo(game), num_cycles=20)


def test_it_plays_the_same_game(game):
    env = to_pettingzoo(game)
    obs, _ = env.reset(seed=3)
    key, sub = jax.random.split(jax.random.key(3))
    state, want = game.reset(sub)
    rng = np.random.default_rng(0)
    for _ in range(game.horizon):
        for i, name in enumerate(game.agent_names()):
            close = partial(np.testing.assert_allclose, atol=1e-6)  # Compiled or not, floats round differently.
            jax.tree.map(close, obs[name], jax.tree.map(lambda x, i=i: np.asarray(x[i]), want))
        joint = rng.integers(0, game.action_space.n, game.num_agents)
        obs, reward, terminated, truncated, _ = env.step(dict(zip(env.agents, joint)))
        key, sub = jax.random.split(key)
        state, step = game.step(sub, state, joint)
        want = step.obs
        np.testing.assert_allclose(list(reward.values()), np.asarray(step.reward), atol=1e-6)
        assert list(terminated.values()) == np.asarray(step.terminated).tolist()
    assert all(truncated.values())
    assert env.agents == []


def test_render(game):
    env = to_pettingzoo(game)
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
