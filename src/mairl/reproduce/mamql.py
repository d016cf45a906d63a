"""The MAMQL paper's tables and figures (Haynam et al. 2025), made anew.

Everything is a list of jobs, one run per (algorithm, game, demonstration steps). A job that has been done is not done
again; one that was interrupted goes on where it was. Tables and figures are then read off the finished runs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq

from mairl.algorithms.fit import fit
from mairl.algorithms.run_folder import provenance
from mairl.algorithms.settings import check_same, plain
from mairl.core.learned import Learned
from mairl.data import store
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata
from mairl.games import make_game
from mairl.metrics.convergence import episodes_to_converge
from mairl.metrics.intervals import mean_interval
from mairl.recipes import learner_recipe, load_expert
from mairl.reproduce.mamql_measures import learning_measures
from mairl.reproduce.mamql_shares import against_expert, evaluation_keys, final_returns

GAMES = ("gems", "gems-random", "overcooked", "overcooked-cook5", "intersection")
ALGORITHMS = ("bc", "iq-independent", "iq-ma-joint", "iq-ma-slice", "ma-airl", "mamql")
ORDER = {"game": GAMES, "algorithm": ALGORITHMS}
FIGURE2_KEYS = ("game", "algorithm", "demo_steps")
DEMO_STEPS = {
    "gems": 20_000,
    "gems-random": 20_000,
    "overcooked": 2_000,
    "overcooked-cook5": 2_000,
    "intersection": 70_000,
}
"""The paper's "Expert Data Steps"."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much of the whole to do.

    Attributes:
        scale: share of each recipe's budget.
        evaluations: per run.
        episodes: per evaluation.
        final_episodes: per seed, for the tables.
    """

    scale: float
    evaluations: int
    episodes: int
    final_episodes: int


BUDGETS = {"quick": Budget(0.05, 8, 32, 100), "paper": Budget(1.0, 40, 64, 1000)}


def demonstrations_for(game_name: str, steps: int, folder: Path, stochastic: bool) -> Path:
    """The store of a recording of the shipped expert, which is made once."""
    kind = "stochastic" if stochastic else "greedy"
    path = folder / "demos" / f"{game_name}-{kind}-{steps}"
    if not path.exists():
        game, expert = make_game(game_name), load_expert(game_name)
        source = f"shipped expert, {kind}"
        data = record(
            game,
            expert.policy,
            jax.random.key(1),
            num_steps=steps,
            greedy=not stochastic,
            metadata=Metadata.of(game_name, source),
        )
        store.save(data, path)
    return path


def run_job(
    algorithm_name: str,
    game_name: str,
    steps: int,
    *,
    folder: Path,
    seeds: int,
    budget: Budget,
    stochastic: bool,
    command: str,
) -> Path:
    """Learns once per seed, unless that has been done, for as many seeds at least; returns the run folder.

    Raises:
        InvalidData: it has been done, or was begun, with another budget or configuration, or for fewer seeds.
    """
    kind = "stochastic" if stochastic else "greedy"
    out = folder / "runs" / f"{algorithm_name}-{game_name}-{kind}-{steps}"
    _, amount = learner_recipe(algorithm_name, game_name)
    algorithm, amount = learner_recipe(algorithm_name, game_name, max(1, int(amount * budget.scale)))
    if out.exists():
        known = json.loads((out / "run.json").read_text())["seeds"]
        asked = {"algorithm": {"config": plain(algorithm)}, "budget": amount}
        check_same(out / "run.json", {**asked, "seeds": known if len(known) >= seeds else list(range(seeds))}, str(out))
        return out
    demos = demonstrations_for(game_name, steps, folder, stochastic)
    start = time.perf_counter()
    fit(
        algorithm,
        make_game(game_name),
        store.load(demos),
        budget=amount,
        seeds=seeds,
        evaluations=budget.evaluations,
        episodes=budget.episodes,
        select="last",
        measures=learning_measures(game_name, stochastic),
        out=out,
        resume=True,
        progress=True,
        describe={
            "algorithm_id": algorithm_name,
            "game": game_name,
            "demos": str(demos),
            "demo_steps": steps,
            "command": command,
        },
    )
    print(f"{algorithm_name} on {game_name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return out


def table_row(run: Path, budget: Budget, stochastic: bool = False) -> dict[str, Any]:
    """One row of Table I (and II) from a finished run: returns of sampled actions, and of the likeliest beside them."""
    facts = json.loads((run / "run.json").read_text())
    learned = Learned.load(run / "learned")
    seeds = facts["seeds"]
    keys = evaluation_keys(seeds)
    game = make_game(facts["game"])
    returns, greedy = (
        np.asarray(final_returns(learned.policy, game, keys, budget.final_episodes, jnp.asarray(likeliest)))
        for likeliest in (False, True)
    )
    mean, (low, high) = mean_interval(returns.mean(1))
    greedy_mean, greedy_interval = mean_interval(greedy.mean(1))
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    by_seed = [[r for r in rows if r["seed"] == s] for s in seeds]
    converged = [
        episodes_to_converge([r["return/agent_mean"] for r in one], [r["episodes"] for r in one]) for one in by_seed
    ]
    reached = [c for c in converged if c is not None]
    config = facts["algorithm"]["config"]
    last = rows[-1]
    env_steps = int(last["step"] or 0)
    gradient_steps = int(last["updates"]) * int(config.get("updates", 1))
    row = {
        "algorithm": facts["algorithm_id"],
        "game": facts["game"],
        "seeds": len(seeds),
        "return_mean": mean,
        "return_ci95": [low, high],
        "episodes_to_converge": float(np.mean(reached)) if reached and facts["env_steps"] else None,
        "env_steps": env_steps,
        "updates_per_step": gradient_steps / env_steps if env_steps else None,
        "wall_s": max(r["wall_s"] for r in rows),
        "gradient_updates": gradient_steps,
        "seeds_converged": len(reached),
        "return_per_seed": [float(v) for v in returns.mean(1)],
        "return_per_agent": [float(v) for v in returns.mean(0)],
        "greedy_return_mean": greedy_mean,
        "greedy_return_ci95": list(greedy_interval),
        "final_episodes": budget.final_episodes,
        "demo_steps": facts["demo_steps"],
        "commit": facts["commit"],
        "machine": facts["machine"],
        "command": facts.get("command"),
        "date": facts.get("date"),
    }
    return against_expert(row, stochastic)


def published() -> dict[str, Any]:
    """The paper's numbers."""
    return json.loads((files("mairl.reproduce") / "published_mamql.json").read_text())


