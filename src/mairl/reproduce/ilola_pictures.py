"""Pictures of learning from learners, drawn from the tables that there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.explain import MALfL, Watched
from mairl.data.exact_learning import exact_learning
from mairl.games.tabular.features import as_feature
from mairl.games.tabular.ma_lfl_grid import ma_lfl_grid
from mairl.ops.linear_game import LinearGame
from mairl.report import learning
from mairl.reproduce.ilola import TEMPERATURE
from mairl.reproduce.ilola_ppo import TRUE
from mairl.reproduce.ilola_t1 import FITTED, t1_name


def write_pictures(folder: Path) -> list[Path]:
    """Draws every picture whose table lies in `folder`; returns what was written, SVG files."""
    drawn: dict[str, str] = {}
    for reward in ("disjoint", "joint"):
        name = t1_name(reward, "exact")
        if rows := _rows(folder, name) + _rows(folder, t1_name(reward, "sampled")):
            drawn[f"{name}_divergences"] = divergences(rows)
            drawn[f"{name}_induced_returns"] = returns(rows)
            drawn[f"{name}_rewards"] = rewards(reward)
    for name in ("t2", "t3"):
        # The last row is the upper bound.
        if rows := sorted(_rows(folder, name) + _rows(folder, f"{name}_less"), key=lambda r: r["method"] == TRUE):
            drawn[f"{name}_divergences"] = divergences(rows)
            if learned_from := [r for r in rows if r["induced_per_seed"] is not None]:
                drawn[f"{name}_induced_returns"] = returns(learned_from, learners="fresh" if name == "t2" else "ppo")
    if rows := _rows(folder, "confusion"):
        for seen in dict.fromkeys(r["seen"] for r in rows):
            part = [r for r in rows if r["seen"] == seen]
            drawn["confusion" if seen == "exact" else "confusion_sampled"] = confusion(part)
    if rows := _rows(folder, "curves"):
        for seen, label in (("snapshots", "snapshots"), ("samples", "samples of every state and snapshot")):
            drawn[f"curves_{seen}"] = curves([r for r in rows if r["seen"] == seen], label)
    if rows := _rows(folder, "trajectories"):
        drawn["trajectories"] = trajectories(rows)
    written = []
    for name, svg in drawn.items():
        # A file of its own needs the namespace, which inline pictures have from their page.
        path = folder / f"{name}.svg"
        path.write_text(svg if "xmlns=" in svg else svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))
        written.append(path)
    return written


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else []


def _label(row: dict[str, Any]) -> str:
    return row["method"] + (", sampled" if row.get("protocol") == "sampled" else "")


def divergences(rows: list[dict[str, Any]]) -> str:
    """KL(0), KL(1a) and KL(1b) of every method."""
    return learning.divergence_bars([(_label(r), {k: r[k] for k in ("kl_0", "kl_1a", "kl_1b")}) for r in rows])


def returns(rows: list[dict[str, Any]], learners: str = "exact") -> str:
    """Induced returns of every method, in units of return; `learners` as in `induced_returns`."""
    expert, random = rows[0]["expert_return"], rows[0]["random_return"]
    drawn = [
        (
            _label(row),
            row["induced_return"],
            [None if x is None else random + x * (expert - random) for x in row["ci95"]],
            row.get("induced_per_seed") or [run["induced_return"] for run in row["per_seed"]],
        )
        for row in rows
    ]
    return learning.induced_returns(drawn, expert, random, learners=learners)


def rewards(reward: str) -> str:
    """The true reward and what MA-LfL makes of five steps of the first seed, tied to the state."""
    game = ma_lfl_grid(reward=reward)  # type: ignore[arg-type]
    tables = game.tables()
    truth = LinearGame.of(tables, as_feature(tables.reward))
    weights = np.full((tables.num_agents, 1), 1 / TEMPERATURE)
    history = exact_learning(truth, "ma-spi", weights, 0.0, transitions=FITTED, seed=0)
    found = MALfL(TEMPERATURE, "state").explain(Watched(tables, truth, history))
    return learning.reward_maps(tables.reward, found.rewards, game.agent_names())


def confusion(rows: list[dict[str, Any]]) -> str:
    """Which family is taken for which learner."""
    families = list(rows[0]["chosen"])
    values = np.array([[row["chosen"][family] for family in families] for row in rows])
    return learning.matrix(
        values,
        [row["learner"] for row in rows],
        families,
        label="share of seeds",
        ylabel="learner",
        xlabel="family",
    )


def curves(rows: list[dict[str, Any]], label: str) -> str:
    """Angles between recovered and true weights, by how much is seen."""
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        if row["angle_degrees"] is not None:
            point = row["amount"], *_drawn(row["angle_degrees"], row["ci95"], 1e-6)
            series.setdefault(row["method"], []).append(point)
    return learning.lines(series, xlabel=label, ylabel="angle to the true weights, degrees", log_x=label != "snapshots")


def trajectories(rows: list[dict[str, Any]]) -> str:
    """Correlations of recovered and true rewards by way and amount of data, less than 1 by so much."""
    series: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        if row["pearson"] is not None:
            interval = row.get("pearson_ci95", [None, None])
            missing = 1 - float(np.mean(row["pearson"])), [None if x is None else 1 - x for x in reversed(interval)]
            point = row["samples_per_state"], *_drawn(*missing, 1e-6)
            series.setdefault(f"{row['method']}, {row['seen']}", []).append(point)
    return learning.lines(series, xlabel="samples a state", ylabel="1 - Pearson, mean of agents", log_x=True)


def _drawn(value: float, interval, least: float) -> tuple[float, float, float]:
    """A value with its bounds (itself where there are none) for a logarithmic axis, which ends at a third of the value:
    bounds of few seeds may be negative."""
    low, high = (value if x is None else x for x in interval)
    value = max(value, least)
    return value, max(low, value / 3), max(high, value)
