"""`mairl reproduce PAPER`: tables and figures made anew."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.cli.output import emit
from mairl.core.errors import Unsupported


def main(argv: list[str]) -> None:
    """Parses and runs."""
    command = shlex.join(["mairl", "reproduce", *argv])

    def reproduce(
        paper: Annotated[Literal["mamql", "ilola"], tyro.conf.Positional],
        *,
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        table: Literal["1", "2", "exact", "t1", "t2", "t3"] | None = None,
        figure: int | None = None,
        budget: Literal["quick", "paper"] = "paper",
        seeds: int | None = None,
        algorithms: tuple[str, ...] = (),
        games: tuple[str, ...] = (),
        stochastic: bool = False,
        json: bool = False,
    ) -> None:
        """Runs what is missing, and writes tables and figures. Interrupted work goes on where it was.

        Args:
            paper: "mamql", or "ilola": learning from learners.
            out: folder of results; runs and recordings are kept in it.
            table: of "mamql" 1 (with Table II's convergence in the same rows); of "ilola" exact (every learner inverted
                with every family), t1 (soft policy improvers), t2 (PPO learners in Simple Spread) or t3 (in
                MultiWalker; by default only where it was asked for); default: everything else.
            figure: 2, 3 or 4.
            budget: "paper" for the claims, "quick" to see that everything works.
            seeds: default ten, five for Figure 2, one for "ilola" exact, three for t3; with the quick budget two.
            algorithms: only these; of "ilola" the learners (exact) or methods (the rest).
            games: only these.
            stochastic: demonstrations of the stochastic expert instead of the greedy one.
            json: print one JSON object.
        """
        if paper == "ilola":
            tables = [table] if table else ["exact", "t1", "t2"]
            if figure is not None or games or stochastic or set(tables) - {"exact", "t1", "t2", "t3"}:
                raise Unsupported(
                    "ilola has the tables exact, t1, t2 and t3, no figures, and its own games: leave the rest out"
                )
            result, lines = _ilola(out, tables, seeds, budget, algorithms, command)
            emit(result, json, lines)
            return
        if table in ("exact", "t1", "t2", "t3"):
            raise Unsupported(f"mamql has the tables 1 and 2, not {table}: ask for ilola, or for another table")
        from mairl.reproduce import mamql
        from mairl.reproduce.mamql_curves import write_curves

        chosen = {"algorithms": algorithms} if algorithms else {}
        chosen |= {"games": games} if games else {}
        result, lines = {}, []
        count = seeds if seeds is not None else (2 if budget == "quick" else 10)
        if (table in ("1", "2")) or (figure in (3, 4)) or (table is None and figure is None):
            rows = mamql.table1(out, budget_name=budget, seeds=count, stochastic=stochastic, command=command, **chosen)
            result["table1"] = rows
            lines += mamql.markdown(rows)
        if figure == 2 or (table is None and figure is None):
            count = seeds if seeds is not None else (2 if budget == "quick" else 5)
            result["figure2"] = mamql.figure2(out, budget_name=budget, seeds=count, command=command, **chosen)
        if figure in (3, 4) or (table is None and figure is None):
            result["curves"] = write_curves(out)
        mamql.write_pictures(out)
        lines.append(f"results: {out}")
        emit(result, json, lines)

    tyro.cli(reproduce, args=argv, prog="mairl reproduce")


def _ilola(out: Path, tables: list[str], seeds: int | None, budget: str, algorithms: tuple[str, ...], command: str):
    """Runs the tables of learning from learners; returns their rows and the lines to print."""
    from mairl.ops.learners import LEARNERS
    from mairl.reproduce import ilola, ilola_t1, ilola_t2, ilola_t3

    known = [*(LEARNERS if "exact" in tables else ()), *(ilola_t1.METHODS if set(tables) - {"exact"} else ())]
    if unknown := sorted(set(algorithms) - set(known)):
        raise Unsupported(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    result, lines = {}, []
    if "exact" in tables:
        learners = tuple(a for a in algorithms if a in LEARNERS) or tuple(LEARNERS)
        rows = ilola.exact(out, seeds=seeds or 1, learners=learners, command=command)
        result["exact"] = rows
        lines += ilola.exact_markdown(rows)
    methods = tuple(a for a in algorithms if a in ilola_t1.METHODS)
    if "t1" in tables:
        count = seeds or (2 if budget == "quick" else 10)
        for reward in ("disjoint", "joint"):
            rows = ilola_t1.t1(out, seeds=count, reward=reward, methods=methods, command=command)
            result[f"t1_{reward}"] = rows
            lines += [f"T1, {reward} reward", *ilola_t1.t1_markdown(rows)]
    if "t2" in tables:
        count = seeds or (2 if budget == "quick" else 10)
        result["t2"] = ilola_t2.t2(out, seeds=count, methods=methods, command=command, quick=budget == "quick")
        lines += ["T2", *ilola_t2.markdown(result["t2"])]
    if "t3" in tables:
        count = seeds or (2 if budget == "quick" else 3)
        result["t3"] = ilola_t3.t3(out, seeds=count, methods=methods, command=command, quick=budget == "quick")
        lines += ["T3", *ilola_t2.markdown(result["t3"])]
    lines.append(f"results: {out}")
    return result, lines
