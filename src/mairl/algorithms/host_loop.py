"""The part of `fit` that plays host games: environments in worker processes between compiled updates.

    for iteration in chunk:                                   host
        policy = behaviour(state)                             device, all seeds at once
        for t in rollout: actions = policy(obs)               device;  environments step in their processes
        state, metrics = update(key, state, game, data, rollout)   device

Keys are derived as in `fit`. A checkpoint holds what every environment last showed, the seed of its episode and the
actions since, so that a resumed run plays the unfinished episodes up to where they were and repeats the uninterrupted
one bit for bit, as far as the environments repeat themselves.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mairl.algorithms.base import Algorithm, Collection
from mairl.algorithms.recorder import Recorder
from mairl.core.arrays import on_device
from mairl.core.errors import InvalidGame
from mairl.core.host import HostGame
from mairl.core.policy import Policy
from mairl.data.demonstrations import Demonstrations
from mairl.data.host_collect import Progress, catch_up, no_progress, play_host, play_host_episodes
from mairl.data.host_pool import HostPool

UpdateOne = Callable[..., Any]
"""`fit`'s guarded update of one seed."""


class HostLoop:
    """Environments for one call of `fit`: those that learning plays in, and others for evaluation.

    Args:
        workers: processes that step; None: one per core. 0: this process.
    """

    def __init__(self, game: HostGame, num_seeds: int, workers: int | None):
        self.game, self.seeds = game, num_seeds
        self.workers = (os.cpu_count() or 1) if workers is None else workers
        self._play: HostPool | None = None
        self._evaluate: HostPool | None = None

    def nothing_played(self, collection: Collection) -> Progress:
        """Shapes of the environments' progress, as zeros, to be filled by a checkpoint or by `begin`."""
        return jax.tree.map(on_device, no_progress(self.game, self.seeds, collection.num_envs))

    def begin(self, progress: Progress, key_loop: Array) -> Progress:
        """Builds the environments and brings them to `progress`."""
        self._play = HostPool(self.game.make, int(np.size(progress.elapsed)), self.workers, self.game.title)
        return jax.tree.map(on_device, catch_up(self._play, progress, key_loop))

    def run_chunk(
        self,
        algorithm: Algorithm,
        data: Demonstrations | None,
        key_loop: Array,
        carry: Any,
        first: int,
        iterations: int,
        names: tuple[str, ...],
        update_one: UpdateOne,
        recorder: Recorder | None = None,
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """Plays and updates; returns the carry and each metric's mean over the chunk, `[seed]`."""
        assert self._play is not None
        collection = algorithm.collection(self.game)
        assert collection is not None
        progress, carry = carry.env, dataclasses.replace(carry, env=None)
        values = []
        for iteration in range(first, first + iterations):
            key_play, key_update = _keys(key_loop, iteration)
            policy = _behaviour(algorithm, carry.state)
            progress, rollout = play_host(self._play, policy, progress, key_loop, key_play, collection.num_steps)
            rollout = jax.tree.map(on_device, rollout)
            shared = (algorithm, self.game, data, key_update, rollout, jnp.asarray(iteration))
            before = recorder.before(iteration, carry.state) if recorder is not None else None
            carry, value = _update(shared, carry, names, update_one)
            if recorder is not None and before is not None:
                recorder.keep(iteration, before, key_update, rollout, carry.state)
            values.append(value)
        played = np.stack([np.asarray(v) for v in values]).astype(np.float64)
        finite = np.isfinite(played)
        count = finite.sum(0)
        mean = np.where(count > 0, np.where(finite, played, 0.0).sum(0) / np.maximum(count, 1), np.nan)
        carry = dataclasses.replace(carry, env=jax.tree.map(jnp.asarray, progress))
        return carry, {n: mean[:, i] for i, n in enumerate(names)}

    def returns(self, policy: Policy, keys: Array, episodes: int) -> np.ndarray:
        """Mean return of each agent over whole episodes, `[seed, agent]`."""
        if self._evaluate is None:
            size = self.seeds * max(1, min(episodes, 16 // self.seeds))
            self._evaluate = HostPool(self.game.make, size, self.workers, self.game.title)
        played = play_host_episodes(self.game, self._evaluate, policy, keys, episodes)
        return np.stack([np.mean([e.returns for e in each], axis=0) for each in played])

    def close(self) -> None:
        """Ends workers and environments."""
        for pool in (self._play, self._evaluate):
            if pool is not None:
                pool.close()


def with_masks(game: HostGame, data: Demonstrations) -> Demonstrations:
    """The recording with action masks, where the game has them: those of unlike agents, if it was recorded without.

    Raises:
        InvalidGame: the game's masks change from step to step and the recording has none.
    """
    if not game.has_masks or data.action_mask is not None:
        return data
    if game.static_mask is None:
        raise InvalidGame(
            f"{game.title} says at every step which actions are allowed, but the recording does not: record it with "
            "action masks (mairl.record does)"
        )
    mask = jnp.asarray(game.static_mask)
    shape = (data.actions.shape[0], data.actions.shape[1] + 1, *mask.shape)
    return dataclasses.replace(data, action_mask=jnp.broadcast_to(mask, shape))


@jax.jit
def _keys(key_loop, iteration):
    pairs = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, iteration)))(key_loop)
    return pairs[:, 0], pairs[:, 1]


@eqx.filter_jit
def _behaviour(algorithm, state):
    return eqx.filter_vmap(algorithm.behaviour)(state)


@eqx.filter_jit(donate="all-except-first")
def _update(shared, carry, names: tuple[str, ...], update_one: UpdateOne):
    algorithm, game, data, keys, rollout, iteration = shared
    dynamic, static = eqx.partition(carry, eqx.is_array)

    def one(dynamic, key, rollout):
        carry, values = update_one(
            algorithm, game, data, names, key, eqx.combine(dynamic, static), None, rollout, iteration
        )
        return eqx.filter(carry, eqx.is_array), values

    dynamic, values = jax.vmap(one)(dynamic, keys, rollout)
    return eqx.combine(dynamic, static), values
