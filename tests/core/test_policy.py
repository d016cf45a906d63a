"""Policies: their probabilities are probabilities, and what is forbidden is never done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.policy import DiscretePolicy, NoisyPolicy, UniformPolicy
from mairl.core.spaces import Box, Discrete

MASK = jnp.array([[True, True, False], [False, True, True]])
OBS = jnp.array([[2.0, 1.0, 3.0], [0.0, 0.0, 0.0]])


class Scored(DiscretePolicy):
    """What an agent sees are its logits."""

    def logits(self, obs):
        return obs


def drawn(policy, mask, count=4000):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.vmap(lambda key: policy.sample(key, OBS, mask))(keys))


def frequencies(actions):
    return np.stack([np.bincount(a, minlength=3) / len(a) for a in actions.T])


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(
    "policy",
    [Scored(), NoisyPolicy(Scored(), 0.3), NoisyPolicy(Scored(), 0.3, greedy=True), NoisyPolicy(Scored(), 1.0)],
)
def test_samples_follow_the_probabilities(policy, mask):
    chances = np.exp(policy.log_probs(OBS, mask))
    np.testing.assert_allclose(chances.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(frequencies(drawn(policy, mask)), chances, atol=0.04)
    if mask is not None:
        assert np.all(chances[~np.asarray(mask)] == 0)
    for actions in (jnp.array([0, 1]), jnp.array([1, 2])):
        wanted = policy.log_probs(OBS, mask)[jnp.arange(2), actions]
        np.testing.assert_allclose(policy.log_prob(OBS, actions, mask), wanted, rtol=1e-6)


def test_the_mode_is_allowed_and_ties_go_to_the_first():
    np.testing.assert_array_equal(Scored().mode(OBS), [2, 0])
    np.testing.assert_array_equal(Scored().mode(OBS, MASK), [0, 1])


def test_noise_mixes_with_what_is_allowed():
    noisy, plain = np.exp(NoisyPolicy(Scored(), 0.4).log_probs(OBS, MASK)), np.exp(Scored().log_probs(OBS, MASK))
    np.testing.assert_allclose(noisy, 0.6 * plain + 0.4 * np.asarray(MASK) / 2, atol=1e-6)


def test_uniform_play():
    policy = UniformPolicy(2, Discrete(3))
    np.testing.assert_allclose(frequencies(drawn(policy, None)), 1 / 3, atol=0.04)
    np.testing.assert_allclose(frequencies(drawn(policy, MASK)), np.asarray(MASK) / 2, atol=0.04)
    np.testing.assert_array_equal(policy.mode(OBS, MASK), [0, 1])
    np.testing.assert_allclose(policy.log_prob(OBS, jnp.array([0, 1]), MASK), np.log(0.5), rtol=1e-6)


def test_uniform_play_in_a_box():
    policy = UniformPolicy(2, Box(3, -1.0, 3.0))
    actions = drawn(policy, None, 500)
    assert actions.shape == (500, 2, 3)
    assert -1 <= actions.min() < -0.9
    assert 2.9 < actions.max() <= 3
    np.testing.assert_allclose(policy.log_prob(OBS, actions[0]), -3 * np.log(4), rtol=1e-6)
    np.testing.assert_array_equal(policy.mode(OBS), np.ones((2, 3)))


@pytest.mark.parametrize(
    "wrong", [lambda: Discrete(0), lambda: Box(0), lambda: Box(1, 1.0, 1.0), lambda: Box(1, 0.0, -1.0)]
)
def test_spaces_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="needs"):
        wrong()
