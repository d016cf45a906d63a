"""T1 of the I-LOLA poster with a sound protocol: soft policy improvers on the MA-LfL grid, exactly.

For each seed agents start from random policies and improve them softly (temperature 3, γ 0.9). Five transitions are
fitted, two choose what has to be chosen, the last two are only predicted:

* KL(1a): with the true reward, step sizes and λ fitted; KL(1b): with the recovered one; KL(0): expecting no change;
* skill: 1 - ΣKL(1) / ΣKL(0) over the held-out transitions;
* induced return: fresh agents trained on the recovered reward, paid the true one.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.explain import ILOGEL, ILOLA, ILOLACMAES, LOGEL, Explains, MALfL, Watched
from mairl.data.exact_learning import exact_learning
from mairl.games.tabular.features import as_feature
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features, ma_lfl_grid
from mairl.metrics.explanation import induced_return, prediction_errors, random_return, resemblance
from mairl.metrics.learning import interquartile_mean, normalised_return, skill
from mairl.ops.linear_game import LinearGame
from mairl.ops.tables import Tables
from mairl.reproduce.ilola import TEMPERATURE, add_rows, where
from mairl.reproduce.told import told

FITTED, VALIDATION, HELD_OUT = 5, 2, 2


@dataclasses.dataclass(frozen=True)
class Case:
    """One seed: what was seen of its learners, and the transitions that are only predicted.

    Attributes:
        seen: fitted and validation transitions; fitted: without the latter.
        held_out: logits `[transition + 1, agent, state, action]`.
    """

    seen: Watched
    fitted: Watched
    held_out: Float[np.ndarray, "step agent state action"]
    seed: int

    @property
    def tables(self) -> Tables:
        """The game, with its true reward."""
        return self.seen.tables


def make_case(reward: str, seed: int) -> Case:
    """Learners from a random start."""
    tables = ma_lfl_grid(reward=reward).tables()  # type: ignore[arg-type]
    truth = LinearGame.of(tables, as_feature(tables.reward))
    features = LinearGame.of(tables, ma_lfl_features())
    count = FITTED + VALIDATION + HELD_OUT
    weights = np.full((tables.num_agents, 1), 1 / TEMPERATURE)
    history = exact_learning(truth, "ma-spi", weights, 0.0, transitions=count, seed=seed)
    return Case(
        seen=Watched(tables, features, history.snapshots(slice(0, FITTED + VALIDATION + 1))),
        fitted=Watched(tables, features, history.snapshots(slice(0, FITTED + 1))),
        held_out=history.logits()[FITTED + VALIDATION :],
        seed=seed,
    )


METHODS: dict[str, Explains | None] = {
    "ma-lfl": MALfL(TEMPERATURE, "joint"),
    "ma-lfl-state": MALfL(TEMPERATURE, "state"),
    "logel": LOGEL(),
    "i-logel": ILOGEL(),
    "i-lola": ILOLA(validation=VALIDATION),
    "i-lola-cmaes": ILOLACMAES(),
    "true-reward": None,
}
"""Rows of the table; None: nothing is recovered, which is the upper bound."""


def measure(case: Case, name: str) -> dict[str, Any]:
    """All figures of one method on one case."""
    start = time.perf_counter()
    method = METHODS[name]
    watched = case.seen if isinstance(method, ILOLA) else case.fitted
    found = None if method is None else method.explain(watched, case.seed)
    # Nothing to recover: the true learners, who improve softly at their known temperature.
    truth = (MALfL(TEMPERATURE) if method is None else method).next_with(watched, case.tables.reward)
    rewards = case.tables.reward if found is None else found.rewards
    result: dict[str, Any] = {"seed": case.seed, "seconds": time.perf_counter() - start}
    result["kl_1a"] = prediction_errors(case.tables, case.held_out, truth)
    result["kl_1b"] = prediction_errors(case.tables, case.held_out, truth if found is None else found.predict)
    result["kl_0"] = prediction_errors(case.tables, case.held_out, None)
    result |= resemblance(case.tables, rewards)
    result["induced_return"] = induced_return(case.tables, rewards, case.seed)
    result |= {} if found is None else found.facts
    return result


def t1(
    folder: Path, *, seeds: int, reward: str = "disjoint", methods: tuple[str, ...] = (), command: str = ""
) -> list[dict[str, Any]]:
    """Grows `t1.json` (of the joint reward `t1_joint.json`), one row a method, written as soon as it is known."""
    cases = [make_case(reward, seed) for seed in range(seeds)]
    expert, random = yardsticks(reward, seeds)
    rows = []
    for method in told(f"t1, {reward} reward,", methods or METHODS):
        runs = [measure(case, method) for case in cases]
        rows.append(t1_row(method, reward, "exact", runs, expert, random, command))
        grow(folder, reward, rows)
    return rows


def yardsticks(reward: str, seeds: int) -> tuple[float, float]:
    """Returns of agents that are trained on the true reward (interquartile mean over seeds), and of random play."""
    tables = ma_lfl_grid(reward=reward).tables()  # type: ignore[arg-type]
    experts = np.array([induced_return(tables, tables.reward, seed) for seed in range(seeds)])
    return interquartile_mean(experts)[0], random_return(tables)


def grow(folder: Path, reward: str, rows: list[dict[str, Any]]) -> None:
    """Adds rows of one protocol to their table: a file holds one row a method."""
    order = list(METHODS)
    for protocol in PROTOCOLS:
        mine = [row for row in rows if row["protocol"] == protocol]
        if mine:
            add_rows(folder / f"{t1_name(reward, protocol)}.json", mine, lambda row: order.index(row["method"]))


def t1_name(reward: str, protocol: str) -> str:
    """Of the table of one reward and protocol."""
    return "t1" + ("" if reward == "disjoint" else f"_{reward}") + ("" if protocol == "exact" else f"_{protocol}")


PROTOCOLS = ("exact", "sampled")
"""How policies are seen: as they are, or through what they do (`ilola_t1_sampled`)."""


def t1_row(method: str, reward: str, protocol: str, runs, expert: float, random: float, command: str) -> dict[str, Any]:
    """One row of the table, from the figures of every seed."""

    def total(name):
        return np.concatenate([run[name] for run in runs])

    earned = np.array([run["induced_return"] for run in runs])
    share, interval = interquartile_mean(normalised_return(earned, expert, random))
    correlations = [p for run in runs for p in run["pearson"] if p is not None]
    recovers = method != "true-reward"
    return {
        "method": method,
        "reward": reward,
        "protocol": protocol,
        "seeds": len(runs),
        "kl_1a": float(total("kl_1a").mean()),
        "kl_1b": float(total("kl_1b").mean()) if recovers else None,
        "kl_0": float(total("kl_0").mean()),
        "skill_1a": skill(total("kl_1a"), total("kl_0")),
        "skill_1b": skill(total("kl_1b"), total("kl_0")) if recovers else None,
        "pearson": float(np.mean(correlations)) if recovers and correlations else None,
        "pearson_least": float(np.min(correlations)) if recovers and correlations else None,
        "induced_return": interquartile_mean(earned)[0],
        "induced_return_normalised": share,
        "ci95": interval,
        "expert_return": expert,
        "random_return": random,
        "per_seed": runs,
        "command": command,
        **where(),
    }


def t1_markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a table."""
    lines = [
        "| method | KL(1a) | KL(1b) | KL(0) | skill 1a | skill 1b | Pearson | induced return, normalised [95% CI] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["ci95"]
        interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        numbers = [f"{row[k]:.2g}" if row[k] is not None else "–" for k in ("kl_1a", "kl_1b", "kl_0")]
        numbers += [f"{row[k]:.4f}" if row[k] is not None else "–" for k in ("skill_1a", "skill_1b", "pearson")]
        lines.append(
            f"| {row['method']}{', sampled' if row['protocol'] == 'sampled' else ''} | "
            + " | ".join(numbers)
            + f" | {row['induced_return_normalised']:.3f}{interval} |"
        )
    return lines
