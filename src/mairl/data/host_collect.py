"""Playing host games: the policy on the device for all environments at once, the environments in their own processes.

Episodes are seeded by (key, environment, episode) and actions drawn by (key, environment, step), so what is played does
not depend on the number of processes. An environment that is exact, given its seed, can be brought back to the middle
of an episode: its actions since the last reset are kept and played again.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mairl.core.arrays import on_device
from mairl.core.host import HostGame, HostState, HostStep
from mairl.core.policy import Policy
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition
from mairl.data.host_pool import HostPool


class Progress(eqx.Module):
    """Where every environment is, as NumPy arrays `[seed, env, ...]`: what a checkpoint must hold.

    Attributes:
        obs, action_mask, present: what was last seen (see `HostStep`).
        episode: index of the current episode.
        elapsed: steps since its start.
        log: `[seed, env, horizon, agent, ...]` its joint actions so far.
    """

    obs: Any
    action_mask: Any
    present: Any
    episode: Any
    elapsed: Any
    log: Any


def no_progress(game: HostGame, num_seeds: int, num_envs: int) -> Progress:
    """Before anything was played: zeros, from which `catch_up` starts the first episodes."""
    lead, agents, space = (num_seeds, num_envs), game.num_agents, game.action_space
    spec: Any = game.observation_spec
    masked = game.has_masks and isinstance(space, Discrete)
    return Progress(
        np.zeros((*lead, agents, *spec.shape), spec.dtype),
        np.ones((*lead, agents, space.n), bool) if masked else None,  # type: ignore[union-attr]
        np.zeros((*lead, agents), bool),
        np.zeros(lead, np.int32),
        np.zeros(lead, np.int32),
        _actions(game, *lead, game.horizon),
    )


def catch_up(pool: HostPool, progress: Progress, keys: Key[Array, " seed"]) -> Progress:
    """Brings the environments to where `progress` says, by playing the current episodes' actions again.

    An environment that then shows something else is not exact; it starts its episode anew, with a warning.
    """
    words, shape = key_words(keys), progress.elapsed.shape
    flat = jax.tree.map(lambda x: np.array(x).reshape(-1, *x.shape[2:]), progress)
    seeds = [episode_seed(words[s], e, progress.episode[s, e]) for s, e in np.ndindex(shape)]
    which = np.arange(len(seeds))
    episodes = [(seed, log[:count]) for seed, log, count in zip(seeds, flat.log, flat.elapsed)]
    seen = HostStep(*pool.replay(which, episodes))  # type: ignore[arg-type]
    running = flat.elapsed > 0
    same = (seen.present == flat.present).all(-1) & (seen.obs == flat.obs).reshape(len(seeds), -1).all(-1)
    wrong = np.flatnonzero(running & ~same)
    if wrong.size:
        warnings.warn(
            f"{pool.title} does not repeat itself from the same seed and actions: {wrong.size} of {running.sum()} "
            "unfinished episodes start anew, so results differ from an uninterrupted run",
            stacklevel=2,
        )
        for field, new in zip(seen, pool.reset(wrong, [seeds[i] for i in wrong])):
            if field is not None:
                field[wrong] = new
        flat.elapsed[wrong] = 0
    caught = Progress(seen.obs, seen.action_mask, seen.present, flat.episode, flat.elapsed, flat.log)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), caught)


def play_host(
    pool: HostPool, policy: Policy, progress: Progress, key_env: Array, key_play: Array, num_steps: int
) -> tuple[Progress, Transition]:
    """Plays `num_steps` steps in every environment, starting anew whenever an episode is over.

    Args:
        policy: stacked over seeds.
        key_env, key_play: `[seed]` that seed episodes, and that draw actions.

    Returns:
        Where the environments are then, and the steps `[seed, time, env, ...]`, as `mairl.data.collect.play` has them.
    """
    shape, words = progress.elapsed.shape, key_words(key_env)
    which = np.arange(shape[0] * shape[1])
    now = jax.tree.map(np.array, progress)
    keys = _fold_each(key_play, jnp.arange(shape[1]))
    steps = []
    for t in range(num_steps):
        actions = np.asarray(_sample(policy, keys, jnp.full(shape, t), *_on_device(now.obs, now.action_mask)))
        fields = pool.step(which, actions.reshape(-1, *actions.shape[2:]))
        seen = HostStep(*[None if x is None else x.reshape(*shape, *x.shape[1:]) for x in fields])  # type: ignore[arg-type]
        steps.append(
            Transition(
                actions=actions,  # type: ignore[arg-type]
                terminated=seen.terminated,  # type: ignore[arg-type]
                truncated=seen.truncated,  # type: ignore[arg-type]
                mask=now.present,
                state=HostState(now.obs, now.action_mask),
                next_state=HostState(seen.obs, seen.action_mask),  # type: ignore[arg-type]
                reward=seen.reward,  # type: ignore[arg-type]
                features=seen.features,  # type: ignore[arg-type]
            )
        )
        log, elapsed, episode = now.log, now.elapsed.copy(), now.episode.copy()
        s, e = np.indices(shape)
        log[s, e, elapsed] = actions
        elapsed = np.where(seen.over, 0, elapsed + 1).astype(np.int32)
        episode = (episode + seen.over).astype(np.int32)
        obs, mask, present = seen.obs, seen.action_mask, seen.present
        if seen.over.any():
            done = np.flatnonzero(seen.over)
            at = np.unravel_index(done, shape)
            fresh = pool.reset(done, [episode_seed(words[i], j, episode[i, j]) for i, j in zip(*at)])
            obs, present = obs.copy(), present.copy()
            obs[at], present[at] = fresh[0], fresh[2]  # type: ignore[assignment]
            if mask is not None:
                mask = mask.copy()
                mask[at] = fresh[1]
        now = Progress(obs, mask, present, episode, elapsed, log)
    return now, jax.tree.map(lambda *x: np.stack(x, axis=1), *steps)


@dataclasses.dataclass
class HostEpisode:
    """One whole episode. Lists over time; `obs`, `masks` one longer; empty unless kept.

    `returns` and `features` are sums over its steps, `[agent]` and `[agent, feature]` (0 where the game shows none)."""

    returns: np.ndarray
    features: Any = 0.0
    length: int = 0
    obs: list = dataclasses.field(default_factory=list)
    masks: list = dataclasses.field(default_factory=list)
    actions: list = dataclasses.field(default_factory=list)
    rewards: list = dataclasses.field(default_factory=list)
    present: list = dataclasses.field(default_factory=list)
    terminated: list = dataclasses.field(default_factory=list)
    truncated: list = dataclasses.field(default_factory=list)

    def begin(self, seen: HostStep, k: int) -> None:
        """Keeps the first observation, of entry `k`."""
        self.obs.append(seen.obs[k])
        self.masks.append(None if seen.action_mask is None else seen.action_mask[k])

    def add(self, seen: HostStep, k: int, actions: np.ndarray, present: np.ndarray, keep: bool) -> None:
        """Adds one step, entry `k` of `seen`."""
        self.returns = self.returns + np.where(present, seen.reward[k], 0.0)
        if seen.features is not None:
            self.features = self.features + np.where(present[:, None], seen.features[k], 0.0)
        self.length += 1
        if keep:
            self.begin(seen, k)
            self.actions.append(actions)
            self.present.append(present)
            self.rewards.append(np.where(present, seen.reward[k], 0.0))
            self.terminated.append(seen.terminated[k])
            self.truncated.append(seen.truncated[k])


def play_host_episodes(
    game: HostGame, pool: HostPool, policy: Policy, keys: Array, count: int, *, greedy: bool = False, keep: bool = False
) -> list[list[HostEpisode]]:
    """Plays `count` whole episodes for each seed: `[seed][episode]`.

    Args:
        pool: its environments are shared evenly between the seeds; whatever they were playing is dropped.
        policy: stacked over seeds.
        keys: `[seed]`.
        keep: keep every step, not only returns.
    """
    seeds, words = len(keys), key_words(keys)
    slots = pool.size // seeds
    first = game.num_agents
    out = [[HostEpisode(np.zeros(first)) for _ in range(count)] for _ in range(seeds)]
    state = no_progress(game, seeds, slots)
    obs, mask, present = state.obs, state.action_mask, state.present
    episode = np.full((seeds, slots), -1)
    upcoming = np.zeros(seeds, int)
    elapsed = np.zeros((seeds, slots), np.int32)

    def begin(places):
        starts = []
        for s, e in places:
            episode[s, e] = upcoming[s] if upcoming[s] < count else -1
            upcoming[s] += 1
            if episode[s, e] >= 0:
                starts.append((s, e))
        if not starts:
            return
        ids = [episode_seed(words[s], episode[s, e]) for s, e in starts]
        seen = HostStep(*pool.reset([s * slots + e for s, e in starts], ids))  # type: ignore[arg-type]
        for k, (s, e) in enumerate(starts):
            obs[s, e], present[s, e], elapsed[s, e] = seen.obs[k], seen.present[k], 0
            if mask is not None:
                mask[s, e] = seen.action_mask[k]  # type: ignore[index]
            if keep:
                out[s][episode[s, e]].begin(seen, k)

    begin([(s, e) for e in range(slots) for s in range(seeds)])
    while (episode >= 0).any():
        now = _on_device(np.maximum(episode, 0), elapsed, obs, mask)
        chosen = _sample_episodes(policy, keys, *now, greedy=greedy)
        actions, places = np.asarray(chosen), np.argwhere(episode >= 0)
        ids = places[:, 0] * slots + places[:, 1]
        seen = HostStep(*pool.step(ids, actions[tuple(places.T)]))  # type: ignore[arg-type]
        for k, (s, e) in enumerate(places):
            out[s][episode[s, e]].add(seen, k, actions[s, e], present[s, e].copy(), keep)
        at = tuple(places.T)
        obs[at], present[at], elapsed[at] = seen.obs, seen.present, elapsed[at] + 1
        if mask is not None:
            mask[at] = seen.action_mask
        begin([tuple(p) for p in places[np.asarray(seen.over)]])
    return out


def episode_seed(words: np.ndarray, *indices: Any) -> int:
    """The seed (31 bits) of an episode, from a key's words and what numbers the episode."""
    sequence = np.random.SeedSequence([*(int(w) for w in words), *(int(i) for i in indices)])
    return int(sequence.generate_state(1)[0] >> 1)


