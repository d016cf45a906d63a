"""Divergences of policies: by hand, and against samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import Unsupported
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Box
from mairl.networks.policy_divergence import Distribution, distribution, divergence, entropy, sampled_divergence


def normal(mean, deviation):
    return Distribution(mean=jnp.array(mean), log_std=jnp.log(jnp.array(deviation)))


def test_normals_by_hand_and_by_samples():
    real, guess = normal([[0.0, 1.0]], [[1.0, 0.5]]), normal([[1.0, 1.0]], [[2.0, 0.5]])
    # log 2 + (1 + 1) / 8 - 1/2 for the first size, 0 for the second.
    np.testing.assert_allclose(divergence(real, guess), [np.log(2) + 2 / 8 - 0.5], rtol=1e-6)
    sampled = sampled_divergence(jax.random.key(0), real, guess, 40_000)
    np.testing.assert_allclose(sampled, divergence(real, guess), atol=0.02)
    np.testing.assert_allclose(entropy(real), [np.log(2 * np.pi * np.e) + np.log(0.5)], rtol=1e-6)


def test_forbidden_actions_weigh_nothing():
    real = Distribution(log_probs=jnp.log(jnp.array([[0.5, 0.5, 0.0]])))
    guess = Distribution(log_probs=jnp.log(jnp.array([[0.25, 0.75, 0.0]])))
    want = 0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75)
    np.testing.assert_allclose(divergence(real, guess), [want], rtol=1e-6)
    np.testing.assert_allclose(entropy(real), [np.log(2)], rtol=1e-6)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(Unsupported, match="each other"):
        divergence(Distribution(log_probs=jnp.zeros((1, 2))), normal([[0.0]], [[1.0]]))
    with pytest.raises(Unsupported, match="UniformPolicy is not known"):
        distribution(UniformPolicy(1, Box(2)), jnp.zeros((1, 3)), None, 0)
