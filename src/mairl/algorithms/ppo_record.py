"""What PPO did while it learned: its states, the play each update was made from, and that play's reward features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt32

from mairl.algorithms.ppo import PPO, State
from mairl.core.arrays import on_device
from mairl.core.errors import InvalidData, InvalidGame, Unsupported
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.core.stacked import one_of
from mairl.core.transition import Transition, features, observe
from mairl.data.collect import play, reset, step_zeros
from mairl.data.learning_history import LearningHistory, Updates


class PPORecord(eqx.Module):
    """Updates in the order in which they were made, stacked on a first axis `[step, ...]`.

    Attributes:
        before: the learner's state before each update.
        after: the policies after it.
        key: what each update drew its minibatches from, as `jax.random.key_data`.
        rollout: the play it was made from, `[step, time, env, ...]`, with observations, without states and rewards.
        features: of that play, `[step, time, env, agent, feature]`.
    """

    before: State
    after: Policy
    key: UInt32[Array, "step word"]
    rollout: Transition
    features: Float[Array, "step time env agent feature"]

    @property
    def num_steps(self) -> int:
        """How many updates."""
        return self.key.shape[0]

    def steps(self, which: slice | Sequence[int]) -> PPORecord:
        """Some of the updates only."""
        index = which if isinstance(which, slice) else np.asarray(which, int)
        return one_of(self, index)


def record_ppo(ppo: PPO, game: MarkovGame, key: Key[Array, ""], *, skip: int, steps: int) -> PPORecord:
    """Lets PPO learn for `skip` updates, and records the next `steps`. `jit` and `vmap` (over keys) work on it.

    Host games are recorded by `fit` with a `Recorder`: see `ppo_record`.
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
        kept = (state, after.policy, jax.random.key_data(key_update), forget(game, rollout), features(game, rollout))
        return onward, eqx.filter(kept, eqx.is_array)

    arrays, _ = jax.lax.scan(unseen, arrays, jnp.arange(skip))
    _, (before, after, words, rollout, felt) = jax.lax.scan(seen, arrays, skip + jnp.arange(steps))
    return PPORecord(eqx.combine(before, static[0]), eqx.combine(after, static[0].policy), words, rollout, felt)


def ppo_record(history: LearningHistory, game: MarkovGame) -> tuple[PPO, PPORecord]:
    """The updates in a history that `fit` recorded, and the learner that made them.

    Raises:
        InvalidData: no updates of PPO, or without keys, critics or moments.
        InvalidGame: they were made in another game.
        Unsupported: the game's reward is not made of features, or agents share their parameters.
    """
    updates = history.updates
    if updates is None or not isinstance(updates.learner, PPO):
        made = "no updates" if updates is None else f"updates of {type(updates.learner).__name__}"
        raise InvalidData(
            f"this history has {made}, PPO's are repeated here: record them with mairl expert GAME --record-learning "
            "--learner ppo"
        )
    missing = [name for name in ("keys", "critic") if getattr(updates, name) is None]
    missing += ["moments"] if history.optimiser is None else []
    if missing:
        raise InvalidData(
            f"these updates of PPO cannot be repeated, {', '.join(missing)} are missing: record them anew with mairl "
            "expert GAME --record-learning"
        )
    check_game(history, updates, game)
    if updates.features is None:
        raise Unsupported(
            f"rewards of PPO learners are sought in a game's features, and the reward of {history.metadata.game} is "
            "not made of any: take simple-spread, coin-game or multiwalker, or in a table an exact learner (mairl "
            "expert GAME --record-learning --learner lola-taylor)"
        )
    ppo = updates.learner
    if ppo.network.shared:
        raise Unsupported("agents that share one network cannot be told apart by how it changes: shared=False")
    policy, critic, after, rollout = (
        jax.tree.map(on_device, tree) for tree in (history.policies, updates.critic, updates.after, updates.rollout)
    )
    one = one_of((policy, critic), 0)
    empty = ppo.optimiser().init(eqx.filter(one, eqx.is_inexact_array))
    moments = jax.tree.unflatten(jax.tree.structure(empty), [on_device(x) for x in jax.tree.leaves(history.optimiser)])
    return ppo, PPORecord(
        before=State(policy, critic, moments),
        after=after,
        key=on_device(updates.keys),
        rollout=jax.vmap(lambda r: forget(game, r))(rollout),
        features=on_device(updates.features),
    )


def check_game(history: LearningHistory, updates: Updates, game: MarkovGame) -> None:
    """Raises `InvalidGame` unless the play that was recorded has the states, actions and agents of the game."""
    like = eqx.filter_eval_shape(lambda: step_zeros(game, *updates.rollout.batch_shape[1:], paid=True))

    def known(play: Transition) -> tuple[Any, list[tuple[int, ...]]]:
        seen = play.actions, play.state if play.state is not None else play.obs
        return jax.tree.structure(seen), [x.shape for x in jax.tree.leaves(seen)]

    (found, sizes), (wanted, expected) = known(updates.rollout), known(like)
    if found != wanted or [size[1:] for size in sizes] != expected:
        recorded = history.metadata.game or "another game"
        raise InvalidGame(
            f"the history is of {recorded}, its states, actions and agents are not those of the game that was named: "
            "leave --game out, or name the game and the options with which it was recorded"
        )


def forget(game: MarkovGame, rollout: Transition) -> Transition:
    """Play with its observations, without the game's states and the true reward: what an observer has."""
    return dataclasses.replace(observe(game, rollout), state=None, next_state=None, reward=None, features=None)
