"""`mairl demo`: the main job, from an expert's play to a report, in a few minutes and with nothing to download."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit


def demo(
    *,
    game: str = "gems",
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/demo"),
    steps: int = 20_000,
    seeds: int | None = None,
    budget: int | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Records the shipped expert, learns rewards and policies from it with MAMQL, measures them, writes a report.

    With `--game driving`: makes up traffic, takes its logs as demonstrations, clones them, and writes, besides the
    report, a page that plays the learned drivers beside the logs.

    Args:
        game: a game with an expert that ships (see `mairl list`), or "driving".
        out: run folder; its report is OUT/report.html, the recording OUT-demos.
        steps: joint transitions to record (not of driving: all logs are).
        seeds: how many: 4 if not given (driving: 2).
        budget: environment steps per seed, 30,000 if not given (driving: 200 rounds of 16 updates).
        overwrite: replace an earlier demo and its recording.
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

    demos = out.with_name(out.name + "-demos")
    for folder in (out, demos):
        if folder.exists() and not overwrite:
            raise InvalidData(f"{folder} exists: choose another folder with -o, or replace it with --overwrite")
    begin = time.perf_counter()
    if game.partition(":")[0] == "driving":
        emit_driving(game, out, demos, seeds or 2, budget or 200, json, say)
        return
    seeds, budget = seeds or 4, budget or 30_000
    say(f"1 of 3  recording {steps:,} steps of the expert that ships for {game}")
    record_expert(Expert(game=game, out=demos, steps=steps, overwrite=True))
    say(f"2 of 3  learning with MAMQL, {seeds} seeds, {budget:,} environment steps each")
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


def emit_driving(
    game: str, out: Path, demos: Path, seeds: int, budget: int, json: bool, say: Callable[[str], None]
) -> None:
    """The demo of driving: logs, clones, rates, and the page that plays them."""
    from mairl.cli.evaluate_command import evaluate_run, lines_of
    from mairl.cli.expert_command import Expert
    from mairl.cli.expert_command import run as record_expert
    from mairl.cli.learn_command import Learn
    from mairl.cli.learn_command import run as learn
    from mairl.metrics.evaluate import read_run
    from mairl.recipes.driving import CLONING
    from mairl.report.driving_player import write_rollouts
    from mairl.report.html import write_report

    begin = time.perf_counter()
    say("1 of 3  making up traffic, and taking its logs as demonstrations")
    record_expert(Expert(game=game, out=demos, learner="logs", overwrite=True))
    say(f"2 of 3  cloning the logs, {seeds} seeds side by side")
    shutil.rmtree(out.with_name(out.name + ".partial"), ignore_errors=True)
    options = Learn(demos=demos, out=out, seeds=seeds, evaluations=4, overwrite=True)
    learn(options, "bc", CLONING, budget, shlex.join(["mairl", "demo", "--game", game]))
    say("3 of 3  measuring, and drawing")
    result = evaluate_run(out, episodes=32)
    page = write_report(out)
    facts, learned = read_run(out)
    player = out / "rollouts.html"
    write_rollouts(facts["game"], learned, player)
    seconds = time.perf_counter() - begin
    summary = {
        "report": str(page),
        "player": str(player),
        "run": str(out),
        "demos": str(demos),
        "seconds": seconds,
        "driving": result["driving"],
    }
    shown = [line for line in lines_of(result) if "rate" in line or "fde" in line]
    last = f"done in {seconds:.0f} s; drivers beside the logs: {player.resolve()}; the report: {page.resolve()}"
    emit(summary, json, [*shown, last])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(demo, args=argv, prog="mairl demo")
