"""How a run's recovered rewards compare with the true one, with intervals over seeds."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy
from mairl.metrics.intervals import mean_interval
from mairl.metrics.reward_distance import compare
from mairl.metrics.reward_sample import RewardSample, samples
from mairl.metrics.shaping import shaping_free

MEASURES = (
    *("affine_mse", "unexplained", "pearson", "spearman", "pearson_distance"),
    *("epic", "unshaped_pearson", "starc", "identifiable"),
)


def rewards(
    learned: Learned,
    seeds: int,
    game: MarkovGame,
    expert: DiscretePolicy | None,
    seed: int,
    *,
    expert_greedy: bool = False,
    discount: float = 0.97,
    episodes: int = 48,
    steps: int = 2048,
) -> dict[str, Any]:
    """Distances of each recovered reward from the true one, by agent; what it pays; and a sample of pairs to draw.

    Steps are half the expert's and half the learner's (the learner's own without an expert), a quarter of all actions
    replaced by random ones. The induced reward is held against the true reward averaged over what the others would do,
    the others against the true reward of the joint action.

    Args:
        discount: γ of shaping.
        episodes: played by each, per seed; `steps` are drawn from them.
    """
    keys = jax.random.split(jax.random.key(seed + 9), seeds)
    drawn = samples(learned, game, expert, keys, expert_greedy=expert_greedy, episodes=episodes, count=steps)
    drawn: RewardSample = jax.tree.map(np.asarray, drawn)
    result: dict[str, Any] = {}
    if not drawn.found or not drawn.truth:
        return result
    by_face = {face: [_by_agent(drawn, face, s, discount) for s in range(seeds)] for face in drawn.found}
    for face, by_seed in by_face.items():
        result[face] = [
            {measure: over_seeds([one[agent][measure] for one in by_seed]) for measure in MEASURES}
            | {"found_constant": any(one[agent]["found_constant"] for one in by_seed)}
            for agent in range(drawn.mask.shape[-1])
        ]
    first = next(iter(drawn.found))
    result["headline"] = first
    found, truth = drawn.found[first].paid, drawn.truth[first].paid
    result["pays"] = pays(_pooled(found), _pooled(truth), _pooled(drawn.mask), _pooled(drawn.actions), game)
    take = np.random.default_rng(0).permutation(truth.shape[1])[:400]
    result["pairs"] = [
        [[float(truth[0, k, i]), float(found[0, k, i])] for k in take if drawn.mask[0, k, i]]
        for i in range(truth.shape[-1])
    ]
    return result


def _by_agent(drawn: RewardSample, face: str, seed: int, discount: float) -> list[dict[str, Any]]:
    found, truth = (jax.tree.map(lambda x: x[seed], side[face]) for side in (drawn.found, drawn.truth))
    mask = np.asarray(drawn.mask[seed])
    rows = compare(np.asarray(found.paid), np.asarray(truth.paid), mask)
    for i, row in enumerate(rows):
        at = np.flatnonzero(mask[:, i])
        if len(at) < 2:
            row.update(dict.fromkeys(("epic", "unshaped_pearson", "starc", "identifiable")))
            continue
        row.update(
            shaping_free(
                jax.tree.map(lambda x, i=i, at=at: x[at, i], found),
                jax.tree.map(lambda x, i=i, at=at: x[at, i], truth),
                np.asarray(drawn.features[seed])[at, i],
                np.asarray(drawn.next_features[seed])[at, i],
                np.asarray(drawn.terminated[seed])[at, i],
                drawn.episode[seed][at],
                discount,
            )
        )
    return rows


def _pooled(x) -> np.ndarray:
    """All seeds' steps as one axis."""
    return x.reshape(-1, *x.shape[2:])


def pays(found, truth, mask, actions, game: MarkovGame) -> dict[str, Any]:
    """Mean recovered reward by true reward, and by action, for each agent; inputs `[n, agent]`."""
    names = game.action_names()
    by_truth, by_action = [], []
    for i in range(truth.shape[1]):
        here, f, t = mask[:, i], found[:, i], truth[:, i]
        levels = np.unique(np.round(t[here], 4))
        if len(levels) > 12:  # many values: equal shares of the steps, in order of the true reward
            order = np.flatnonzero(here)[np.argsort(t[here])]
            groups = np.array_split(order, 6)
        else:
            groups = [np.flatnonzero(here & (np.abs(t - level) < 1e-3)) for level in levels]
        by_truth.append(
            [
                {"true": float(t[at].mean()), "recovered": float(f[at].mean()), "steps": len(at)}
                for at in groups
                if len(at)
            ]
        )
        if actions.ndim == 2:
            taken = [here & (actions[:, i] == a) for a in range(len(names))]
            by_action.append(
                [
                    {"action": names[a], "recovered": float(f[at].mean()), "steps": int(at.sum())}
                    for a, at in enumerate(taken)
                    if at.any()
                ]
            )
    return {"by_true_reward": by_truth, "by_action": by_action}


def over_seeds(values: list[float | None]) -> dict[str, Any]:
    """Mean and interval of the seeds where the measure exists; how many they are."""
    known = [v for v in values if v is not None]
    if not known:
        return {"mean": None, "ci95": [None, None], "seeds": 0}
    mean, interval = mean_interval(np.asarray(known))
    return {"mean": mean, "ci95": interval, "seeds": len(known)}
