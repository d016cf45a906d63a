"""A run that learned from a learning history, against the truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.explain import EXPLAINERS, Explains, Watched
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.data.learning_history import load_history
from mairl.games.tabular.features import linear_game, tabular_game
from mairl.games.tabular.reward import TabularReward
from mairl.metrics.explained_ppo_run import explained_ppo_run
from mairl.metrics.explanation import learning_summary
from mairl.ops.least_squares import cosine


def explained_run(facts: dict[str, Any], learned: Learned) -> dict[str, Any]:
    """The figures of `learning_summary` for a run of `mairl learn … --history`, with the cosines of its weights; of PPO
    learners see `explained_ppo_run`.

    Args:
        facts: the run's `run.json`.
        learned: its result, all seeds stacked.

    Raises:
        InvalidData: the history is gone or has changed.
    """
    path, count = Path(facts["history"]), facts["held_out_transitions"]
    history = load_history(path)
    if history.num_snapshots != facts["snapshots"]:
        raise InvalidData(
            f"{path} has {history.num_snapshots} snapshots, the run saw {facts['snapshots']}: put the history back"
        )
    if facts.get("learners") == "ppo":
        return explained_ppo_run(facts, learned, history)
    game = linear_game(facts["game"], facts["features"])
    tables = tabular_game(facts["game"]).tables()
    cut = history.num_snapshots - 1 - count
    case = Watched(tables, game, history.snapshots(slice(0, cut + 1)))
    method = rebuilt(facts)
    assert isinstance(learned.reward, TabularReward)
    result = learning_summary(
        tables,
        list(np.asarray(learned.reward.table, np.float64)),
        facts["seeds"],
        facts["explained"],
        # The truth predicts alike for every seed: step sizes are fitted, nothing of the run enters.
        [method.next_with(case, tables.reward)] * len(facts["seeds"]) if count else [],
        history.logits()[cut:] if count else np.zeros((0, 0, 0, 0)),
    )
    return {**result, "cosines": weight_cosines(facts, case)}


def rebuilt(facts: dict[str, Any]) -> Explains:
    """The method of a run, with its configuration."""
    method: Any = EXPLAINERS[facts["algorithm_id"]]
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["algorithm"]["config"].items()}
    return dataclasses.replace(method, **config)


def weight_cosines(facts: dict[str, Any], case: Watched) -> list[float | None]:
    """How well each agent's weights agree in direction with the true ones, of the first seed, without what the history
    cannot tell; None where rewards are tables, or the true reward is not linear in the features."""
    first = facts["explained"][0]
    if first["weights"] is None:
        return [None] * case.tables.num_agents
    found = []
    for weights, truth, free in zip(first["weights"], true_weights(case), first["null_space"]):
        space = np.asarray(free, np.float64).reshape(len(weights), -1)
        found.append(None if truth is None else cosine(np.asarray(weights), truth, space))
    return found


def true_weights(case: Watched) -> list[np.ndarray | None]:
    """Of each agent the weights with which the features give the true reward, None if there are none."""
    game, shape = case.features, case.tables.reward.shape
    result: list[np.ndarray | None] = []
    for i in range(case.tables.num_agents):
        design = np.broadcast_to(game.features[..., i, :], (*shape[:-1], game.num_features))
        design = np.asarray(design, np.float64).reshape(-1, game.num_features)
        # Nothing is paid in terminal states, where features are 0 as well.
        target = (case.tables.reward[..., i] * ~case.tables.terminal.reshape(-1, *[1] * (len(shape) - 2))).ravel()
        weights = np.linalg.lstsq(design, target, rcond=None)[0]
        exact = np.allclose(design @ weights, target, atol=1e-5 * max(1.0, np.abs(target).max()))
        result.append(weights if exact else None)
    return result
