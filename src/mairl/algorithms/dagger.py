"""Dataset aggregation (Ross, Gordon & Bagnell 2011, arXiv:1011.0686): copying a teacher where the copy itself goes.

    repeat: play the copy for `num_steps` in `num_envs` games
            ask the teacher what it would have done in every state, and remember that
            step every policy on the likelihood of remembered answers

Cloning recordings errs where recordings do not go; here errors do not compound, since the teacher is asked exactly
there. It needs a teacher that answers in any state, such as a controller that sees what the policies do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.bc import BC
from mairl.algorithms.bc import State as Copy
from mairl.algorithms.descent import descend, taking_part_first
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.core.transition import Transition, observe
from mairl.data.collect import step_zeros
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay

Teacher = Callable[[Any, Any], Array]
"""From a game and one of its states to every agent's action, as the game takes it."""


class State(eqx.Module):
    """The copy, and what its teacher has said."""

    copy: Copy
    replay: Replay


class DAgger(Algorithm):
    """Dataset aggregation.

    Attributes:
        teacher: what to copy.
        copying: how; its `updates` gradient steps follow each block of play.
        share: if above 0, only this share of a batch's samples is used, those of agents that take part before others:
            saves time where many agents sit out. Needs a shared network.
        memory: joint steps that are remembered, a multiple of `num_envs` × `num_steps`.
    """

    teacher: Teacher = eqx.field(static=True)
    copying: BC = eqx.field(static=True, default=BC())
    num_envs: int = eqx.field(static=True, default=64)
    num_steps: int = eqx.field(static=True, default=32)
    share: float = eqx.field(static=True, default=0.0)
    memory: int = eqx.field(static=True, default=32_768)

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses a memory that blocks of play do not fill, and a share without a shared network."""
        if self.share and not (0 < self.share <= 1 and self.copying.network.shared):
            raise Unsupported(f"share={self.share} needs to be in (0, 1], and a network with shared=True")
        block = self.num_envs * self.num_steps
        if self.memory % block or self.memory < block:
            raise Unsupported(f"memory={self.memory} is no multiple of a block of play, {block} steps")

    def collection(self, game: MarkovGame) -> Collection:
        """`num_envs` × `num_steps` per iteration."""
        return Collection(self.num_envs, self.num_steps)

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh policies, nothing remembered."""
        return State(self.copying.init(key, game, data), Replay.like(step_zeros(game), self.memory))

    def behaviour(self, state: State) -> Policy:
        """The copy."""
        return self.copying.policy(state.copy)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """The teacher's answers to one rollout, and `copying.updates` gradient steps on all remembered ones."""
        assert rollout is not None
        answers = jax.vmap(jax.vmap(lambda s: self.teacher(game, s)))(rollout.state)
        same = jnp.all((answers == rollout.actions).reshape(*rollout.mask.shape, -1), axis=-1)
        agreed = jnp.sum(same & rollout.mask) / jnp.maximum(jnp.sum(rollout.mask), 1)
        steps = eqx.tree_at(lambda r: (r.actions, r.reward), rollout, (answers, None), is_leaf=lambda x: x is None)
        replay = state.replay.add(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps))

        def step(copy: Copy, key):
            key_draw, key_share, key_step = jax.random.split(key, 3)
            steps = observe(game, replay.sample(key_draw, self.copying.batch))
            return self.copying.step(copy, self._share_of(steps, key_share), key_step)

        copy, metrics = descend(step, state.copy, key, self.copying.updates)
        return State(copy, replay), {**metrics, "agreed": agreed}

    def _share_of(self, steps: Transition, key) -> Transition:
        """The asked share of a batch's samples, of agents that take part before others. With one network for all it
        does not matter whose they are, so that they can stand in fewer joint steps."""
        if not self.share:
            return steps
        rows, agents = steps.mask.shape
        chosen = taking_part_first(key, steps.mask.reshape(-1), max(1, int(rows * self.share)) * agents)
        parts = (steps.obs, steps.actions, steps.action_mask, steps.mask)
        obs, actions, allowed, mask = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:])[chosen].reshape(-1, agents, *x.shape[2:]), parts
        )
        new = (obs, actions, allowed, mask)
        return eqx.tree_at(lambda s: (s.obs, s.actions, s.action_mask, s.mask), steps, new, is_leaf=lambda x: x is None)

    def result(self, state: State) -> Learned:
        """The copies; no reward."""
        return self.copying.result(state.copy)
