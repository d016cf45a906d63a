"""Probe games keep the contract, and one step of play earns what their answers say."""

import equinox as eqx
import jax
import numpy as np
import pytest

from mairl.data.collect import play_episodes
from mairl.games.tabular import TabularPolicy
from mairl.testing import PROBES, check_game
from mairl.testing.probes import chain, two_steps


@pytest.mark.parametrize("name", PROBES)
def test_play_earns_the_answer(name):
    probe = PROBES[name]()
    game = probe.game
    episodes = eqx.filter_jit(play_episodes)(game, TabularPolicy.new(probe.policies), jax.random.key(0), 2000)
    discounts = game.discount ** np.arange(game.horizon)
    paid = np.where(np.asarray(episodes.steps.mask), np.asarray(episodes.steps.reward), 0)
    earned = np.tensordot(discounts, paid, axes=1).mean(axis=0)
    want = probe.values @ game.tables().start
    np.testing.assert_allclose(earned, want, atol=0.1 if name == "zero_sum" else 1e-5)
    assert bool(np.asarray(episodes.lengths < game.horizon).all())  # all of them end by themselves
    assert probe.name == name


def test_contract():
    check_game(chain().game, jax.random.key(0), num_envs=8)


def test_answers_depend_on_the_discount_as_they_should():
    np.testing.assert_allclose(two_steps(0.5).values[0, 0], 0.5)
    np.testing.assert_allclose(chain(3, 0.5).values[0], [0.25, 0.5, 1, 0])