def key_words(keys: Array) -> np.ndarray:
    """Keys `[seed]` as integers `[seed, word]`."""
    return np.asarray(jax.random.key_data(keys))


def _actions(game: HostGame, *lead: int) -> np.ndarray:
    space = game.action_space
    if isinstance(space, Discrete):
        return np.zeros((*lead, game.num_agents), np.int32)
    return np.zeros((*lead, game.num_agents, space.size), np.float32)


def _on_device(*arrays):
    return [None if x is None else on_device(x) for x in arrays]


@jax.jit
def _fold_each(keys, numbers):
    return jax.vmap(lambda k: jax.vmap(lambda n: jax.random.fold_in(k, n))(numbers))(keys)


@eqx.filter_jit
def _sample(policy, keys, time, obs, mask):
    """Joint actions `[seed, env, ...]` from keys `[seed, env]` and times `[seed, env]`."""
    return eqx.filter_vmap(lambda p, *x: _each_env(p, *x, greedy=False))(policy, keys, time, obs, mask)


@eqx.filter_jit
def _sample_episodes(policy, keys, episode, time, obs, mask, greedy: bool):
    keys = jax.vmap(lambda k, n: jax.vmap(lambda m: jax.random.fold_in(k, m))(n))(keys, episode)
    return eqx.filter_vmap(lambda p, *x: _each_env(p, *x, greedy=greedy))(policy, keys, time, obs, mask)


def _each_env(policy, keys, time, obs, mask, greedy):
    def one(key, t, o, m):
        return policy.mode(o, m) if greedy else policy.sample(jax.random.fold_in(key, t), o, m)

    return jax.vmap(one)(keys, time, obs, mask)
