"""`mairl demo`: the main job, from an expert's play to a report, in a few minutes and with nothing to download."""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit


def demo(
    *,
    game: str = "gems",
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/demo"),
    steps: int = 20_000,
    seeds: int = 2,
    budget: int = 20_000,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Records the shipped expert, learns rewards and policies from it with MAMQL, measures them, writes a report.

    Args:
        game: a game with an expert that ships (see `mairl list`).
        out: run folder; its report is OUT/report.html, the recording OUT-demos.
        steps: joint transitions to record.
        seeds: how many.
        budget: environment steps per seed.
        overwrite: replace an earlier demo.
        json: print one JSON object.
    """
    import sys

    from mairl.cli.evaluate_command import evaluate_run, lines_of
    from mairl.cli.expert_command import Expert
    from mairl.cli.expert_command import run as record_expert
    from mairl.cli.learn_command import Learn
    from mairl.cli.learn_command import run as learn
    from mairl.core.errors import InvalidData
    from mairl.recipes import learner_recipe
    from mairl.report.html import write_report

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if out.exists() and not overwrite:
        raise InvalidData(f"{out} exists: choose another folder with -o, or replace it with --overwrite")
    begin = time.perf_counter()
    demos = out.with_name(out.name + "-demos")
    say(f"1 of 3  recording {steps:,} steps of the expert that ships for {game}")
    record_expert(Expert(game=game, out=demos, steps=steps, overwrite=True))
    say(f"2 of 3  learning with MAMQL, {seeds} seeds side by side, {budget:,} environment steps each")
    shutil.rmtree(out.with_name(out.name + ".partial"), ignore_errors=True)
    algorithm, _ = learner_recipe("mamql", game, budget)
    options = Learn(demos=demos, out=out, game=game, seeds=seeds, evaluations=10, overwrite=True)
    learn(options, "mamql", algorithm, budget, shlex.join(["mairl", "demo", "--game", game]))
    say("3 of 3  measuring, and writing the report")
    result = evaluate_run(out, episodes=200)
    page = write_report(out)
    seconds = time.perf_counter() - begin
    summary = {
        "report": str(page),
        "run": str(out),
        "demos": str(demos),
        "seconds": seconds,
        "returns": result["returns"],
    }
    emit(summary, json, [*lines_of(result)[:6], f"done in {seconds:.0f} s; the report: {page.resolve()}"])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(demo, args=argv, prog="mairl demo")
