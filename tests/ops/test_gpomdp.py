"""GPOMDP where the gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np

from mairl.ops.gpomdp import gpomdp

DISCOUNT = 0.8


def play(key, logits, behaviour, num_envs, num_steps):
    """A game without a state: actions pay 1, 2, … in the first feature, and 1 always in the second."""
    actions = jax.random.categorical(key, behaviour, shape=(num_steps, num_envs))
    features = jnp.stack([1.0 + actions, jnp.ones_like(actions, float)], axis=-1)
    log_ratio = jax.nn.log_softmax(logits) - jax.nn.log_softmax(behaviour)

    def score(acted):
        return jax.nn.one_hot(acted, len(logits)) - jax.nn.softmax(logits)

    return score, actions, features, jnp.exp(log_ratio)[actions]


def exact(logits, num_steps):
    paid = jnp.arange(1.0, len(logits) + 1)
    slope = jax.grad(lambda x: jax.nn.softmax(x) @ paid)(logits)
    return slope * sum(DISCOUNT**t for t in range(num_steps))


def estimate(behaviour, over=None, num_envs=40_000, num_steps=3):
    logits = jnp.array([0.3, -0.2, 0.1])
    score, actions, features, ratio = play(jax.random.key(0), logits, behaviour, num_envs, num_steps)
    ended = jnp.zeros(actions.shape, bool) if over is None else over(actions)
    return gpomdp(score, actions, features, ended, ratio, DISCOUNT), logits


def test_own_play_gives_the_gradient_of_each_feature():
    found, logits = estimate(jnp.array([0.3, -0.2, 0.1]))
    np.testing.assert_allclose(found[:, 0], exact(logits, 3), atol=0.02)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=0.02)


def test_others_play_is_weighed():
    found, logits = estimate(jnp.array([-0.2, 0.2, 0.4]))
    np.testing.assert_allclose(found[:, 0], exact(logits, 3), atol=0.03)


def test_episodes_begin_anew():
    # Three episodes of one step: three times the gradient of one.
    found, logits = estimate(jnp.array([0.3, -0.2, 0.1]), over=lambda a: jnp.ones(a.shape, bool))
    np.testing.assert_allclose(found[:, 0], 3 * exact(logits, 1), atol=0.02)
