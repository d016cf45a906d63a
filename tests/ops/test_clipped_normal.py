"""Clipped normals: the likelihood is one of a distribution, and its score is unbiased; known answers by integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from mairl.ops.clipped_normal import clipped_normal_log_prob

LOW, HIGH = -1.0, 1.5


def log_prob(action, mean, log_std=-0.7):
    one = [jnp.asarray([x], jnp.float32) for x in (action, mean, log_std)]
    return clipped_normal_log_prob(*one, LOW, HIGH)


@pytest.mark.parametrize("mean", [-1.4, 0.3, 2.5])
def test_sums_to_one(mean):
    inside, _ = integrate.quad(lambda a: float(jnp.exp(log_prob(a, mean))), LOW + 1e-6, HIGH - 1e-6)
    total = inside + float(jnp.exp(log_prob(LOW, mean))) + float(jnp.exp(log_prob(HIGH, mean)))
    assert total == pytest.approx(1.0, abs=1e-4)


def test_is_the_normal_inside_and_its_tails_at_the_bounds():
    actions = jnp.array([[-1.0, 0.2, 1.5], [-3.0, -0.9, 9.0]])
    mean, std = np.array([-0.5, 0.1, 1.0]), np.array([0.4, 0.2, 0.3])
    tails = stats.norm.logcdf(LOW, mean[0], std[0]) + stats.norm.logsf(HIGH, mean[2], std[2])
    expected = tails + stats.norm.logpdf([0.2, -0.9], mean[1], std[1])
    found = clipped_normal_log_prob(actions, jnp.array(mean), jnp.log(jnp.array(std)), LOW, HIGH)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("mean", [-1.4, 0.3, 2.5])
def test_the_score_is_unbiased(mean):
    def clipped(action):
        return float(jax.grad(lambda m: log_prob(action, m))(mean))

    std = float(np.exp(-0.7))
    inside, _ = integrate.quad(lambda a: stats.norm.pdf(a, mean, std) * clipped(a), LOW + 1e-6, HIGH - 1e-6)
    tails = stats.norm.cdf(LOW, mean, std) * clipped(LOW) + stats.norm.sf(HIGH, mean, std) * clipped(HIGH)
    assert inside + tails == pytest.approx(0.0, abs=1e-4)
    # What the density of the unclipped normal would give in its place.
    wrong = stats.norm.cdf(LOW, mean, std) * (LOW - mean) + stats.norm.sf(HIGH, mean, std) * (HIGH - mean)
    assert abs(inside + wrong / std**2) > 1e-3


def test_means_far_outside_stay_finite():
    value, slope = jax.value_and_grad(lambda m: log_prob(HIGH, m, -3.0))(40.0)
    assert (float(value), float(slope)) == (0.0, 0.0)
    value, slope = jax.value_and_grad(lambda m: log_prob(HIGH, m, -3.0))(-40.0)
    assert np.isfinite([float(value), float(slope)]).all()
    assert float(slope) > 0
