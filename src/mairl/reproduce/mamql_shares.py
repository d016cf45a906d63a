"""What learned policies earn in the end, and what share of the expert that is: both in the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mairl.data.collect import play_episodes
from mairl.games import make_game
from mairl.metrics.intervals import mean_interval
from mairl.recipes import load_expert


@eqx.filter_jit
def final_returns(policy, game, keys, episodes: int, greedy) -> Array:
    """`[seed, agent]` mean returns of stacked policies, each in episodes of its own key; `greedy` is an array."""

    def one(policy, key):
        return jnp.mean(play_episodes(game, policy, key, episodes, greedy).returns, axis=0)

    return eqx.filter_vmap(one)(policy, keys)


def evaluation_keys(seeds: Sequence[int]) -> Array:
    """`[seed]` keys of the episodes that seeds are measured in."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32) + 10_000)


@cache
def expert_returns(game_name: str, seeds: tuple[int, ...], episodes: int, stochastic: bool) -> np.ndarray:
    """`[seed]` mean return per agent of the shipped expert, in the episodes that measure that seed's policies."""
    game, expert = make_game(game_name), load_expert(game_name).policy
    copies = jax.tree.map(lambda x: jnp.stack([x] * len(seeds)) if eqx.is_array(x) else x, expert)
    played = final_returns(copies, game, evaluation_keys(seeds), episodes, jnp.asarray(not stochastic))
    return np.asarray(played, np.float64).mean(1)


def against_expert(row: dict[str, Any], stochastic: bool) -> dict[str, Any]:
    """The row with the expert's return and with what share of it was reached.

    Both play episodes that begin alike, so that luck in the draw of beginnings counts for neither: the interval is that
    of the difference by seed.
    """
    own = np.asarray(row["return_per_seed"])
    expert = expert_returns(row["game"], tuple(range(len(own))), row.get("final_episodes", 1000), stochastic)
    whole = float(expert.mean())
    share, interval = mean_interval(1 + (own - expert) / whole) if whole else (None, None)
    return row | {"expert_return": whole, "share_of_expert": share, "share_ci95": interval}
