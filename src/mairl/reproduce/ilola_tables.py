"""The tables of learning from learners by name, as the command line runs them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mairl.core.errors import Unsupported
from mairl.ops.learners import LEARNERS
from mairl.reproduce import (
    ilola,
    ilola_figures,
    ilola_ppo,
    ilola_single,
    ilola_t1,
    ilola_t1_sampled,
    ilola_t2,
    ilola_t3,
    ilola_trajectories,
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the command line asks of a table.

    Attributes:
        out: folder of results.
        seeds: how many, or None for the table's own number.
        quick: see that everything works.
        only: learners or methods, all if none.
        command: as it was typed.
    """

    out: Path
    seeds: int | None
    quick: bool
    only: tuple[str, ...]
    command: str

    def count(self, usual: int) -> int:
        """How many seeds."""
        return self.seeds if self.seeds is not None else (min(2, usual) if self.quick else usual)


Rows = tuple[dict[str, Any], list[str]]
"""Results by name, and lines for people."""


def _exact(asked: Asked) -> Rows:
    learners = tuple(a for a in asked.only if a in LEARNERS) or tuple(LEARNERS)
    rows = ilola.exact(asked.out, seeds=asked.count(1 if asked.quick else 10), learners=learners, command=asked.command)
    return {"exact": rows}, ilola.exact_markdown(rows)


def _t1(asked: Asked) -> Rows:
    methods = tuple(a for a in asked.only if a in ilola_t1.METHODS)
    small = {"episodes": 100, "steps": 200} if asked.quick else {}
    result, lines = {}, []
    for reward in ("disjoint", "joint"):
        seeds = asked.count(10)
        rows = ilola_t1.t1(asked.out, seeds=seeds, reward=reward, methods=methods, command=asked.command)
        rows += ilola_t1_sampled.t1_sampled(
            asked.out, seeds=seeds, reward=reward, methods=methods, command=asked.command, **small
        )
        result[f"t1_{reward}"] = rows
        lines += [f"T1, {reward} reward", *ilola_t1.t1_markdown(rows)]
    return result, lines


def _t2(asked: Asked) -> Rows:
    methods = tuple(a for a in asked.only if a in ilola_ppo.ROWS)
    rows = ilola_t2.t2(asked.out, seeds=asked.count(10), methods=methods, command=asked.command, quick=asked.quick)
    return {"t2": rows}, ["T2", *ilola_t2.markdown(rows)]


def _t3(asked: Asked) -> Rows:
    methods = tuple(a for a in asked.only if a in ilola_ppo.ROWS)
    rows = ilola_t3.t3(asked.out, seeds=asked.count(3), methods=methods, command=asked.command, quick=asked.quick)
    return {"t3": rows}, ["T3", *ilola_t2.markdown(rows)]


def _trajectories(asked: Asked) -> Rows:
    samples = ilola_trajectories.SAMPLES[:1] if asked.quick else ilola_trajectories.SAMPLES
    methods = tuple(a for a in asked.only if a in ilola_trajectories.METHODS) or ilola_trajectories.METHODS
    rows = ilola_trajectories.trajectories(
        asked.out, seeds=asked.count(3), samples=samples, methods=methods, command=asked.command
    )
    return {"trajectories": rows}, ilola_trajectories.trajectories_markdown(rows)


def _lfl(asked: Asked) -> Rows:
    rows = ilola_single.lfl_table(asked.out, seeds=asked.count(10), command=asked.command)
    lines = [
        f"LfL, {r['seen']}, {r['steps']} steps: regret {r['regret']:.2g}, Pearson {r['pearson']:.4f}" for r in rows
    ]
    return {"lfl": rows}, lines


def _logel(asked: Asked) -> Rows:
    rows = ilola_single.logel_table(asked.out, seeds=asked.count(10), command=asked.command)
    lines = []
    for r in rows:
        shown = "–" if r["cosine"] is None else f"{r['cosine']:.4f}"
        lines.append(f"LOGEL, {r['seen']}, step sizes {r['step_sizes']}, {r['steps']} steps: cosine {shown}")
    return {"logel": rows}, lines


def _confusion(asked: Asked) -> Rows:
    path = asked.out / "exact.json"
    if not path.exists():
        raise Unsupported(f"the confusion matrix is made from {path}: run mairl reproduce ilola --table exact first")
    rows = ilola_figures.confusion(
        asked.out, json.loads(path.read_text()), seeds=asked.count(10), samples=10_000, command=asked.command
    )
    lines = [f"{r['learner']}, {r['seen']}: {r['chosen']}" for r in rows]
    return {"confusion": rows}, lines


def _curves(asked: Asked) -> Rows:
    rows = ilola_figures.curves(asked.out, seeds=asked.count(10), command=asked.command)
    lines = [f"{r['seen']} {r['amount']}, {r['method']}: {r['angle_degrees']}" for r in rows]
    return {"curves": rows}, lines


def _cma_es(asked: Asked) -> Rows:
    rows = ilola_figures.cma_comparison(asked.out, seeds=asked.count(10), command=asked.command, quick=asked.quick)
    lines = [
        f"{r['family']} ({r['form']}), to {r['target_residual']:.0e}: CMA-ES {r['cma_evaluations']:.0f} evaluations in "
        f"{r['cma_seconds']:.3g} s, derivatives {r['derivative_evaluations']:.0f} in {r['derivative_seconds']:.3g} s, "
        f"{r['times_faster']:.1f} times faster"
        for r in rows
    ]
    return {"cma_es": rows}, lines


TABLES: dict[str, Callable[[Asked], Rows]] = {
    "exact": _exact,
    "t1": _t1,
    "t2": _t2,
    "t3": _t3,
    "trajectories": _trajectories,
    "lfl": _lfl,
    "logel": _logel,
    "confusion": _confusion,
    "curves": _curves,
    "cma-es": _cma_es,
}
"""Table to what makes it. One visible dictionary; the command line and the documents derive from it."""

BY_DEFAULT = tuple(name for name in TABLES if name != "t3")
"""T3 steps somebody else's physics for hours: it is made where it is asked for."""
