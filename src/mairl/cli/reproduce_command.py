"""`mairl reproduce PAPER`: tables and figures made anew."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.cli.output import emit


def main(argv: list[str]) -> None:
    """Parses and runs."""
    command = shlex.join(["mairl", "reproduce", *argv])

    def reproduce(
        paper: Annotated[Literal["mamql"], tyro.conf.Positional],
        *,
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        table: int | None = None,
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
            paper: "mamql".
            out: folder of results; runs and recordings are kept in it.
            table: 1 (with Table II's convergence in the same rows); default: everything.
            figure: 2, 3 or 4.
            budget: "paper" for the claims, "quick" to see that everything works.
            seeds: default ten, five for Figure 2; with the quick budget two.
            algorithms: only these.
            games: only these.
            stochastic: demonstrations of the stochastic expert instead of the greedy one.
            json: print one JSON object.
        """
        from mairl.reproduce import mamql
        from mairl.reproduce.mamql_curves import write_curves

        chosen = {"algorithms": algorithms} if algorithms else {}
        chosen |= {"games": games} if games else {}
        result, lines = {}, []
        count = seeds if seeds is not None else (2 if budget == "quick" else 10)
        if (table in (1, 2)) or (figure in (3, 4)) or (table is None and figure is None):
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
