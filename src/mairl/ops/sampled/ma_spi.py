"""Multi-agent soft policy improvement from play: Q̄_i(s, a_i) by Monte Carlo, π_i' = softmax(Q̄_i / τ).

Play begins in every state with every own action (others act as they do), as often as it takes: every entry of Q̄ is an
unbiased mean, and so is the change of the centred logits, which is linear in it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mairl.ops.linear_game import LinearGame, centred
from mairl.ops.rollouts import paid, roll_out


def sampled_ma_spi(
    key: Key[Array, ""],
    game: LinearGame,
    logits: Float[Array, "agent state action"],
    weights: Float[Array, "agent feature"],
    look_ahead=0.0,
    *,
    episodes: int,
    horizon: int,
) -> Float[Array, "agent state action"]:
    """One step. Arguments as in `mairl.ops.sampled`; `weights` are u = ω / τ, `look_ahead` is not read; `episodes` are
    shared out to states and own actions, at least one for each."""
    del look_ahead
    agents, states, actions = logits.shape
    each = max(1, episodes // (states * actions))
    logs = jax.nn.log_softmax(logits, axis=-1)
    entropy = -jnp.sum(jnp.exp(logs) * logs, axis=-1)
    start = jnp.repeat(jnp.arange(states), actions * each)
    fades = game.discount ** jnp.arange(horizon)

    def q(key, i):
        own = jnp.tile(jnp.repeat(jnp.arange(actions), each), states)
        first = jnp.where(jnp.arange(agents) == i, own[:, None], -1)
        play = roll_out(key, game, logits, episodes=len(start), horizon=horizon, start=start, first=first)
        # The entropy of the state that play begins in is no answer to the action.
        soft = (entropy[i, play.states] * play.alive).at[:, 0].set(0.0)
        total = jnp.sum(fades * (paid(game, weights, play)[..., i] + soft), axis=1)
        return jnp.mean(total.reshape(states, actions, each), axis=-1)

    found = jnp.stack([q(k, i) for i, k in enumerate(jax.random.split(key, agents))])
    return centred(found) - centred(logits)
