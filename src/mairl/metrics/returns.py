"""What learned policies earn."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.data.collect import play_episodes
from mairl.metrics.intervals import mean_interval


@eqx.filter_jit
def _play(policy, game, keys, episodes: int, greedy):
    def one(policy, key):
        played = play_episodes(game, policy, key, episodes, greedy)
        paid = {}
        for name, value in played.info.items():
            if value.shape[-1:] == played.steps.mask.shape[-1:]:
                paid[name] = jnp.mean(jnp.sum(jnp.where(played.steps.mask, value, 0), axis=0), axis=0)
        return played.returns, played.lengths, paid

    return eqx.filter_vmap(one)(policy, keys)


def returns_of(
    policy: Policy, game: MarkovGame, seeds: int, episodes: int, greedy: bool, seed: int = 0
) -> dict[str, Any]:
    """Undiscounted true returns of stacked policies, with 95% intervals over seeds.

    Args:
        policy: arrays with a leading axis of length `seeds`.
        episodes: per seed.

    Returns:
        "mean" (over agents), "sum", "per_agent", "ratio" (first agent to second), "length", "per_seed", the game's own
        counts per agent and episode under "info" (Gems: own and purple gems), and "half_width_over_episodes" (of the
        mean's 95% interval over all episodes, as if the seeds were one).
    """
    keys = jax.random.split(jax.random.key(seed + 77), seeds)
    returns, lengths, info = jax.tree.map(np.asarray, _play(policy, game, keys, episodes, jnp.asarray(greedy)))
    by_seed = returns.mean(1)
    mean, interval = mean_interval(by_seed.mean(1))
    total, total_interval = mean_interval(by_seed.sum(1))
    result: dict[str, Any] = {
        "episodes": episodes,
        "mean": mean,
        "ci95": interval,
        "sum": total,
        "sum_ci95": total_interval,
        "per_agent": [_named(by_seed[:, i]) for i in range(by_seed.shape[1])],
        "per_seed": by_seed.mean(1).tolist(),
        "length": _named(lengths.mean(1)),
        "half_width_over_episodes": 1.96 * float(returns.mean(2).std()) / returns[..., 0].size ** 0.5,
        "info": {name: [_named(v[:, i]) for i in range(v.shape[1])] for name, v in info.items()},
    }
    if by_seed.shape[1] >= 2:
        second = by_seed[:, 1]
        ratios = np.where(second != 0, by_seed[:, 0] / np.where(second != 0, second, 1.0), np.nan)
        result["ratio"] = _named(ratios)
    return result


def _named(values: np.ndarray) -> dict[str, Any]:
    mean, interval = mean_interval(values)
    return {"mean": mean if np.isfinite(mean) else None, "ci95": interval}
