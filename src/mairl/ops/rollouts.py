"""Play in small games given by tables: batches of episodes, drawn under `jit`."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mairl.ops.linear_game import LinearGame


class Play(eqx.Module):
    """Episodes of joint play, all of the same length; what comes after an end is masked.

    Attributes:
        states: `[episode, time]` before each step.
        actions: `[episode, time, agent]`.
        alive: `[episode, time]` the game was on before the step.
    """

    states: Int[Array, "episode time"]
    actions: Int[Array, "episode time agent"]
    alive: Bool[Array, "episode time"]

    def split(self) -> tuple[Play, Play]:
        """Two halves, independent of each other."""
        half = self.states.shape[0] // 2
        return (jax.tree.map(lambda x: x[:half], self), jax.tree.map(lambda x: x[half:], self))


def roll_out(
    key: Key[Array, ""],
    game: LinearGame,
    logits: Float[Array, "agent state action"],
    *,
    episodes: int,
    horizon: int,
    start: Int[Any, " episode"] | None = None,
    first: Int[Any, "episode agent"] | None = None,
) -> Play:
    """Plays softmax(logits) for `horizon` steps.

    Args:
        start: first states, if not drawn from the game's own.
        first: first actions, -1 where they are drawn.
    """
    agents = game.num_agents
    joint = [game.num_actions] * agents
    # One uniform number a step picks the next state; what is left of it is the end of the game.
    ladder = jnp.cumsum(game.flow.reshape(game.num_states, -1, game.num_states), axis=-1)
    key_start, key_play = jax.random.split(key)
    if start is None:
        start = jax.random.categorical(key_start, jnp.log(jnp.asarray(game.start)), shape=(episodes,))

    def step(carry, inputs):
        state, alive = carry
        key, forced = inputs
        key_act, key_next = jax.random.split(key)
        chosen = jax.random.categorical(key_act, jnp.moveaxis(logits, 0, 1)[state])
        actions = jnp.where(forced < 0, chosen, forced)
        code = jnp.ravel_multi_index(tuple(actions.T), tuple(joint), mode="clip")
        drawn = jax.random.uniform(key_next, state.shape, dtype=ladder.dtype)
        after = jnp.sum(drawn[:, None] >= ladder[state, code], axis=-1)
        on = alive & (after < game.num_states)
        return (jnp.where(on, after, state), on), (state, actions, alive)

    forced = jnp.full((horizon, episodes, agents), -1)
    if first is not None:
        forced = forced.at[0].set(first)
    state = jnp.asarray(start)
    begin = state, jnp.ones(episodes, bool)
    _, (states, actions, alive) = jax.lax.scan(step, begin, (jax.random.split(key_play, horizon), forced))
    return Play(states.T, jnp.moveaxis(actions, 0, 1), alive.T)


def paid(game: LinearGame, weights: Float[Array, "agent feature"], play: Play) -> Float[Array, "episode time agent"]:
    """What each agent's reward φ · u pays at each step; 0 after the end."""
    table = jnp.einsum("...nk,nk->...n", game.features, weights)
    table = jnp.broadcast_to(table, (*game.flow.shape[:-1], game.num_agents))
    found = table[(play.states, *jnp.moveaxis(play.actions, -1, 0))]
    return found * play.alive[..., None]


def to_come(rewards: Float[Array, "episode time *b"], discount: float) -> Float[Array, "episode time *b"]:
    """Discounted sums of what follows from each step on."""

    def back(after, now):
        total = now + discount * after
        return total, total

    first = jnp.zeros_like(rewards[:, 0])
    _, sums = jax.lax.scan(back, first, jnp.moveaxis(rewards, 1, 0), reverse=True)
    return jnp.moveaxis(sums, 0, 1)


def mean_by_state(values: Float[Array, "episode time agent"], play: Play, states: int) -> Float[Array, "state agent"]:
    """The mean of values over the visits of each state; 0 for states that were not visited."""
    where, weight = play.states.ravel(), play.alive.ravel().astype(values.dtype)
    total = jax.ops.segment_sum(values.reshape(-1, values.shape[-1]) * weight[:, None], where, states)
    count = jax.ops.segment_sum(weight, where, states)
    return total / jnp.maximum(count, 1.0)[:, None]
