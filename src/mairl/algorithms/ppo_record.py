"""What PPO did while it learned: its states, the play each update was made from, and that play's reward features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mairl.algorithms.ppo import PPO, State
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.core.transition import Transition, observe
from mairl.data.collect import play, reset

Features = Callable[[Any, Array, Any], Float[Array, "agent feature"]]
"""Of one step: state, joint action and next state to what each agent's reward is linear in."""


class PPORecord(eqx.Module):
    """Consecutive updates, stacked on a first axis `[step, ...]`.

    Attributes:
        before: the learner's state before each update.
        after: the policies after it.
        key: what each update drew its minibatches from, as `jax.random.key_data`.
        rollout: the play it was made from, `[step, time, env, ...]`, with observations, without states and rewards.
        features: of that play, `[step, time, env, agent, feature]`.
    """

    before: State
    after: Policy
    key: Int[Array, "step word"]
    rollout: Transition
    features: Float[Array, "step time env agent feature"]

    @property
    def num_steps(self) -> int:
        """How many updates."""
        return self.key.shape[0]

    def steps(self, which: slice) -> PPORecord:
        """Some consecutive updates only."""
        return jax.tree.map(lambda x: x[which] if eqx.is_array(x) else x, self)


def record_ppo(
    ppo: PPO, game: MarkovGame, features: Features, key: Key[Array, ""], *, skip: int, steps: int
) -> tuple[State, PPORecord]:
    """Lets PPO learn for `skip` updates, and records the next `steps`. `jit` and `vmap` (over keys) work on it.

    Args:
        features: see `Features`.

    Returns:
        The state in the end, and what was recorded.
    """
    key_state, key_env, key_loop = jax.random.split(key, 3)
    first = ppo.init(key_state, game, None), reset(game, key_env, ppo.num_envs)
    arrays, static = eqx.partition(first, eqx.is_array)

    def update(arrays, index):
        state, env = eqx.combine(arrays, static)
        key_play, key_update = jax.random.split(jax.random.fold_in(key_loop, index))
        env, rollout = play(game, ppo.behaviour(state), key_play, env, ppo.num_steps)
        after, _ = ppo.update(key_update, state, game, None, rollout)
        return eqx.filter((after, env), eqx.is_array), (state, after, key_update, rollout)

    def unseen(arrays, index):
        return update(arrays, index)[0], None

    def seen(arrays, index):
        onward, (state, after, key_update, rollout) = update(arrays, index)
        felt = jax.vmap(jax.vmap(features))(rollout.state, rollout.actions, rollout.next_state)
        kept = eqx.filter((state, after.policy, jax.random.key_data(key_update), forget(game, rollout), felt), eqx.is_array)
        return onward, kept

    arrays, _ = jax.lax.scan(unseen, arrays, jnp.arange(skip))
    arrays, kept = jax.lax.scan(seen, arrays, skip + jnp.arange(steps))
    begin, _ = eqx.combine(arrays, static)
    before, after, words, rollout, felt = kept
    static_state = eqx.filter(begin, eqx.is_array, inverse=True)
    record = PPORecord(
        eqx.combine(before, static_state), eqx.combine(after, static_state.policy), words, rollout, felt
    )
    return begin, record


def forget(game: MarkovGame, rollout: Transition) -> Transition:
    """Play with its observations, without the game's states and the true reward: what an observer has."""
    return eqx.tree_at(
        lambda t: (t.state, t.next_state, t.reward),
        observe(game, rollout),
        (None, None, None),
        is_leaf=lambda x: x is None,
    )
