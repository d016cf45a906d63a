"""Returns from play as functions of the policies, whose derivatives of any order are unbiased (DiCE).

Foerster et al. 2018b ("DiCE: The Infinitely Differentiable Monte Carlo Estimator"), Eqs. 7 and 12:

    L_i(θ) = mean Σ_t γᵗ [□(a_0 … a_t) r_i,t + (1 - □(a_t)) b_i(s_t)],   □(·) = exp(Σ log π - stop_gradient(Σ log π))

with the actions of all agents in □. Its first derivative is GPOMDP's: each action is credited with what follows it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import Play, mean_by_state, paid, to_come


def dice_returns(
    game: LinearGame,
    logits: Float[Array, "agent state action"],
    weights: Float[Array, "agent feature"],
    play: Play,
    baseline: Float[Array, "state agent"],
) -> Float[Array, " agent"]:
    """L_i(θ) of play that was drawn at θ.

    Args:
        baseline: b_i(s), from other play: what it was drawn from must not be `play`.
    """
    logs = jax.nn.log_softmax(logits, axis=-1)
    agents = jnp.arange(logits.shape[0])
    taken = logs[agents, play.states[..., None], play.actions].sum(-1) * play.alive
    past = jnp.cumsum(taken, axis=1)
    rewards = paid(game, weights, play)
    fades = game.discount ** jnp.arange(taken.shape[1])
    gains = fades[:, None] * _box(past)[..., None] * rewards
    level = baseline[play.states] * play.alive[..., None]
    flat = fades[:, None] * (1 - _box(taken))[..., None] * level
    return jnp.mean(jnp.sum(gains + flat, axis=1), axis=0)


def values_from(game: LinearGame, weights: Float[Array, "agent feature"], play: Play) -> Float[Array, "state agent"]:
    """A baseline: the mean discounted reward to come after each state."""
    return mean_by_state(to_come(paid(game, weights, play), game.discount), play, game.num_states)


def cross_fitted(game: LinearGame, weights: Float[Array, "agent feature"], play: Play):
    """Two functions of the logits, L of each half of the play with the other half's baseline: independent of each
    other but for those baselines, which change no mean."""
    first, second = play.split()
    levels = [jax.lax.stop_gradient(values_from(game, weights, half)) for half in (second, first)]
    return tuple(
        lambda theta, half=half, level=level: dice_returns(game, theta, weights, half, level)
        for half, level in zip((first, second), levels)
    )


def _box(logs):
    return jnp.exp(logs - jax.lax.stop_gradient(logs))
