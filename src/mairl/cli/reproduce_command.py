"""`mairl reproduce PAPER`: tables and figures made anew."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.cli.output import emit
from mairl.core.errors import InvalidData, Unsupported


def main(argv: list[str]) -> None:
    """Parses and runs."""
    command = shlex.join(["mairl", "reproduce", *argv])

    def reproduce(
        paper: Annotated[Literal["mamql", "ilola"], tyro.conf.Positional],
        *,
        out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
        table: str | None = None,
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
            table: of "mamql" 1 (with Table II's convergence in the same rows), or transfer (fresh agents trained on
                the rewards of Table I's runs, only when asked for: it takes hours); of "ilola" one of
                `mairl.reproduce.ilola_tables.TABLES`: exact (every learner inverted with every family), t1 (soft policy
                improvers), t2 (PPO learners in Simple Spread), t3 (in MultiWalker), trajectories, lfl, logel,
                confusion, curves, cma-es; default: everything but t3, which takes hours.
            figure: of "mamql" 2, 3 or 4; of "ilola" 1 (divergences) or 2 (heat maps), with all pictures beside them.
            budget: "paper" for the claims, "quick" to see that everything works.
            seeds: default ten, five for Figure 2, three for t3 and trajectories; with the quick budget two, one for
                exact.
            algorithms: only these; of "ilola" the learners (exact) or methods (t1, t2, t3, trajectories).
            games: only these.
            stochastic: demonstrations of the stochastic expert instead of the greedy one.
            json: print one JSON object.
        """
        if seeds is not None and seeds < 1:
            raise InvalidData(f"{seeds} seeds: at least one is needed")
        if paper == "ilola":
            if games or stochastic:
                raise Unsupported("the tables of ilola name their games and learners: leave --games, --stochastic out")
            result, lines = _ilola(out, table, figure, seeds, budget, algorithms, command)
            emit(result, json, lines)
            return
        if table not in (None, "1", "2", "transfer"):
            raise Unsupported(
                f"mamql has the tables 1, 2 and transfer, not {table}: ask for ilola, or for another table"
            )
        if figure not in (None, 2, 3, 4):
            raise Unsupported(f"mamql has the figures 2, 3 and 4, not {figure}")
        if stochastic and (figure is not None or table == "transfer"):
            raise Unsupported("figures and transfer are of the greedy expert: --stochastic is for --table 1")
        from mairl.reproduce import mamql
        from mairl.reproduce.mamql_curves import write_curves

        # Cloning recovers no reward.
        learners = tuple(a for a in mamql.ALGORITHMS if table != "transfer" or a != "bc")
        for asked, known in ((algorithms, learners), (games, mamql.GAMES)):
            if unknown := sorted(set(asked) - set(known)):
                raise Unsupported(f"there is no {', '.join(unknown)} in the tables; there are {', '.join(known)}")
        chosen = {"algorithms": algorithms} if algorithms else {}
        chosen |= {"games": games} if games else {}
        result, lines = {}, []
        count = seeds if seeds is not None else (2 if budget == "quick" else 10)
        if (table in ("1", "2")) or (figure in (3, 4)) or (table is None and figure is None):
            rows = mamql.table1(out, budget_name=budget, seeds=count, stochastic=stochastic, command=command, **chosen)
            result["table1"] = rows
            lines += mamql.markdown(rows)
        if table == "transfer":
            from mairl.reproduce import mamql_transfer

            rows = mamql_transfer.transfer_table(out, budget_name=budget, seeds=count, command=command, **chosen)
            result["transfer"] = rows
            lines += mamql_transfer.markdown(rows)
        if figure == 2 or (table is None and figure is None and not stochastic):
            count = seeds if seeds is not None else (2 if budget == "quick" else 5)
            result["figure2"] = mamql.figure2(out, budget_name=budget, seeds=count, command=command, **chosen)
        if figure in (3, 4) or (table is None and figure is None and not stochastic):
            result["curves"] = write_curves(out)
        mamql.write_pictures(out)
        lines.append(f"results: {out}")
        emit(result, json, lines)

    tyro.cli(reproduce, args=argv, prog="mairl reproduce")


def _ilola(
    out: Path,
    table: str | None,
    figure: int | None,
    seeds: int | None,
    budget: str,
    algorithms: tuple[str, ...],
    command: str,
):
    """Runs the tables of learning from learners, and draws what there is; returns their rows and the lines to print."""
    from mairl.ops.learners import LEARNERS
    from mairl.reproduce import ilola_ppo, ilola_t1, ilola_trajectories
    from mairl.reproduce.ilola_pictures import write_pictures
    from mairl.reproduce.ilola_tables import BY_DEFAULT, TABLES, Asked

    if table is not None and table not in TABLES:
        raise Unsupported(f"ilola has the tables {', '.join(TABLES)}, not {table}")
    if figure not in (None, 1, 2):
        raise Unsupported(f"ilola has the figures 1 (divergences) and 2 (heat maps), not {figure}")
    known = list(dict.fromkeys([*LEARNERS, *ilola_t1.METHODS, *ilola_ppo.ROWS, *ilola_trajectories.METHODS]))
    if unknown := sorted(set(algorithms) - set(known)):
        raise Unsupported(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [table] if table else [] if figure is not None else list(BY_DEFAULT)
    asked = Asked(out, seeds, budget == "quick", algorithms, command)
    result, lines = {}, []
    for name in chosen:
        rows, shown = TABLES[name](asked)
        result |= rows
        lines += shown
    result["pictures"] = [str(path) for path in write_pictures(out)]
    if figure is not None and not result["pictures"]:
        raise Unsupported(f"{out} has no results to draw: run mairl reproduce ilola --table exact, t1 or curves first")
    lines.append(f"results: {out}")
    return result, lines
