"""Learning histories recorded by `fit`: every so many updates, all that one update took in and what it led to.

    recorder = Recorder(FOLDER, every=10)
    fit(PPO(...), game, budget=..., seeds=3, recorder=recorder, ...)
    history = recorder.history(algorithm, game, index=0)        of the first seed

A file is written for each, so that a run that is resumed keeps what it had.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mairl.algorithms.base import Algorithm
from mairl.algorithms.descent import trainable
from mairl.algorithms.ppo import PPO, State
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.game import MarkovGame
from mairl.core.transition import Transition, features, observe
from mairl.data.collect import play, step_zeros
from mairl.data.demonstrations import Metadata
from mairl.data.learning_history import LearningHistory, Updates, learning_history


class Recorder:
    """Keeps updates number 0, `every`, 2·`every`, … of a run, and those that follow on them, of all its seeds.

    While it records, `fit` compiles one update instead of a chunk of them, which rounds differently.

    Args:
        folder: created; one file for each update that is kept.
        every: updates from one stretch of snapshots to the next.
        stretch: updates in a stretch. What carries over from one update to the next, a critic and moments, can be told
            from stretches better than from single ones.
    """

    def __init__(self, folder: str | Path, every: int = 1, stretch: int = 1):
        if every < 1:
            raise Unsupported(f"a snapshot every {every} updates: give 1 or more")
        if not 1 <= stretch <= every:
            raise Unsupported(f"{stretch} updates in a stretch, one stretch every {every}: give 1 to {every}")
        self.folder, self.every, self.stretch = Path(folder), every, stretch
        self.folder.mkdir(parents=True, exist_ok=True)

    def check(self, algorithm: Algorithm, game: MarkovGame, apart: str = "seeds") -> None:
        """Refuses learners that do not play, whose agents share their parameters, or that several devices train."""
        if apart != "seeds":
            raise Unsupported(
                f'updates are recorded where each seed is trained by one device, not with apart="{apart}"'
            )
        if algorithm.collection(game) is None:
            raise Unsupported(f"{type(algorithm).__name__} does not play while it learns: there is nothing to record")
        if isinstance(algorithm, PPO) and algorithm.network.shared:
            raise Unsupported("agents that share one network cannot be told apart by how it changes: shared=False")

    def before(self, iteration: int, state: Any) -> list[np.ndarray] | None:
        """The learner's state, if this iteration's update is to be kept: `keep` then takes it back."""
        return _leaves(state) if iteration % self.every < self.stretch else None

    def keep(self, iteration: int, before: list[np.ndarray], keys: Array, rollout: Transition, after: Any) -> None:
        """Writes one update of all seeds: leaves `[seed, ...]`."""
        parts = {"before": before, "rollout": _leaves(rollout), "after": _leaves(after)}
        arrays = {f"{name}.{i:04d}": x for name, leaves in parts.items() for i, x in enumerate(leaves)}
        path = self.folder / f"{iteration:08d}.npz"
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez(file, keys=np.asarray(jax.random.key_data(keys)), **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)

    def run_chunk(
        self,
        algorithm: Algorithm,
        game: MarkovGame,
        data: Any,
        key_loop: Array,
        carry: Any,
        first: int,
        iterations: int,
        names: tuple[str, ...],
        update_one: Callable[..., Any],
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """Plays and updates on the device, one update at a time; returns as `HostLoop.run_chunk` does."""
        values = []
        for iteration in range(first, first + iterations):
            before = self.before(iteration, carry.state)
            shared = (algorithm, game, data, key_loop, jnp.asarray(iteration))
            carry, value, keys, rollout = _step(shared, carry, names, update_one)
            if before is not None:
                self.keep(iteration, before, keys, rollout, carry.state)
            values.append(np.asarray(value, np.float64))
        played = np.stack(values)
        finite = np.isfinite(played)
        mean = np.where(finite, played, 0.0).sum(0) / np.where(finite.any(0), finite.sum(0), np.nan)
        return carry, {n: mean[:, i] for i, n in enumerate(names)}

    def history(
        self, algorithm: Algorithm, game: MarkovGame, index: int = 0, metadata: Metadata = Metadata()
    ) -> LearningHistory:
        """What was recorded of one seed, the seed at `index` of those that `fit` was given.

        Raises:
            InvalidData: fewer than two updates were recorded, or they are of another learner.
        """
        paths = sorted(self.folder.glob("*.npz"))
        if len(paths) < 2:
            raise InvalidData(f"{self.folder} holds {len(paths)} updates: record two or more, with a smaller every=")
        collection = algorithm.collection(game)
        assert collection is not None
        state_like = eqx.filter_eval_shape(lambda key: algorithm.init(key, game, None), jax.random.key(0))
        rollout_like = eqx.filter_eval_shape(
            lambda: step_zeros(game, collection.num_steps, collection.num_envs, paid=True)
        )
        loaded = [_load(path, index) for path in paths]

        def stacked(name: str, like: Any) -> Any:
            arrays, static = eqx.partition(like, lambda x: isinstance(x, jax.ShapeDtypeStruct))
            found = [[parts[k] for k in sorted(parts) if k.startswith(name)] for parts in loaded]
            structure = jax.tree.structure(arrays)
            if any(len(x) != structure.num_leaves for x in found):
                raise InvalidData(f"{self.folder} was recorded from another learner than {type(algorithm).__name__}")
            return eqx.combine(jax.tree.unflatten(structure, [np.stack(x) for x in zip(*found)]), static)

        before, after, rollout = stacked("before", state_like), stacked("after", state_like), None
        rollout = stacked("rollout", rollout_like)
        policies, later = (eqx.filter_vmap(algorithm.result)(s).policy for s in (before, after))
        measure = eqx.filter_jit(eqx.filter_vmap(_log_probs, in_axes=(None, eqx.if_array(0), 0)))
        updates = Updates(
            rollout=rollout,
            after=later,
            keys=np.stack([parts["keys"] for parts in loaded]),
            features=np.asarray(_features(game, rollout)) if game.feature_names() else None,
            log_prob=np.asarray(measure(game, policies, rollout)),
            critic=before.critic if isinstance(algorithm, PPO) else None,
            learner=algorithm,
        )
        optimiser = tuple(jax.tree.leaves(before.opt_state)) if isinstance(algorithm, PPO) else None
        return learning_history(policies, optimiser=optimiser, updates=updates, metadata=metadata)


@eqx.filter_jit
def _features(game: MarkovGame, rollouts: Any) -> Any:
    return jax.vmap(lambda rollout: features(game, rollout))(rollouts)


def learner_states(history: LearningHistory) -> State:
    """PPO's state before each recorded update, leaves `[step, ...]`: with `history.updates.keys` and `rollout` it
    repeats the update.

    Raises:
        InvalidData: the history holds no updates of PPO.
    """
    updates = history.updates
    if updates is None or not isinstance(updates.learner, PPO) or history.optimiser is None:
        raise InvalidData("this history holds no updates of PPO: record them with fit(recorder=...)")
    learnt = (history.policies, updates.critic)
    like = eqx.filter_eval_shape(lambda tree: updates.learner.optimiser().init(trainable(tree)), learnt)
    opt_state = jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(history.optimiser))
    return State(*learnt, opt_state)  # type: ignore[arg-type]


@eqx.filter_jit(donate="all-except-first")
def _step(shared, carry, names: tuple[str, ...], update_one: Callable[..., Any]):
    """One iteration of all seeds; also its update's keys and rollout."""
    algorithm, game, data, key_loop, iteration = shared
    collection = algorithm.collection(game)
    dynamic, static = eqx.partition(carry, eqx.is_array)

    def one(dynamic, key):
        carry = eqx.combine(dynamic, static)
        key_play, key_update = jax.random.split(jax.random.fold_in(key, iteration))
        env, rollout = play(game, algorithm.behaviour(carry.state), key_play, carry.env, collection.num_steps)
        carry, values = update_one(algorithm, game, data, names, key_update, carry, env, rollout, iteration)
        return eqx.filter(carry, eqx.is_array), values, key_update, rollout

    dynamic, values, keys, rollout = jax.vmap(one)(dynamic, key_loop)
    return eqx.combine(dynamic, static), values, keys, rollout


def _log_probs(game: MarkovGame, policy: Any, rollout: Transition) -> Array:
    steps = observe(game, rollout)
    found = jax.vmap(jax.vmap(policy.log_prob))(steps.obs, steps.actions, steps.action_mask)
    return jnp.where(steps.mask, found, 0.0)


def _leaves(tree: Any) -> list[np.ndarray]:
    # Copies: what is seen here is reused by the next update.
    return [np.array(x) for x in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def _load(path: Path, index: int) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name][index] for name in archive.files}
