"""Whole episodes of our games and of host games are measured alike."""

import functools

import jax
import numpy as np
import pytest

from mairl.core.policy import UniformPolicy
from mairl.data.collect import play_episodes
from mairl.games import make_game
from mairl.games.adapters import from_pettingzoo, to_pettingzoo
from mairl.metrics.play import play_whole


@pytest.fixture(scope="module")
def spread():
    game = make_game("simple-spread:agents=2,horizon=6")
    return game, UniformPolicy(2, game.action_space)


def test_sums_are_those_of_the_episodes(spread):
    game, policy = spread
    played = play_whole(game, policy, 8, seed=3)
    again = play_episodes(game, policy, jax.random.key(3), 8)
    np.testing.assert_allclose(played.returns, again.returns, rtol=1e-5)
    np.testing.assert_allclose((played.features * game.feature_weights()).sum(-1), played.returns, rtol=1e-4)


def test_a_host_game_earns_what_the_game_itself_does(spread):
    pytest.importorskip("pettingzoo")
    game, policy = spread
    host = from_pettingzoo(functools.partial(to_pettingzoo, game), horizon=6)
    played = play_whole(host, policy, 40, workers=0)
    ours = play_whole(game, policy, 400)
    assert played.returns.shape == (40, 2)
    assert played.features is None
    spread_of = ours.returns.mean(1).std() / np.sqrt(40)
    assert abs(played.returns.mean() - ours.returns.mean()) < 4 * spread_of
