"""Adversarial pieces: values by hand, optima, gradients against finite differences, projections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from mairl.ops.discriminator import (
    Moments,
    absorbing_loss,
    cross_entropy,
    gradient_penalty,
    limit_spectral_norm,
    reward_form,
    shaped,
    with_absorbing,
)


def test_forms_of_reward():
    logit = jnp.array([-3.0, 0.0, 2.0])
    d = jax.nn.sigmoid(logit)
    np.testing.assert_allclose(reward_form(logit, "softplus"), -jnp.log(1 - d), rtol=1e-5)
    np.testing.assert_allclose(reward_form(logit, "log"), jnp.log(d), rtol=1e-5)
    np.testing.assert_allclose(reward_form(logit, "softplus") + reward_form(logit, "log"), logit, atol=1e-6)
    with pytest.raises(ValueError, match="unknown reward form"):
        reward_form(logit, "sqrt")


def test_best_logit_is_the_log_ratio_of_visits():
    with jax.enable_x64(True):
        expert, policy = jnp.array([[0.7], [0.3]]), jnp.array([[0.2], [0.8]])
        best = jnp.log(expert / policy)
        grad = jax.grad(lambda x: jnp.sum(cross_entropy(x, x, expert, policy)[0]))(best)
        np.testing.assert_allclose(grad, 0.0, atol=1e-12)
        rates = jnp.array([[1.0], [0.0]]), jnp.array([[0.0], [1.0]])
        after = jax.grad(lambda c: jnp.sum(absorbing_loss(c, *rates, expert, policy)))(jnp.log(jnp.array([0.7 / 0.8])))
        np.testing.assert_allclose(after, 0.0, atol=1e-12)


def test_gradients_against_finite_differences():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, w = jnp.asarray(rng.normal(size=(4, 5, 2))), jnp.asarray(rng.uniform(size=(2, 5, 2)))

        def loss(x):
            smoothed = cross_entropy(x[0], x[1], w[0], w[1], 0.1)[0]
            f = shaped(x[0], x[1], x[2], w[0] > 0.5, 0.9)
            return jnp.sum(smoothed) + jnp.sum(f * w[1]) + jnp.sum(absorbing_loss(x[3, 0], w[0], w[1], w[1], w[0]))

        check_grads(loss, (x,), order=1, modes=["rev"], atol=1e-7, rtol=1e-7)
        weights = jnp.asarray(rng.normal(size=(2, 3)))

        def penalty(weights):
            return jnp.sum(gradient_penalty(lambda x: jnp.sum(jnp.tanh(x * weights), axis=1), x[0, :2, :1] * weights))

        check_grads(penalty, (weights,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_shaping_stops_at_termination_and_absorbing_pays_for_ever():
    f = shaped(jnp.ones(2), jnp.full(2, 3.0), jnp.full(2, 10.0), jnp.array([False, True]), 0.5)
    np.testing.assert_allclose(f, [1 + 5 - 3, 1 - 3])
    paid = with_absorbing(jnp.zeros((1, 2)), jnp.array([2.0, 2.0]), jnp.array([[True, False]]), 0.9)
    np.testing.assert_allclose(paid, [[18.0, 0.0]], rtol=1e-6)


def test_spectral_norm_is_limited_and_biases_left_alone():
    rng = np.random.default_rng(0)
    module = {"weight": jnp.asarray(rng.normal(size=(2, 6, 5)), jnp.float32), "bias": jnp.full((2, 5), 100.0)}
    small = {"weight": module["weight"] * 1e-3, "bias": module["bias"]}
    limited = limit_spectral_norm(module, 1.0, iterations=100)
    np.testing.assert_allclose(jnp.linalg.norm(limited["weight"], ord=2, axis=(1, 2)), 1.0, rtol=1e-3)
    np.testing.assert_array_equal(limited["bias"], module["bias"])
    np.testing.assert_array_equal(limit_spectral_norm(small, 1.0)["weight"], small["weight"])


def test_moments_follow_the_data_and_skip_masked_samples():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, size=(4, 500, 2)).astype(np.float32)
    moments = Moments.zeros(jnp.zeros(2))
    for part in x:
        weight = np.ones(500, np.float32)
        part[:100], weight[:100] = np.nan, 0.0
        moments = moments.seen(part, weight)
    rest = x[:, 100:].reshape(-1, 2)
    np.testing.assert_allclose(moments.mean, rest.mean(0), rtol=1e-4)
    np.testing.assert_allclose(jnp.std(moments.normalise(rest), axis=0), 1.0, rtol=1e-3)
    np.testing.assert_allclose(Moments.zeros(jnp.zeros(2)).normalise(rest[:1]), rest[:1])
