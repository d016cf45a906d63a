"""What Figures 3 and 4 follow while MAMQL and its baselines learn."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy, NoisyPolicy, masked
from mairl.data.collect import record
from mairl.games import make_game
from mairl.networks.rewards import reward_of
from mairl.recipes import load_expert


def learning_measures(game_name: str, stochastic: bool, steps: int = 2048) -> dict[str, Callable[[Learned], Array]]:
    """What Figures 3 and 4 follow: how near reward and behaviour are to the truth, on fixed steps.

    The steps are the expert's with a quarter of its actions replaced by random ones, so that the reward is also
    compared where the expert does not go. Reward: mean squared error and correlation of the induced reward after the
    best affine fit for each agent. Behaviour: KL(expert ‖ learned) in nats (for a greedy expert: the negative
    log-likelihood of its action) and how often the likeliest actions differ.
    """
    game, expert = make_game(game_name), load_expert(game_name).policy
    assert isinstance(expert, DiscretePolicy)
    noisy = NoisyPolicy(expert, 0.25, not stochastic)
    data = record(game, noisy, jax.random.key(3), num_steps=steps).observed(game)
    index = jnp.arange(data.num_steps)
    seen = data.transition(index)
    assert data.true_reward is not None
    truth = data.true_reward[data.steps[:, 0], data.steps[:, 1]]
    logits = jax.vmap(expert.logits)(seen.obs)
    best = jnp.argmax(masked(logits, seen.action_mask), axis=-1)
    target = (
        jax.nn.one_hot(best, logits.shape[-1]) if not stochastic else jax.nn.softmax(masked(logits, seen.action_mask))
    )
    weight = seen.mask.astype(jnp.float32)
    total = jnp.sum(weight, axis=0)

    def mean(x):
        return jnp.sum(jnp.where(seen.mask, x, 0.0), axis=0) / total

    def fitted(learned: Learned):
        """Each agent's variance explained: (mean squared error of the affine fit, correlation)."""
        reward = learned.induced_reward or learned.reward
        if reward is None:
            return None
        found = reward_of(reward, seen)
        x, y = found - mean(found), truth - mean(truth)
        cov, var_x, var_y = mean(x * y), mean(x * x), mean(y * y)
        correlation = cov / jnp.sqrt(jnp.maximum(var_x * var_y, 1e-12))
        return jnp.mean(var_y - cov**2 / jnp.maximum(var_x, 1e-12)), jnp.mean(correlation)

    def kl(learned: Learned):
        assert isinstance(learned.policy, DiscretePolicy)
        log_prob = jax.vmap(learned.policy.log_probs)(seen.obs, seen.action_mask)
        entropy = jnp.sum(jax.scipy.special.xlogy(target, target), axis=-1)
        return jnp.mean(mean(entropy - jnp.sum(jnp.where(target > 0, target * log_prob, 0.0), axis=-1)))

    def disagreement(learned: Learned):
        mode = jax.vmap(learned.policy.mode)(seen.obs, seen.action_mask)
        return jnp.mean(mean((mode != best).astype(jnp.float32)))

    def reward_mse(learned: Learned):
        result = fitted(learned)
        return jnp.array(jnp.nan) if result is None else result[0]

    def reward_pearson(learned: Learned):
        result = fitted(learned)
        return jnp.array(jnp.nan) if result is None else result[1]

    return {
        "behaviour/kl": kl,
        "behaviour/disagreement": disagreement,
        "reward/affine_mse": reward_mse,
        "reward/pearson": reward_pearson,
    }
