"""One learner, as LfL (Jacq et al. 2019) and LOGEL (Ramponi et al. 2020) were published: their grids and settings."""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mairl.algorithms.cloning import cloned
from mairl.algorithms.lfl import lfl
from mairl.algorithms.logel import from_jacobians, gradient_jacobians
from mairl.algorithms.ma_lfl_sampled import ma_lfl_from_counts
from mairl.core.errors import MairlError
from mairl.data.count_play import count_play
from mairl.data.exact_learning import exact_learning
from mairl.data.learning_history import learning_history
from mairl.games.tabular.features import as_feature
from mairl.games.tabular.lfl_grid import lfl_grid
from mairl.games.tabular.logel_grid import WEIGHTS, logel_features, logel_grid
from mairl.metrics.intervals import mean_interval
from mairl.metrics.reward_distance import pearson
from mairl.ops.equilibrium import evaluate, logit_equilibrium
from mairl.ops.gpomdp_tabular import gpomdp_jacobian
from mairl.ops.host_softmax import softmax
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame
from mairl.ops.rollouts import roll_out
from mairl.ops.tables import Tables
from mairl.reproduce.ilola import add_rows, where
from mairl.reproduce.told import told

LFL_TEMPERATURE = 0.3
LFL_PUBLISHED = {"optimum": 5.684, "learner_after_1_2_3_steps": [0.727, 1.416, 4.179]}
LFL_SAMPLES = (1_000, 10_000)
"""Episodes of 50 steps of each policy."""

STEP_SIZE, EPISODES, HORIZON, READ = 0.1, 50, 20, (5, 10, 15)
LOGEL_STEPS = 30
LOGEL_SEEN = ("exact", "policies and their play", "play alone")


def lfl_values(tables: Tables, logits) -> float:
    """The soft value of a policy from the start: reward and entropy, as the learner is paid."""
    return float(evaluate(tables, softmax(logits), rationality=1 / LFL_TEMPERATURE)[0, 0])


def lfl_regret(tables: Tables, rewards) -> float:
    """How much less the best answer to recovered rewards earns than the best answer to the true ones."""
    best = logit_equilibrium(tables.with_reward(rewards), 1 / LFL_TEMPERATURE).policies
    optimum = logit_equilibrium(tables, 1 / LFL_TEMPERATURE).values[0, 0]
    return float(optimum - evaluate(tables, best, rationality=1 / LFL_TEMPERATURE)[0, 0])


def lfl_table(folder: Path, *, seeds: int, command: str = "") -> list[dict[str, Any]]:
    """Grows `lfl.json`: rewards from one to three steps that are seen exactly, and from play."""
    tables = lfl_grid().tables()
    game = LinearGame.of(tables, as_feature(tables.reward))
    weights = np.full((1, 1), 1 / LFL_TEMPERATURE)
    logits = [np.zeros((1, tables.num_states, tables.num_actions))]
    for _ in range(3):
        logits.append(next_logits("ma-spi", game, logits[-1], weights, 0.0))
    history = learning_history(np.stack(logits))
    values = [lfl_values(tables, one) for one in history.logits()[1:]]
    optimum = float(logit_equilibrium(tables, 1 / LFL_TEMPERATURE).values[0, 0])
    truth = tables.reward[..., 0].ravel()

    def row(seen: str, steps: int, found: list, seconds: float) -> dict[str, Any]:
        regrets = np.array([lfl_regret(tables, one) for one in found])
        alike = [pearson(one[..., 0].ravel(), truth) for one in found]
        return {
            "seen": seen,
            "steps": steps,
            "seeds": len(found),
            "regret": mean_interval(regrets)[0],
            "regret_ci95": mean_interval(regrets)[1],
            "pearson": float(np.mean([a for a in alike if a is not None])),
            "optimum": optimum,
            "learner_value": values[steps - 1],
            "published": LFL_PUBLISHED,
            "seconds": seconds / len(found),
            "command": command,
            **where(),
        }

    rows = []
    for steps in (1, 2, 3):
        start = time.perf_counter()
        found = lfl(tables, history.snapshots(slice(0, steps + 1)), temperature=LFL_TEMPERATURE)
        rows.append(row("exact", steps, [found.rewards], time.perf_counter() - start))
    for episodes in LFL_SAMPLES:
        start, found = time.perf_counter(), []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            policies = softmax(history.logits())
            counts = np.stack([count_play(tables, p, episodes=episodes, steps=50, rng=rng) for p in policies])
            found.append(ma_lfl_from_counts(tables, counts, temperature=LFL_TEMPERATURE).rewards)
        rows.append(row(f"{episodes} episodes", 3, found, time.perf_counter() - start))
    order = ["exact", *(f"{n} episodes" for n in LFL_SAMPLES)]
    add_rows(folder / "lfl.json", rows, lambda r: (order.index(r["seen"]), r["steps"]))
    return rows


