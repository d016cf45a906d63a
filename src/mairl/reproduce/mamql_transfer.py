"""Are the rewards of Table I's runs worth learning from? `transfer.json`, one row per game, algorithm and caution."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.run_folder import provenance
from mairl.core.learned import Learned
from mairl.core.stacked import one_of
from mairl.games import make_game
from mairl.metrics.intervals import mean_interval
from mairl.metrics.transfer import cautious, discount_of, normalised, transfer, yardsticks
from mairl.recipes.experts import recipe_for
from mairl.reproduce.mamql import BUDGETS, DEMO_STEPS, merge_rows, run_job

ALGORITHMS = ("mamql", "iq-independent", "iq-ma-joint", "ma-airl")
"""Those of the table that recover a reward, but for the reading of joint critics that does not imitate."""

GAMES = ("gems", "gems-random")

CAUTIONS = (None, 1.0)
"""Each seed's own reward; all seeds' mean less one standard deviation."""

KEYS = ("game", "algorithm", "reward", "caution")


def transfer_table(
    folder: Path,
    *,
    budget_name: str,
    seeds: int,
    algorithms: tuple[str, ...] = ALGORITHMS,
    games: tuple[str, ...] = GAMES,
    command: str = "",
) -> list[dict[str, Any]]:
    """Fresh agents on each run's reward; runs that are missing are made first. A row that is there is kept."""
    budget, path = BUDGETS[budget_name], folder / "transfer.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    wanted = []
    for game_name in games:
        game, recipe = make_game(game_name), recipe_for(game_name)
        steps = int(recipe.budget * budget.scale)
        measure: dict[str, Any] = {"budget": steps, "episodes": budget.final_episodes}
        sticks = None
        for algorithm in algorithms:
            run = run_job(
                algorithm,
                game_name,
                DEMO_STEPS[game_name],
                folder=folder,
                seeds=seeds,
                budget=budget,
                stochastic=False,
                command=command,
            )
            learned, facts = Learned.load(run / "learned"), json.loads((run / "run.json").read_text())
            face = "reward" if learned.reward is not None else "shaped_reward"
            payment = getattr(learned, face)
            for caution in CAUTIONS:
                names = dict(zip(KEYS, (game_name, algorithm, face, caution)))
                known = [r for r in rows if all(r[k] == v for k, v in names.items())]
                wanted += known
                if known and known[0]["seeds"] >= seeds and known[0]["env_steps"] == steps:
                    continue
                if sticks is None:
                    sticks = yardsticks(game, recipe.algorithm, progress=True, **measure)
                start = time.perf_counter()
                every = range(seeds)
                if caution is None:
                    payments = [one_of(payment, i) for i in every]
                else:
                    payments = [cautious(game, payment, seeds, caution)] * seeds
                found = transfer(
                    game,
                    payments,
                    [one_of(learned.policy, i) for i in every],
                    recipe.algorithm,
                    discount=discount_of(facts, recipe.algorithm.discount),
                    progress=True,
                    keep=folder / "transfer.partial.json",
                    **measure,
                )
                mean, interval = mean_interval(np.array(found.returns))
                row = {
                    **names,
                    "seeds": seeds,
                    "return_mean": mean,
                    "return_ci95": interval,
                    "return_per_seed": found.returns,
                    "trained_on_true_reward": sticks[0],
                    "random": sticks[1],
                    "normalised": normalised(mean, sticks[1], sticks[0]),
                    "recovered_return": float(np.mean(found.paid)),
                    "recovered_return_of_the_learned_policies": float(np.mean(found.paid_to_learned)),
                    "env_steps": steps,
                    "wall_s": time.perf_counter() - start,
                    "command": command,
                    **provenance(),
                }
                merge_rows(path, [row], KEYS)
                (folder / "transfer.partial.json").unlink(missing_ok=True)
                wanted = [r for r in wanted if r not in known] + [row]
                print(
                    f"transfer, {algorithm} on {game_name}, caution {caution}: {row['wall_s']:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return wanted


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The table as Markdown."""
    lines = [
        "| game | algorithm | reward | seeds | true return of fresh agents [95% CI] | of 1, paid the true reward "
        "| recovered return | of the learned policies |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["return_ci95"]
        interval = f" [{low:.2f}, {high:.2f}]" if low is not None else ""
        share = "–" if r["normalised"] is None else f"{r['normalised']:.3f}"
        kind = "each seed's own" if r["caution"] is None else f"mean - {r['caution']:g} deviations"
        lines.append(
            f"| {r['game']} | {r['algorithm']} | {kind} | {r['seeds']} | {r['return_mean']:.2f}{interval} | {share} "
            f"| {r['recovered_return']:.1f} | {r['recovered_return_of_the_learned_policies']:.1f} |"
        )
    return lines
