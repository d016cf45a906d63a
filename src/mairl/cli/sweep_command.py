"""`mairl sweep ALGORITHM --demos DEMOS -o FOLDER --set field=value,value`: configurations side by side."""

from __future__ import annotations

import dataclasses
import json as json_format
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import tyro

from mairl.algorithms.base import Algorithm
from mairl.algorithms.run_folder import provenance
from mairl.algorithms.settings import check_same, plain
from mairl.cli.learn_command import Learn, run
from mairl.cli.output import emit, finite
from mairl.core.errors import MairlError, Unsupported
from mairl.core.processes import spread
from mairl.data import store
from mairl.metrics.intervals import mean_interval
from mairl.recipes.learners import OFFLINE_BUDGET, learner_recipe, over_budget
from mairl.recipes.sweep import configurations, name_of, ranked, with_fields


@dataclasses.dataclass(frozen=True)
class Job:
    """One configuration's run: picklable, so that it can be done elsewhere."""

    algorithm: str
    fields: dict[str, Any]
    learn: Learn
    command: str


def learn_one(job: Job) -> dict[str, Any]:
    """Learns with one configuration, unless that has been done; its row of the table, with `error` if it cannot."""
    start = time.perf_counter()
    row: dict[str, Any] = {"fields": job.fields, "run": str(job.learn.out), "error": None}
    try:
        algorithm, budget = configured(job)
        if job.learn.out.exists():
            seeds = list(range(job.learn.seed, job.learn.seed + job.learn.seeds))
            asked = {"algorithm": {"config": plain(algorithm)}, "budget": budget, "seeds": seeds}
            check_same(job.learn.out / "run.json", asked, f"the run in {job.learn.out}")
        else:
            run(job.learn, job.algorithm, algorithm, budget, job.command)
        return row | scores(job.learn.out) | {"wall_s": time.perf_counter() - start}
    except MairlError as error:
        nothing = {"heldout_log_likelihood": None, "heldout_ci95": [None, None], "return_mean": None, "failures": []}
        return row | nothing | {"error": str(error), "wall_s": time.perf_counter() - start}


def configured(job: Job) -> tuple[Algorithm, int]:
    """The learner and its budget."""
    recipe, budget = learner_recipe(job.algorithm, job.learn.game, job.learn.budget)
    algorithm = with_fields(recipe, job.fields)
    if job.learn.budget is None and getattr(algorithm, "offline", False):
        budget = OFFLINE_BUDGET
    return algorithm if "anneal" in job.fields else over_budget(algorithm, budget), budget


def scores(folder: Path) -> dict[str, Any]:
    """Of a finished run: each seed's best held-out likelihood, averaged; its return there, where it was measured."""
    facts = json_format.loads((folder / "run.json").read_text())
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    kept = []
    for seed in facts["seeds"]:
        mine = [r for r in rows if r["seed"] == seed]
        known = [r for r in mine if r.get("heldout_log_likelihood") is not None]
        chosen = max(known, key=lambda r: r["heldout_log_likelihood"]) if known else mine[-1]
        kept.append(chosen if facts["select"] == "heldout" else mine[-1])

    def mean(column: str):
        values = np.array([np.nan if r.get(column) is None else r[column] for r in kept], float)
        return mean_interval(values)

    (likelihood, interval), (value, _) = mean("heldout_log_likelihood"), mean("return/agent_mean")
    return finite(
        {
            "heldout_log_likelihood": likelihood,
            "heldout_ci95": interval,
            "return_mean": value,
            "failures": facts["failures"],
        }
    )


def main(argv: list[str]) -> None:
    """Parses and runs."""
    command = shlex.join(["mairl", "sweep", *argv])

    def sweep(
        algorithm: Annotated[str, tyro.conf.Positional],
        *,
        demos: Path,
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction],
        game: str = "",
        budget: int | None = None,
        seeds: int = 2,
        seed: int = 0,
        evaluations: int = 10,
        episodes: int = 64,
        held_out: float = 0.1,
        workers: int = 1,
        ray: bool = False,
        json: bool = False,
    ) -> None:
        """Learns with every combination of settings and ranks them by held-out likelihood. What is done is not done
        again, and what was interrupted goes on.

        Args:
            algorithm: see `mairl learn`; all else is its recipe's.
            demos: recording to learn from (a STORE).
            out: folder of the runs and of sweep.json.
            set: "field=value,value", such as learning_rate=3e-4,1e-3 or ppo.clip=0.1,0.2; may be given several times.
            game: id and options; default: the one named in the recording.
            budget: environment steps per seed (offline: rounds of `updates` gradient updates); default: the recipe's.
            seeds: of each configuration.
            seed: the first seed.
            evaluations: how often to evaluate; the best one of each seed counts.
            episodes: per evaluation. Returns are shown, and decide nothing.
            held_out: share of episodes kept to measure likelihood.
            workers: processes; 0: one per core.
            ray: over a Ray cluster; DEMOS and FOLDER must be where its machines see them.
            json: print one JSON object.
        """
        if not 0 < held_out < 1:
            raise Unsupported(
                f"configurations are ranked by held-out likelihood: held_out={held_out} must be in (0, 1)"
            )
        fields = configurations(set)
        game = game or store.load(demos).metadata.game
        recipe, _ = learner_recipe(algorithm, game, budget)
        for each in fields:
            with_fields(recipe, each)
        where = {"demos": demos.absolute(), "game": game, "budget": budget, "seeds": seeds, "seed": seed}
        how = {"evaluations": evaluations, "episodes": episodes, "held_out": held_out}
        jobs = [
            Job(
                algorithm,
                each,
                Learn(out=(out / name_of(each)).absolute(), **where, **how, resume=True, quiet=True, report=False),
                command,
            )
            for each in fields
        ]
        out.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for _, row in spread(learn_one, jobs, workers=workers, ray=ray):
            rows = ranked([*rows, row])
            _write(out / "sweep.json", {"algorithm": algorithm, "game": game, "command": command, "rows": rows})
            print(f"{len(rows)} of {len(jobs)}  {_line(row)}", file=sys.stderr, flush=True)
        lines = [f"{out}: {algorithm} on {game}, {seeds} seed(s), best first", *(f"  {_line(row)}" for row in rows)]
        emit({"sweep": str(out), "rows": rows}, json, lines)

    tyro.cli(sweep, args=argv, prog="mairl sweep")


def _line(row: dict[str, Any]) -> str:
    name = name_of(row["fields"])
    if row["error"]:
        return f"{name}: {row['error']}"
    (low, high), likelihood = row["heldout_ci95"], row["heldout_log_likelihood"]
    text = "–" if likelihood is None else f"{likelihood:.4f}"
    text += "" if low is None else f" [{low:.4f}, {high:.4f}]"
    text += "" if row["return_mean"] is None else f", return {row['return_mean']:.2f}"
    text += f", {len(row['failures'])} seed(s) frozen" if row["failures"] else ""
    return f"{name}: held-out log-likelihood {text}"


def _write(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json_format.dumps({**value, **provenance()}, indent=1))
    temporary.replace(path)
