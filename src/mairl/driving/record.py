"""Logs as demonstrations: every vehicle driven by the actions that keep it to its log."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mairl.core.transition import Transition
from mairl.data.collect import recording
from mairl.data.demonstrations import Demonstrations, Metadata
from mairl.driving.dynamics import Grid
from mairl.driving.follow import following, retracing
from mairl.driving.game import Driving
from mairl.driving.simulator import State


def following_actions(game: Driving, state: State) -> Array:
    """The game's own actions by which driven vehicles keep to their logs."""
    return own_actions(game, following(game.worlds, game.model, state))


def retracing_actions(game: Driving, state: State) -> Array:
    """The game's own actions by which driven vehicles keep to their logs' paths."""
    return own_actions(game, retracing(game.worlds, game.model, state))


def own_actions(game: Driving, action: Array) -> Array:
    """The dynamics' actions as the game takes them: the nearest of a grid, or vectors in [-1, 1]."""
    if isinstance(game.dynamics, Grid):
        return game.dynamics.nearest(action)
    low, high = jnp.asarray(game.dynamics.low), jnp.asarray(game.dynamics.high)
    return jnp.clip(2.0 * (action - low) / (high - low) - 1.0, -1.0, 1.0)


def disturbed(game: Driving, key: Key[Array, ""], actions: Array, noise: float) -> Array:
    """Actions of which a share `noise` is moved: by up to two places of each component's grid, or by a normal of
    standard deviation 0.2."""
    key_which, key_how = jax.random.split(key)
    which = jax.random.uniform(key_which, actions.shape[:1]) < noise
    if not isinstance(game.dynamics, Grid):
        moved = jnp.clip(actions + 0.2 * jax.random.normal(key_how, actions.shape), -1.0, 1.0)
        return jnp.where(which[:, None], moved, actions)
    parts = jnp.stack(jnp.unravel_index(actions, game.dynamics.bins))
    top = jnp.array(game.dynamics.bins)[:, None] - 1
    moved = jnp.clip(parts + jax.random.randint(key_how, parts.shape, -2, 3), 0, top)
    return jnp.where(which, jnp.ravel_multi_index(tuple(moved), game.dynamics.bins, mode="clip"), actions)


def record_logs(
    game: Driving, key: Key[Array, ""], *, noise: tuple[float, ...] = (0.0,), metadata: Metadata = Metadata()
) -> Demonstrations:
    """Each world once for each level of noise: states and the actions that keep to the logs.

    Args:
        noise: share of the steps at which what is done differs from what is recorded, so that the recordings show how
            to get back to the log (Laskey et al. 2017, arXiv:1703.09327).
    """
    count = len(game.worlds)

    def one(key, state, over, level):
        wanted = following_actions(game, state)
        after, step = game.step(key, state, disturbed(game, key, wanted, level))
        after = jax.tree.map(lambda a, b: jnp.where(over, a, b), state, after)
        done = Transition(
            actions=wanted,
            terminated=step.terminated & ~over,
            truncated=step.truncated & ~over,
            mask=step.mask & ~over,
            state=state,
            next_state=after,
            reward=step.reward,
        )
        return after, over | step.done, done

    @eqx.filter_jit
    def play(game: Driving, key, level):
        first = jax.vmap(lambda w: game.reset_to(w)[0])(jnp.arange(count))

        def tick(carry, key):
            state, over = carry
            state, next_over, done = jax.vmap(one, in_axes=(0, 0, 0, None))(
                jax.random.split(key, count), state, over, level
            )
            return (state, next_over), (done, ~over)

        start = (first, jnp.zeros(count, bool))
        return jax.lax.scan(tick, start, jax.random.split(key, game.horizon))[1]

    parts = [play(game, jax.random.fold_in(key, k), jnp.float32(level)) for k, level in enumerate(noise)]
    steps, alive = jax.tree.map(lambda *x: np.moveaxis(np.concatenate(x, 1), 0, 1), *parts)

    return recording(game, steps, alive.sum(1), metadata)
