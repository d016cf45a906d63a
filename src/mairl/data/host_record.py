"""Recordings of host games: from a policy, in parallel, or from anything that acts, such as a person."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from mairl.core.errors import InvalidData, InvalidGame
from mairl.core.host import HostGame
from mairl.core.policy import Policy
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations
from mairl.data.host_collect import HostEpisode, episode_seed, key_words, play_host_episodes
from mairl.data.host_pool import HostPool

Player = Callable[[Any, str], Any]
"""(the environment's own observation, the agent's name) to an action of the environment's own."""


def record_host(
    game: HostGame,
    policy: Policy | Player,
    key: Key[Array, ""],
    *,
    num_episodes: int | None = None,
    num_steps: int | None = None,
    greedy: bool = False,
    workers: int | None = None,
    num_envs: int | None = None,
    metadata: Metadata = Metadata(),
) -> Demonstrations:
    """Records observations, allowed actions, actions and (hidden from learners) true rewards.

    A policy acts for all environments at once, on the device, while worker processes step them. Anything else that is
    callable, a person at a keyboard included, is asked for one agent after another, in one environment in this process.

    Args:
        policy: a `Policy` of the game, or a `Player`.
        num_episodes: record this many episodes, or else
        num_steps: this many joint transitions; the last episode is cut there.
        workers: processes that step; default: one per core, none for fewer than two environments. 0: this process.
        num_envs: environments played at once; default: two per worker.

    Raises:
        InvalidGame: the environment failed, or a player chose what is no action. One line.
    """
    if (num_episodes is None) == (num_steps is None):
        raise ValueError("give either num_episodes or num_steps")
    cores = os.cpu_count() or 1
    many = num_envs or (2 * (workers or cores))
    if isinstance(policy, Policy):
        workers = (min(cores, many) if many > 1 else 0) if workers is None else workers
    else:
        workers, many = 0, 1
    episodes: list[HostEpisode] = []
    with HostPool(game.make, many, workers, game.title) as pool:
        block = 0
        while not _enough(episodes, num_episodes, num_steps):
            # Each block has a key of its own; its size does not depend on how many environments play.
            size = num_episodes if num_episodes is not None else max(1, -(-(num_steps or 1) // game.horizon))
            part = jax.random.fold_in(key, block)
            if isinstance(policy, Policy):
                stacked = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, policy)
                played = play_host_episodes(game, pool, stacked, part[None], size, greedy=greedy, keep=True)[0]
            else:
                played = [_ask(game, pool, policy, part, k) for k in range(size)]
            episodes += played
            block += 1
    data = as_demonstrations(game, episodes, metadata)
    return data if num_steps is None else data.head(num_steps)


def as_demonstrations(game: HostGame, episodes: list[HostEpisode], metadata: Metadata = Metadata()) -> Demonstrations:
    """Episodes that were kept whole as one validated recording."""
    longest = max(e.length for e in episodes)

    def stacked(name: str, length: int) -> np.ndarray:
        first = np.asarray(getattr(episodes[0], name)[0])
        out = np.zeros((len(episodes), length, *first.shape), first.dtype)
        for k, episode in enumerate(episodes):
            values = getattr(episode, name)
            out[k, : len(values)] = values
        return out

    mask = None
    if game.has_masks:
        mask = stacked("masks", longest + 1)
        for k, episode in enumerate(episodes):
            mask[k, episode.length + 1 :] = True
    return demonstrations(
        actions=stacked("actions", longest),
        lengths=np.array([e.length for e in episodes]),
        terminated=stacked("terminated", longest),
        truncated=stacked("truncated", longest),
        mask=stacked("present", longest),
        obs=stacked("obs", longest + 1),
        action_mask=mask,
        true_reward=stacked("rewards", longest),
        metadata=metadata,
        action_space=game.action_space,
    )


def _enough(episodes: list[HostEpisode], num_episodes: int | None, num_steps: int | None) -> bool:
    if num_episodes is not None:
        return len(episodes) >= num_episodes
    return sum(e.length for e in episodes) >= (num_steps or 0)


def _ask(game: HostGame, pool: HostPool, player: Player, key: Key[Array, ""], k: int) -> HostEpisode:
    """One episode played by asking `player`."""
    env = pool.local(0)
    with pool.guarded():
        seen = env.reset(episode_seed(key_words(key[None])[0], k))
    episode = HostEpisode(np.zeros(game.num_agents))
    one = jax.tree.map(lambda x: np.asarray(x)[None], seen)
    episode.begin(one, 0)
    while not seen.over:
        present = seen.present
        chosen = {}
        for name, obs in env.raw().items():
            try:
                chosen[name] = player(obs, name)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise InvalidData(
                    f"the player failed for {name} in step {episode.length} of episode {k}: {what}"
                ) from error
        joint = env.encode(chosen)
        if seen.action_mask is not None:
            for i in np.flatnonzero(present):
                if not seen.action_mask[i, joint[i]]:
                    name = game.names[i]
                    raise InvalidGame(
                        f"{game.title}: {name} chose {chosen[name]!r} in step {episode.length}, which its action mask "
                        "forbids"
                    )
        with pool.guarded():
            seen = env.step(joint)
        one = jax.tree.map(lambda x: np.asarray(x)[None], seen)
        episode.add(one, 0, joint, present, keep=True)
    return episode