def logel_learning(seed: int):
    """A learner on LOGEL's grid and the play that it learned from: logits `[step, 1, S, A]` and one batch a step."""
    game = LinearGame.of(logel_grid().tables(), logel_features())
    logits, plays = [np.zeros((1, game.num_states, game.num_actions))], []
    for k in range(LOGEL_STEPS):
        play = _play(game, logits[-1], jax.random.fold_in(jax.random.key(seed), k))
        slope = _jacobian(game, play, logits[-1]) @ np.array(WEIGHTS)
        logits.append(logits[-1] + STEP_SIZE * slope.reshape(logits[-1].shape))
        plays.append(play)
    plays.append(_play(game, logits[-1], jax.random.fold_in(jax.random.key(seed), LOGEL_STEPS)))
    return game, np.stack(logits), plays


def logel_table(folder: Path, *, seeds: int, command: str = "") -> list[dict[str, Any]]:
    """Grows `logel.json`: rewards after 5, 10 and 15 of a learner's steps; step sizes known or not.

    Learners whose policies are seen exactly learn without noise; the others from 50 episodes of 20 steps, which the
    observer sees as well: with the policies, or alone.
    """
    runs = [logel_learning(seed) for seed in told("logel, seed", range(seeds))]
    rows = []
    for seen in LOGEL_SEEN:
        for known in (True, False):
            for read in READ:
                start = time.perf_counter()
                cosines, failures = [], []
                for seed, run in enumerate(runs):
                    try:
                        cosines.append(_logel_cosine(run, seen, known, read, seed))
                    except MairlError as error:
                        failures.append(f"seed {seed}: {error}")
                mean, interval = mean_interval(np.array(cosines)) if cosines else (None, [None, None])
                rows.append(
                    {
                        "seen": seen,
                        "step_sizes": "known" if known else "unknown",
                        "steps": read,
                        "seeds": len(cosines),
                        "cosine": mean,
                        "ci95": interval,
                        "cosine_least": float(min(cosines)) if cosines else None,
                        "true_weights": list(WEIGHTS),
                        "failures": failures,
                        "seconds": (time.perf_counter() - start) / max(1, len(runs)),
                        "command": command,
                        **where(),
                    }
                )
    add_rows(
        folder / "logel.json", rows, lambda r: (LOGEL_SEEN.index(r["seen"]), r["step_sizes"] != "known", r["steps"])
    )
    return rows


def _logel_cosine(run, seen: str, known: bool, read: int, seed: int) -> float:
    game, logits, plays = run
    if seen == "exact":
        weights = STEP_SIZE * np.array([WEIGHTS])
        logits = exact_learning(game, "naive", weights, 0.0, transitions=read, seed=seed).logits()
        jacobians = gradient_jacobians(game, logits[:-1])
    else:
        logits = logits[: read + 1]
        if seen == "play alone":
            logits = cloned(np.stack([_counts(game, play) for play in plays[: read + 1]]))
        jacobians = np.stack([_jacobian(game, play, now)[None] for play, now in zip(plays, logits[:-1])])
    sizes = np.full(read, STEP_SIZE) if known else None
    found = from_jacobians(jacobians, np.diff(logits, axis=0), sizes, known, 1000)
    # Kinds sum to one: a constant is not told, whatever noise makes of it.
    centred = [w - w.mean() for w in (found.weights[0], np.array(WEIGHTS))]
    return float(centred[0] @ centred[1] / (np.linalg.norm(centred[0]) * np.linalg.norm(centred[1])))


def _play(game: LinearGame, logits, key):
    with jax.enable_x64(True):
        play = _compiled()(key, game, logits)
    return np.asarray(play.states), np.asarray(play.actions)[..., 0], np.asarray(play.alive)


@cache
def _compiled():
    return jax.jit(partial(roll_out, episodes=EPISODES, horizon=HORIZON))


def _jacobian(game: LinearGame, play, logits):
    states, actions, alive = play
    return gpomdp_jacobian(states, actions, game.features[states, 0, 0], alive, logits[0], game.discount)


def _counts(game: LinearGame, play):
    counts = np.zeros((1, game.num_states, game.num_actions))
    np.add.at(counts[0], (play[0][play[2]], play[1][play[2]]), 1)
    return counts
