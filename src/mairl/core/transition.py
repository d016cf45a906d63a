"""One step of play as the learners see it: the common form of recordings, rollouts and replayed samples."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from mairl.core.game import MarkovGame, State


class Transition(eqx.Module):
    """A step, or a batch of steps (all leaves share the same leading axes, written `*b`).

    Recordings of our games keep the game's own state, which is small; observations are recomputed from it by
    `observe`. Recordings from elsewhere keep observations only.

    Attributes:
        actions: `[*b, agent]` int32, or `[*b, agent, size]` float32.
        terminated: `[*b, agent]`, the future after this step is worth 0 to the agent.
        truncated: `[*b]`, cut by the time limit.
        mask: `[*b, agent]`, the agent took part in this step.
        state, next_state: the game's state before and after; None if it was not recorded.
        obs, next_obs: leaves `[*b, agent, ...]`; None until `observe` fills them.
        action_mask: `[*b, agent, action]` allowed actions; None when all are. `next_action_mask` after the step.
        reward: `[*b, agent]` the true reward. Learners of rewards never read it; experts and metrics do.
        features: `[*b, agent, feature]` as a host game showed them (see `features`); else None.
    """

    actions: Array
    terminated: Bool[Array, "*b agent"]
    truncated: Bool[Array, "*b"]
    mask: Bool[Array, "*b agent"]
    state: State | None = None
    next_state: State | None = None
    obs: PyTree[Array] | None = None
    next_obs: PyTree[Array] | None = None
    action_mask: Bool[Array, "*b agent action"] | None = None
    next_action_mask: Bool[Array, "*b agent action"] | None = None
    reward: Float[Array, "*b agent"] | None = None
    features: Float[Array, "*b agent feature"] | None = None

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes `*b`."""
        return self.truncated.shape

    def flat(self) -> Transition:
        """The same steps with their first two axes (time and environment) as one."""
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), self)


def observe(game: MarkovGame, transition: Transition) -> Transition:
    """Fills `obs` and `next_obs` (and the action masks, where the game has them) from the recorded states."""
    if transition.obs is not None:
        return transition
    see, allowed = game.observe, game.action_mask
    for _ in transition.batch_shape:
        see, allowed = jax.vmap(see), jax.vmap(allowed)
    fields = {
        "obs": see(transition.state),
        "next_obs": see(transition.next_state),
        "action_mask": transition.action_mask if transition.action_mask is not None else allowed(transition.state),
        "next_action_mask": allowed(transition.next_state),
    }
    names = [n for n, v in fields.items() if v is not None]
    return eqx.tree_at(
        lambda t: [getattr(t, n) for n in names], transition, [fields[n] for n in names], is_leaf=lambda x: x is None
    )


def features(game: MarkovGame, transition: Transition) -> Float[Array, "*b agent feature"]:
    """The features of recorded steps, in which the true reward is linear (`MarkovGame.features`).

    Raises:
        Unsupported: the game knows none.
    """
    if transition.features is not None:
        return transition.features
    measure = game.features
    for _ in transition.batch_shape:
        measure = jax.vmap(measure)
    return measure(transition.state, transition.actions, transition.next_state)


def hide_reward(transition: Transition) -> Transition:
    """The same steps without the true reward and its features: what a learner of rewards may keep."""
    return dataclasses.replace(transition, reward=None, features=None)


def joined(first: Transition, second: Transition) -> Transition:
    """Two batches `[a, ...]` and `[b, ...]` as one `[a+b, ...]`, with the fields that both have."""

    def join(x, y):
        if x is None or y is None:
            return None
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), x, y)

    fields: dict[str, Any] = {
        f.name: join(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first)
    }
    return Transition(**fields)
