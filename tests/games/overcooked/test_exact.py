"""Exact play without counters: every listed transition is the game's, and the plans are what the game pays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidGame
from mairl.games.overcooked import Overcooked
from mairl.games.overcooked.exact import explore, logit_play, optimum

GAME = Overcooked(cook_time=2, horizon=40)


@pytest.fixture(scope="module")
def kitchen():
    return explore(GAME)


def test_listed_transitions_are_the_games(kitchen):
    rng = np.random.default_rng(0)
    state, joint = rng.integers(0, len(kitchen.codes), 500), rng.integers(0, 36, 500)
    states = jax.tree.map(lambda x: jnp.asarray(x[state]), kitchen.states)
    actions = jnp.asarray(np.stack([joint // 6, joint % 6], -1), jnp.int32)
    after, step = jax.jit(jax.vmap(lambda s, a: GAME.step(jax.random.key(0), s, a)))(states, actions)
    after = dataclasses.replace(after, time=jnp.zeros_like(after.time))
    np.testing.assert_array_equal(kitchen.index(after), kitchen.following[state, joint])
    np.testing.assert_array_equal(np.asarray(step.info["soups"]).sum(-1), kitchen.soups[state, joint])
    assert (kitchen.following[state, joint] == -1).any()  # some would use a counter


def test_the_best_plan_earns_what_it_says(kitchen):
    best = optimum(kitchen)
    state, soups = kitchen.start, 0
    for t in range(GAME.horizon):
        value = kitchen.soups[state] + np.where(
            kitchen.following[state] >= 0, best[t + 1][kitchen.following[state]], -100
        )
        choice = int(value.argmax())
        soups += int(kitchen.soups[state, choice])
        state = int(kitchen.following[state, choice])
    assert soups == best[0, kitchen.start] > 0


@pytest.mark.parametrize(("cook_time", "first"), [(20, 33), (10, 23), (5, 18)])
def test_the_first_soup_comes_as_early_as_known(cook_time, first):
    """Steps found by an independent breadth-first search."""
    short = explore(Overcooked(cook_time=cook_time, horizon=first))
    best = optimum(short)
    assert best[0, short.start] == 1
    assert best[1, short.start] == 0


def test_logit_play_is_a_soft_best_response(kitchen):
    short = dataclasses.replace(kitchen, game=dataclasses.replace(GAME, horizon=3))
    policy = logit_play(short, rationality=2.0, discount=0.9, iterations=40)
    last = policy[-1]
    paid = 10.0 * kitchen.soups.reshape(-1, 6, 6)
    allowed = (kitchen.following >= 0).reshape(-1, 6, 6)
    scaled = 2.0 * np.einsum("sab,sb->sa", np.where(allowed, paid, -1e3), last[:, 1])
    scaled = np.where(allowed.any(2), scaled, -np.inf)
    weight = np.exp(scaled - scaled.max(-1, keepdims=True))
    np.testing.assert_allclose(last[:, 0], weight / weight.sum(-1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(policy.sum(-1), 1.0, atol=1e-5)


def test_only_two_players_have_an_equilibrium_here():
    solo = explore(Overcooked(layout="XPX/O1S/XDX", horizon=20))
    with pytest.raises(InvalidGame, match="two players"):
        logit_play(solo, 1.0, 0.9)
