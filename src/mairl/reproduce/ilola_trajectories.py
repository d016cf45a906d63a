"""Learning from learners that are only seen through what they do: three ways, by how much is seen.

Two Taylor-LOLA learners of the MA-LfL grid, ten steps. Of every joint policy so many actions are drawn in every state
("per state"), or whole episodes are played from the start, with as many steps in all ("episodes").
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from mairl.algorithms.cloning import action_counts
from mairl.algorithms.from_trajectories import Method, from_counts
from mairl.core.errors import Unsupported
from mairl.data.collect import record
from mairl.data.exact_learning import exact_learning
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.games.tabular import TabularPolicy
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features, ma_lfl_grid
from mairl.metrics.explanation import resemblance
from mairl.metrics.intervals import mean_interval
from mairl.ops.host_softmax import softmax
from mairl.ops.linear_game import LinearGame
from mairl.reproduce.ilola import WEIGHTS, add_rows, where
from mairl.reproduce.told import told

SAMPLES = (30, 300, 3000)
STEP_SIZE, LOOK_AHEAD, TRANSITIONS = 0.25, 10.0, 10
METHODS: tuple[Method, ...] = ("per-step", "telescoped", "likelihood")
LOOK_AHEADS = (0.0, 4.0, 16.0)
SEEN: tuple[Literal["per state", "episodes"], ...] = ("per state", "episodes")
REFERENCE = {
    "per-step": ((0.75, -0.61), (0.96, 0.97), (0.999, 1.00)),
    "telescoped": ((0.74, 0.95), (0.99, 0.99), (0.96, 0.99)),
    "likelihood": ((0.96, 0.93), (0.99, 0.99), (0.99, 1.00)),
}
"""Cosines of both agents in an earlier experiment of one seed, with other features and step sizes: for scale."""


def seen_counts(game: LinearGame, history: LearningHistory, seen: str, samples: int, seed: int):
    """Counts of actions, `[step, agent, state, action]`."""
    policies = softmax(history.logits())
    if seen == "per state":
        return np.random.default_rng(seed).multinomial(samples, policies).astype(np.float64)
    table = ma_lfl_grid()
    episodes = max(1, round(samples * game.num_states / table.horizon))
    keys = jax.random.split(jax.random.key(seed), len(policies))
    plays = [record(table, TabularPolicy.new(p), k, num_episodes=episodes) for p, k in zip(policies, keys)]
    return action_counts(learning_history(trajectories=plays), game.num_states, game.num_actions)


def trajectory_row(method: Method, seen: str, samples: int, seeds: int, command: str) -> dict[str, Any]:
    """One way at one amount of data; cosines and correlations are means over seeds, the least beside them."""
    tables = ma_lfl_grid().tables()
    game = LinearGame.of(tables, ma_lfl_features())
    found, alike, failures, start = [], [], [], time.perf_counter()
    for seed in range(seeds):
        weights = STEP_SIZE * WEIGHTS
        history = exact_learning(game, "lola-taylor", weights, LOOK_AHEAD, transitions=TRANSITIONS, seed=seed)
        counts = seen_counts(game, history, seen, samples, seed)
        try:
            one = from_counts(
                game, counts, method=method, families=("lola-taylor",), look_aheads=LOOK_AHEADS, validation=0
            )
        except Unsupported as error:
            failures.append(f"seed {seed}: {error}")
            continue
        found.append(one)
        alike.append(resemblance(tables, game.reward(one.weights))["pearson"])
    cosines = np.array([one.cosines(WEIGHTS) for one in found], np.float64)
    correlations = np.array(alike, np.float64)
    at = SAMPLES.index(samples)
    return {
        "method": method,
        "seen": seen,
        "samples_per_state": samples,
        "seeds": len(found),
        "cosines": cosines.mean(axis=0).tolist() if found else None,
        "cosine_least": float(cosines.min()) if found else None,
        "pearson": correlations.mean(axis=0).tolist() if found else None,
        "pearson_ci95": mean_interval(correlations.mean(axis=1))[1] if found else [None, None],
        "pearson_least": float(correlations.min()) if found else None,
        "lambda_true": LOOK_AHEAD,
        "lambda_found": [one.look_ahead for one in found],
        "reference_cosines": list(REFERENCE[method][at]) if seen == "per state" else None,
        "failures": failures,
        "seconds": (time.perf_counter() - start) / max(1, seeds),
        "command": command,
        **where(),
    }


def trajectories(
    folder: Path,
    *,
    seeds: int,
    samples: tuple[int, ...] = SAMPLES,
    methods: tuple[str, ...] = METHODS,
    command: str = "",
) -> list[dict]:
    """Grows `trajectories.json`, one row a way and amount of data, written as soon as it is known."""

    def place(row):
        return SEEN.index(row["seen"]), METHODS.index(row["method"]), row["samples_per_state"]

    rows = []
    asked: list[tuple[str, Method, int]] = [
        (seen, method, count) for seen in SEEN for method in METHODS if method in methods for count in samples
    ]
    for seen, method, count in told("trajectories,", asked, label=lambda one: "{}, {}, {} a state".format(*one)):
        rows.append(trajectory_row(method, seen, count, seeds, command))
        add_rows(folder / "trajectories.json", rows, place)
    return rows


def trajectories_markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Cosines and correlations by way and amount of data."""
    lines = ["| seen | way | samples a state | cosines | Pearson | reference |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [_pair(row[name]) for name in ("cosines", "pearson", "reference_cosines")]
        lines.append(f"| {row['seen']} | {row['method']} | {row['samples_per_state']} | " + " | ".join(cells) + " |")
    return lines


def _pair(values) -> str:
    return "–" if values is None else ", ".join(f"{v:.3f}" for v in values)
