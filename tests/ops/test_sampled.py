"""Learners that see samples only: on average they do what the exact ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData, Unsupported
from mairl.data.sampled_learning import sampled_learning
from mairl.games.tabular import random_game
from mairl.ops.learners import LEARNERS
from mairl.ops.learners.step import compiled_step
from mairl.ops.linear_game import LinearGame, centred
from mairl.ops.rollouts import paid, roll_out, to_come
from mairl.ops.sampled import SAMPLED

HORIZON, LOOK_AHEAD = 16, 1.5
"""0.5 ** 16 of what is to come is left out: 2e-5, a hundredth of what chance leaves."""


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    tables = random_game(4, num_states=3, num_actions=2, discount=0.5).tables()
    game = LinearGame.of(tables, rng.normal(size=(3, 2, 2, 2, 3)))
    return game, centred(rng.normal(size=(2, 3, 2))), rng.normal(size=(2, 3))


def exact(case, name):
    with jax.enable_x64(True):
        return np.asarray(compiled_step(name)(*case, LOOK_AHEAD))


def sampled(case, name, episodes, repeats=32):
    """Mean and standard error of independent steps."""
    with jax.enable_x64(True):
        game, logits, weights = case
        step = jax.jit(
            lambda k: SAMPLED[name](
                k, game, jnp.asarray(logits), jnp.asarray(weights), LOOK_AHEAD, episodes=episodes, horizon=HORIZON
            )
        )
        steps = np.stack([np.asarray(step(k)) for k in jax.random.split(jax.random.key(5), repeats)])
    return steps.mean(0), steps.std(0, ddof=1) / repeats**0.5


def distance(found, error, want) -> float:
    """In standard errors, of the worst entry. Logits are centred: of two actions one entry tells all."""
    return float(np.max(np.abs(found - want) / np.maximum(error, 1e-12)))


@pytest.mark.parametrize("name", list(LEARNERS))
def test_the_mean_of_sampled_steps_is_the_exact_step(case, name):
    mean, error = sampled(case, name, 4000)
    assert distance(mean, error, exact(case, name)) < 4.5
    # And it is told from every other learner's step by the same measure.
    others = [other for other in LEARNERS if other != name]
    assert min(distance(mean, error, exact(case, other)) for other in others) > 6


def test_steps_of_few_episodes_are_unbiased_where_they_say_so(case):
    for name in ("naive", "lola-taylor", "first-order-complete", "ma-spi"):
        mean, error = sampled(case, name, 24, repeats=4000 if name == "naive" else 2000)
        assert distance(mean, error, exact(case, name)) < 4.5, name


def test_play_follows_the_game(case):
    game, logits, weights = case
    with jax.enable_x64(True):
        play = roll_out(jax.random.key(0), game, jnp.asarray(logits), episodes=20_000, horizon=2)
        rewards = paid(game, jnp.asarray(weights), play)
    states, actions = np.asarray(play.states), np.asarray(play.actions)
    chance = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    joint = np.einsum("sa,sb->sab", *chance)
    after = np.einsum("s,sab,sabt->t", game.start, joint, game.flow)
    assert np.bincount(states[:, 1], minlength=3) / 20_000 == pytest.approx(after, abs=4.5 * 0.5 / 20_000**0.5)
    table = game.reward(weights)
    want = table[states[:, 0], actions[:, 0, 0], actions[:, 0, 1]]
    np.testing.assert_allclose(rewards[:, 0], want, atol=1e-12)


def test_nothing_is_done_or_paid_after_the_end():
    tables = random_game(0, num_states=3, num_actions=2, discount=0.9, num_terminal=1).tables()
    game = LinearGame.of(tables, np.ones((3, 1)))
    with jax.enable_x64(True):
        play = roll_out(jax.random.key(0), game, jnp.zeros((2, 3, 2)), episodes=500, horizon=4)
        rewards = np.asarray(paid(game, jnp.ones((2, 1)), play))[..., 0]
    alive = np.asarray(play.alive)
    assert (np.diff(alive.astype(int), axis=1) <= 0).all()
    assert 0 < alive[:, -1].mean() < 0.7
    np.testing.assert_array_equal(rewards, alive)
    assert not tables.terminal[np.asarray(play.states)[alive]].any()


def test_what_is_to_come():
    got = to_come(jnp.asarray([[1.0, 2.0, 4.0]]), 0.5)
    np.testing.assert_allclose(got, [[3.0, 4.0, 4.0]])


def test_a_history_of_sampled_steps(case):
    game, _, weights = case

    def learned(seed, learner="naive", episodes=64):
        return sampled_learning(
            game, learner, 0.3 * weights, 0.0, transitions=2, episodes=episodes, horizon=8, seed=seed
        )

    history = learned(1)
    np.testing.assert_array_equal(history.logits(), learned(1).logits())
    assert np.abs(history.logits() - learned(2).logits()).max() > 0.1
    assert history.num_snapshots == 3
    with pytest.raises(InvalidData, match="halves are kept apart"):
        learned(1, episodes=1)
    with pytest.raises(Unsupported, match="unknown learner 'ppo'"):
        learned(1, "ppo")
