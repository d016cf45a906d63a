"""T1 as MA-LfL was published (Caliskan, Chini & Maghsudi 2023): improvers are seen through 3,000 episodes of 1,000
steps of each of their policies, over ten iterations. The learners themselves are those of `ilola_t1`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.explain import MALfL, Watched
from mairl.algorithms.ma_lfl import Tie
from mairl.algorithms.ma_lfl_sampled import ma_lfl_from_counts
from mairl.data.count_play import count_play
from mairl.data.exact_learning import exact_learning
from mairl.games.tabular.features import as_feature
from mairl.games.tabular.ma_lfl_grid import ma_lfl_grid
from mairl.metrics.explanation import induced_return, prediction_errors, resemblance
from mairl.ops.host_softmax import softmax
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame
from mairl.reproduce.ilola import TEMPERATURE
from mairl.reproduce.ilola_t1 import HELD_OUT, grow, t1_row, yardsticks
from mairl.reproduce.told import told

EPISODES, STEPS, ITERATIONS = 3000, 1000, 10
TIES: dict[str, Tie] = {"ma-lfl": "joint", "ma-lfl-state": "state"}


def measure_sampled(reward: str, seed: int, methods: tuple[str, ...], *, episodes: int, steps: int) -> dict[str, Any]:
    """All figures of each method on one seed's recordings."""
    tables = ma_lfl_grid(reward=reward).tables()  # type: ignore[arg-type]
    truth = LinearGame.of(tables, as_feature(tables.reward))
    weights = np.full((tables.num_agents, 1), 1 / TEMPERATURE)
    history = exact_learning(truth, "ma-spi", weights, 0.0, transitions=ITERATIONS + HELD_OUT, seed=seed)
    seen = history.snapshots(slice(0, ITERATIONS + 1))
    held_out = history.logits()[ITERATIONS:]
    rng = np.random.default_rng(seed)
    counts = np.stack([count_play(tables, p, episodes=episodes, steps=steps, rng=rng) for p in softmax(seen.logits())])
    with_truth = MALfL(TEMPERATURE).next_with(Watched(tables, truth, seen), tables.reward)
    result = {}
    for method in methods:
        start = time.perf_counter()
        found = ma_lfl_from_counts(tables, counts, temperature=TEMPERATURE, tie=TIES[method])
        game = LinearGame.of(tables, as_feature(found.rewards))

        def predict(now, game=game):
            return next_logits("ma-spi", game, now, weights, 0.0)

        result[method] = {
            "seed": seed,
            "seconds": time.perf_counter() - start,
            "kl_1a": prediction_errors(tables, held_out, with_truth),
            "kl_1b": prediction_errors(tables, held_out, predict),
            "kl_0": prediction_errors(tables, held_out, None),
            **resemblance(tables, found.rewards),
            "induced_return": induced_return(tables, found.rewards, seed),
            "ridge": list(found.ridge),
            "relative_residual": found.relative_residual,
        }
    return result


def t1_sampled(
    folder: Path,
    *,
    seeds: int,
    reward: str = "disjoint",
    methods: tuple[str, ...] = (),
    episodes: int = EPISODES,
    steps: int = STEPS,
    command: str = "",
) -> list[dict[str, Any]]:
    """Grows `t1_sampled.json` (of the joint reward `t1_joint_sampled.json`), one row a method."""
    chosen = tuple(m for m in methods or TIES if m in TIES)
    if not chosen:
        return []
    runs = [
        measure_sampled(reward, seed, chosen, episodes=episodes, steps=steps)
        for seed in told(f"t1, {reward} reward, sampled, seed", range(seeds))
    ]
    expert, random = yardsticks(reward, seeds)
    facts = {"episodes": episodes, "steps": steps, "iterations": ITERATIONS, "published_pearson": PUBLISHED[reward]}
    rows = [
        {**t1_row(m, reward, "sampled", [run[m] for run in runs], expert, random, command), **facts} for m in chosen
    ]
    grow(folder, reward, rows)
    return rows


PUBLISHED = {"disjoint": [0.550, 0.578], "joint": [0.472, 0.406]}
"""Pearson's correlation of the two agents' rewards in the authors' committed results."""