def table1(
    folder: Path,
    *,
    budget_name: str,
    seeds: int,
    algorithms: tuple[str, ...] = ALGORITHMS,
    games: tuple[str, ...] = GAMES,
    stochastic: bool = False,
    command: str = "",
) -> list[dict[str, Any]]:
    """Tables I and II: runs what is missing, and writes `table1.json` after every run, so that nothing is lost."""
    budget = BUDGETS[budget_name]
    path = folder / ("table1_stochastic.json" if stochastic else "table1.json")
    rows: list[dict[str, Any]] = []
    for algorithm in sorted(algorithms, key=lambda a: a != "mamql"):
        for game in games:
            steps = DEMO_STEPS[game]
            run = run_job(
                algorithm,
                game,
                steps,
                folder=folder,
                seeds=seeds,
                budget=budget,
                stochastic=stochastic,
                command=command,
            )
            rows.append(table_row(run, budget, stochastic))
            merge_rows(path, rows[-1:])
    write_result(folder / "provenance.json", {"command": command, "budget": budget_name, **provenance()})
    return rows


def figure2(
    folder: Path,
    *,
    budget_name: str,
    seeds: int,
    games: tuple[str, ...] = ("gems", "overcooked-cook5"),
    algorithms: tuple[str, ...] = ("mamql", "ma-airl", "iq-ma-joint"),
    command: str = "",
) -> list[dict[str, Any]]:
    """Figure 2: return against demonstration steps, from a twentieth of the paper's recording to all of it."""
    budget = BUDGETS[budget_name]
    rows = []
    for algorithm in algorithms:
        for game in games:
            for share in (0.05, 0.1, 0.25, 0.5, 1.0):
                steps = max(500, int(share * DEMO_STEPS[game]))
                run = run_job(
                    algorithm, game, steps, folder=folder, seeds=seeds, budget=budget, stochastic=False, command=command
                )
                rows.append(table_row(run, budget))
                merge_rows(folder / "figure2.json", rows[-1:], FIGURE2_KEYS)
    return rows


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Table I and II as Markdown, published numbers beside ours."""
    paper = published()
    lines = [
        "| game | algorithm | seeds | return, mean per agent [95% CI] | likeliest actions | share of expert [95% CI] "
        "| paper's return (share) | episodes to converge | paper's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: tuple(known.index(r[k]) for k, known in ORDER.items())):
        game = {"gems-random": "gems", "overcooked-cook5": "overcooked"}.get(row["game"], row["game"])
        name = "iq-ma" if row["algorithm"].startswith("iq-ma") else row["algorithm"]
        theirs = paper["return"][game].get(name)
        theirs_share = f"{theirs:.2f} ({theirs / paper['return'][game]['expert']:.3f})" if theirs is not None else "–"
        converged = row["episodes_to_converge"]
        low, high = row["return_ci95"] or (None, None)
        interval = f" [{low:.2f}, {high:.2f}]" if low is not None else ""
        greedy = row.get("greedy_return_mean")
        share = "–" if row["share_of_expert"] is None else f"{row['share_of_expert']:.3f}"
        low, high = row.get("share_ci95") or (None, None)
        if low is not None:
            share += f" [{low:.3f}, {high:.3f}]"
        lines.append(
            f"| {row['game']} | {row['algorithm']} | {row['seeds']} | {row['return_mean']:.2f}{interval} "
            f"| {'–' if greedy is None else f'{greedy:.2f}'} "
            f"| {share} | {theirs_share} "
            f"| {'–' if converged is None else f'{converged:,.0f}'} "
            f"| {paper['episodes_to_converge'][game].get(name, '–')} |"
        )
    return lines


def write_pictures(folder: Path) -> None:
    """SVG pictures of whatever results are there, and the table as Markdown."""
    from mairl.reproduce.mamql_pictures import draw

    table = folder / "table1.json"
    if table.exists():
        (folder / "table1.md").write_text("\n".join(markdown(json.loads(table.read_text()))) + "\n")
    draw(folder)


def merge_rows(path: Path, rows: list[dict[str, Any]], keys: tuple[str, ...] = ("game", "algorithm")) -> None:
    """Adds rows to a file, in place of those that are equal in all `keys`: it grows over several commands.

    They are kept in the order of the paper's games and algorithms, then of further keys.
    """

    def place(row):
        return tuple(ORDER[k].index(row[k]) if k in ORDER else (row[k] is not None, row[k]) for k in keys)

    known = json.loads(path.read_text()) if path.exists() else []
    new = {place(row) for row in rows}
    write_result(path, sorted([row for row in known if place(row) not in new] + rows, key=place))


def write_result(path: Path, value: Any) -> None:
    """Writes JSON through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)
