"""Figures 3 and 4 of the MAMQL paper, and its ratios to baselines, from the runs that Table I made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mairl.metrics.intervals import mean_interval
from mairl.reproduce.mamql import DEMO_STEPS, write_result

REWARD = ("reward/affine_mse", "reward/pearson")
BEHAVIOUR = ("behaviour/kl", "behaviour/disagreement")
ERRORS = {"behaviour/kl": "20 to 66", "behaviour/disagreement": "20 to 66", "reward/affine_mse": "3 to 300"}
"""Measure to how many times lower the paper's abstract reports MAMQL's to be than other methods'."""


def curves(folder: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Each column over training, mean and interval over seeds, and its last value for every seed.

    Runs of the greedy expert's whole recording only: Figure 2's and those of stochastic experts lie beside them.
    """
    series = []
    for run in sorted((folder / "runs").glob("*-greedy-*")):
        facts = json.loads((run / "run.json").read_text()) if (run / "run.json").exists() else None
        if facts is None or facts["demo_steps"] != DEMO_STEPS.get(facts["game"]):
            continue
        rows = pq.read_table(run / "metrics.parquet").to_pylist()
        for column in columns:
            points, values = [], []
            for evaluation in sorted({r["evaluation"] for r in rows}):
                here = [r for r in rows if r["evaluation"] == evaluation]
                known = [r[column] for r in here if r.get(column) is not None]
                if known:
                    values = known
                    mean, interval = mean_interval(np.asarray(known))
                    episodes = float(np.mean([r["episodes"] for r in here]))
                    points.append({"episodes": episodes, "updates": here[0]["updates"], "mean": mean, "ci95": interval})
            if points:
                name = {"algorithm": facts["algorithm_id"], "game": facts["game"], "measure": column}
                made = {key: facts.get(key) for key in ("commit", "command", "machine", "date")}
                series.append({**name, "points": points, "last_per_seed": values, **made})
    return series


def ratios(series: list[dict[str, Any]], resamples: int = 10_000) -> list[dict[str, Any]]:
    """How many times larger each baseline's error is at the end of training than MAMQL's, by game and measure.

    Of means over seeds; intervals from resampling both sides' seeds (bootstrap, percentiles).
    """
    rng = np.random.default_rng(0)
    last = {(s["algorithm"], s["game"], s["measure"]): np.asarray(s["last_per_seed"], float) for s in series}
    found = []
    for (algorithm, game, measure), theirs in last.items():
        ours = last.get(("mamql", game, measure))
        if algorithm == "mamql" or measure not in ERRORS or ours is None:
            continue
        ours, theirs = (x[np.isfinite(x)] for x in (ours, theirs))
        if not len(ours) or not len(theirs) or ours.mean() <= 0:
            continue
        interval = [None, None]
        if min(len(ours), len(theirs)) > 1:
            drawn = [rng.choice(x, (resamples, len(x))).mean(1) for x in (theirs, ours)]
            interval = [float(v) for v in np.quantile(drawn[0] / np.maximum(drawn[1], 1e-12), [0.025, 0.975])]
        found.append(
            {
                **{"algorithm": algorithm, "game": game, "measure": measure},
                "ratio": float(theirs.mean() / ours.mean()),
                "ci95": interval,
                "mamql": float(ours.mean()),
                "baseline": float(theirs.mean()),
                "published": ERRORS[measure],
            }
        )
    return found


def write_curves(folder: Path) -> dict[str, list]:
    """`figure3.json` (reward recovery), `figure4.json` (behavioural error) and `ratios.json`.

    Series of runs that are no longer there are kept: the results grow over several commands, as the table does.
    """
    result = {}
    for name, columns in (("figure3", REWARD), ("figure4", BEHAVIOUR)):
        path = folder / f"{name}.json"
        known = json.loads(path.read_text()) if path.exists() else []
        fresh = curves(folder, columns)
        keys = {_key(s) for s in fresh}
        result[name] = sorted([s for s in known if _key(s) not in keys] + fresh, key=_key)
        write_result(path, result[name])
    result["ratios"] = ratios(result["figure3"] + result["figure4"])
    write_result(folder / "ratios.json", result["ratios"])
    return result


def _key(series: dict[str, Any]) -> tuple[str, str, str]:
    return series["measure"], series["game"], series["algorithm"]
