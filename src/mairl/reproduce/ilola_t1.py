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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.i_lola import i_lola
from mairl.algorithms.i_lola_cmaes import i_lola_cmaes
from mairl.algorithms.logel import logel
from mairl.algorithms.ma_lfl import ma_lfl
from mairl.algorithms.update_model import BILINEAR
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features, ma_lfl_grid
from mairl.metrics.learning import interquartile_mean, normalised_return, skill, update_divergence
from mairl.metrics.reward_distance import pearson
from mairl.ops.equilibrium import evaluate
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame
from mairl.ops.occupancy import state_occupancy
from mairl.ops.tables import Tables, expect_others
from mairl.reproduce.ilola import TEMPERATURE, add_rows, learn, where

FITTED, VALIDATION, HELD_OUT = 5, 2, 2
INDUCED_STEPS = 50
INDUCED_TEMPERATURE = 2.0
"""In standard deviations of the reward. Colder agents circle in the disjoint game, and end here or there."""


Predict = Callable[[Float[np.ndarray, "agent state action"]], Float[np.ndarray, "agent state action"]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One seed: the game, what was seen of its learners, and the transitions that are only predicted.

    Attributes:
        features: the game in the four features of places; truth: in one, the true reward itself.
        seen: fitted and validation transitions; fitted: without the latter.
        held_out: logits `[transition + 1, agent, state, action]`.
    """

    tables: Tables
    features: LinearGame
    truth: LinearGame
    seen: LearningHistory
    fitted: LearningHistory
    held_out: Float[np.ndarray, "step agent state action"]
    seed: int


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a method says of one case.

    Attributes:
        rewards: `[S, A_1 … A_n, n]` as recovered.
        with_truth, with_found: the next logits, predicted with the true reward and with the recovered one.
        extra: further figures.
    """

    rewards: Float[np.ndarray, "state *joint agent"]
    with_truth: Predict
    with_found: Predict
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def make_case(reward: str, seed: int) -> Case:
    """Learners from a random start."""
    tables = ma_lfl_grid(reward=reward).tables()  # type: ignore[arg-type]
    truth = LinearGame.of(tables, _as_features(tables.reward))
    count = FITTED + VALIDATION + HELD_OUT
    history = learn(truth, "ma-spi", _ones(tables) / TEMPERATURE, 0.0, transitions=count, seed=seed)
    return Case(
        tables=tables,
        features=LinearGame.of(tables, ma_lfl_features()),
        truth=truth,
        seen=history.snapshots(slice(0, FITTED + VALIDATION + 1)),
        fitted=history.snapshots(slice(0, FITTED + 1)),
        held_out=history.logits()[FITTED + VALIDATION :],
        seed=seed,
    )


def by_soft_improvement(case: Case, tie) -> Answer:
    """MA-LfL; the temperature is known."""
    found = ma_lfl(case.tables, case.fitted, temperature=TEMPERATURE, tie=tie)
    game = LinearGame.of(case.tables, _as_features(found.rewards))
    extra = {"rank": list(found.rank), "unknowns": found.unknowns, "relative_residual": found.relative_residual}
    return Answer(found.rewards, _improver(case.truth), _improver(game), extra)


def by_logel(case: Case) -> Answer:
    """LOGEL for each agent alone, in a world where the others never change: they play their mean policy."""
    logits = case.fitted.logits()
    mean = _softmax(logits).mean(axis=0)
    agents = range(case.tables.num_agents)
    worlds = [_alone(case.tables, mean, i) for i in agents]
    own = [learning_history(logits[:, i : i + 1]) for i in agents]

    def solve(features):
        games = [LinearGame.of(world, features[i]) for i, world in enumerate(worlds)]
        return games, [logel(game, history) for game, history in zip(games, own)]

    def predictor(games, found) -> Predict:
        return lambda now: np.concatenate([found[i].predict(games[i], now[i : i + 1]) for i in agents])

    truth = solve([case.tables.reward[:, 0, 0, i, None] for i in agents])
    games, found = solve(list(ma_lfl_features()))
    weights = np.concatenate([f.weights for f in found])
    return Answer(case.features.reward(weights), predictor(*truth), predictor(games, found))


def by_i_logel(case: Case) -> Answer:
    """LOGEL in joint play."""
    return _parametric(case, lambda game: i_logel(game, case.fitted))


def by_i_lola(case: Case) -> Answer:
    """I-LOLA, its family chosen among the bilinear ones. Beside it: would soft improvement have been found?"""
    answer = _parametric(case, lambda game: i_lola(game, case.seen, families=BILINEAR, validation=VALIDATION))
    improvers = i_lola(case.features, case.seen, families=("ma-spi",), validation=VALIDATION)
    better = (improvers.held_out or 0.0) < answer.extra["held_out"]
    return dataclasses.replace(
        answer, extra={**answer.extra, "family_of_all": "ma-spi" if better else answer.extra["family"]}
    )


def by_i_lola_cmaes(case: Case) -> Answer:
    """The same by CMA-ES, for the family of the poster."""
    return _parametric(case, lambda game: i_lola_cmaes(game, case.fitted, seed=case.seed))


def by_true_reward(case: Case) -> Answer:
    """The upper bound: nothing is recovered."""
    predict = _improver(case.truth)
    return Answer(case.tables.reward, predict, predict)


METHODS: dict[str, Callable[[Case], Answer]] = {
    "ma-lfl": lambda case: by_soft_improvement(case, "joint"),
    "ma-lfl-state": lambda case: by_soft_improvement(case, "state"),
    "logel": by_logel,
    "i-logel": by_i_logel,
    "i-lola": by_i_lola,
    "i-lola-cmaes": by_i_lola_cmaes,
    "true-reward": by_true_reward,
}


def measure(case: Case, method: str) -> dict[str, Any]:
    """All figures of one method on one case."""
    start = time.perf_counter()
    answer = METHODS[method](case)
    seconds = time.perf_counter() - start
    result: dict[str, Any] = {"seed": case.seed, "seconds": seconds, "kl_1a": [], "kl_1b": [], "kl_0": []}
    for now, after in zip(case.held_out[:-1], case.held_out[1:]):
        visits = state_occupancy(case.tables, _softmax(now))
        guesses = {"kl_1a": answer.with_truth(now), "kl_1b": answer.with_found(now), "kl_0": now}
        for name, guess in guesses.items():
            result[name].append(update_divergence(after, guess, visits))
    truth = case.tables.reward
    pairs = [(answer.rewards[..., i].ravel(), truth[..., i].ravel()) for i in range(case.tables.num_agents)]
    result["pearson"] = [pearson(*pair) for pair in pairs]
    result["induced_return"] = induced_return(case.tables, answer.rewards, case.seed)
    return {**result, **answer.extra}


def induced_return(tables: Tables, rewards: Float[np.ndarray, "state *joint agent"], seed: int) -> float:
    """What fresh agents that are trained on `rewards` earn by the true reward: discounted, mean over agents.

    They improve their policies softly 50 times. Rewards have no known scale: each agent's is brought to a standard
    deviation of 1 over all states and joint actions, the true one as well.
    """
    spread = rewards.reshape(-1, tables.num_agents).std(axis=0)
    scaled = rewards / np.where(spread > 0, spread, 1.0)
    game = LinearGame.of(tables, _as_features(scaled))
    history = learn(
        game, "ma-spi", _ones(tables) / INDUCED_TEMPERATURE, 0.0, transitions=INDUCED_STEPS, seed=1000 + seed
    )
    return float((evaluate(tables, _softmax(history.logits()[-1])) @ tables.start).mean())


def t1(
    folder: Path, *, seeds: int, reward: str = "disjoint", methods: tuple[str, ...] = (), command: str = ""
) -> list[dict[str, Any]]:
    """Grows `t1.json` (or `t1_joint.json`), one row a method, written as soon as it is known."""
    name = "t1.json" if reward == "disjoint" else f"t1_{reward}.json"
    cases = [make_case(reward, seed) for seed in range(seeds)]
    tables = cases[0].tables
    uniform = np.full((tables.num_agents, tables.num_states, tables.num_actions), 1 / tables.num_actions)
    random = float((evaluate(tables, uniform) @ tables.start).mean())
    experts = np.array([induced_return(tables, tables.reward, case.seed) for case in cases])
    expert = interquartile_mean(experts)[0]
    order, rows = list(METHODS), []
    for method in methods or order:
        runs = [measure(case, method) for case in cases]
        rows.append(_row(method, reward, runs, expert, random, command))
        add_rows(folder / name, rows, lambda row: order.index(row["method"]))
    return rows


def _row(method: str, reward: str, runs, expert: float, random: float, command: str) -> dict[str, Any]:
    def total(name):
        return np.concatenate([run[name] for run in runs])

    earned = np.array([run["induced_return"] for run in runs])
    share, interval = interquartile_mean(normalised_return(earned, expert, random))
    correlations = [p for run in runs for p in run["pearson"] if p is not None]
    recovers = method != "true-reward"
    return {
        "method": method,
        "reward": reward,
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
            f"| {row['method']} | " + " | ".join(numbers) + f" | {row['induced_return_normalised']:.3f}{interval} |"
        )
    return lines


def _parametric(case: Case, solve) -> Answer:
    """The true reward as a single feature, so that its step sizes and λ are fitted by the same method."""
    truth, found = solve(case.truth), solve(case.features)
    return Answer(
        rewards=case.features.reward(found.weights),
        with_truth=lambda now: truth.predict(case.truth, now),
        with_found=lambda now: found.predict(case.features, now),
        extra={
            "family": found.family,
            "look_ahead": found.look_ahead,
            "relative_residual": found.relative_residual,
            "held_out": found.held_out,
            "rank": list(found.rank),
            "unknowns": case.features.num_features,
        },
    )


def _improver(game: LinearGame) -> Predict:
    """Soft improvement with the game's only feature as its reward."""
    weights = np.full((game.num_agents, 1), 1 / TEMPERATURE)
    return lambda now: next_logits("ma-spi", game, now, weights, 0.0)


def _alone(tables: Tables, policies: Float[np.ndarray, "agent state action"], agent: int) -> Tables:
    """The game of one agent among others that always play `policies`."""
    return Tables(
        transitions=expect_others(tables.transitions, policies, agent),
        reward=expect_others(tables.reward[..., agent], policies, agent)[..., None],
        start=tables.start,
        terminal=tables.terminal,
        discount=tables.discount,
    )


def _as_features(rewards: Float[np.ndarray, "state *joint agent"]) -> Float[np.ndarray, "state *joint agent feature"]:
    """Rewards as the one feature of a game."""
    return np.asarray(rewards, np.float64)[..., None]


def _ones(tables: Tables) -> Float[np.ndarray, "agent feature"]:
    return np.ones((tables.num_agents, 1))


def _softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
