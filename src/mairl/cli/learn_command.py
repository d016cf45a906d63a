"""`mairl learn ALGORITHM --game GAME --demos DEMOS -o RUN`; with `--history HISTORY` see `learn_history`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from mairl.algorithms.base import Algorithm
from mairl.algorithms.explain import EXPLAINERS
from mairl.algorithms.fit import fit
from mairl.algorithms.registry import ALGORITHMS, make_algorithm
from mairl.algorithms.together import join_processes
from mairl.cli.output import emit
from mairl.core.errors import Diverged, InvalidData
from mairl.data import store
from mairl.games import make_game
from mairl.games.recorded import RecordedGame
from mairl.metrics.exploitability import followed
from mairl.recipes.learners import OFFLINE_BUDGET, learner_recipe, over_budget


@dataclasses.dataclass(frozen=True)
class Learn:
    """How to learn.

    Attributes:
        demos: recording to learn from (a STORE).
        out: run folder to create.
        game: id and options, as "overcooked:cook_time=5"; default: the one named in the recording. "none" learns
            offline from the recording alone.
        budget: environment steps per seed (offline: rounds of `updates` gradient updates); default: the recipe's.
        seeds: how many, counted from `seed`.
        seed: the first seed.
        steps: use only this many joint transitions of the recording.
        evaluations: how often to evaluate.
        episodes: episodes per evaluation.
        held_out: share of episodes kept to measure likelihood.
        select: which result of each seed to keep.
        patience: stop after this many evaluations without a better held-out likelihood.
        resume: go on from an interrupted run.
        overwrite: replace an existing run.
        apart: what several devices share out: "seeds", or the "games" of one training, over all processes too (see
            docs/scale.md).
        report: write report.html into the run.
        json: print one JSON object.
        quiet: no progress line.
    """

    demos: Path
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    game: str = ""
    budget: int | None = None
    seeds: int = 1
    seed: int = 0
    steps: int | None = None
    evaluations: int = 20
    episodes: int = 64
    held_out: float = 0.1
    select: Literal["heldout", "last"] = "heldout"
    patience: int | None = None
    resume: bool = False
    overwrite: bool = False
    apart: Literal["seeds", "games"] = "seeds"
    report: bool = True
    json: bool = False
    quiet: bool = False


def run(options: Learn, name: str, algorithm: Algorithm, budget: int, command: str) -> dict:
    """Learns and writes the run; returns its summary."""
    data = store.load(options.demos)
    data = data.head(options.steps) if options.steps is not None else data
    game_name = options.game or data.metadata.game or "none"
    game = RecordedGame.of(data) if game_name == "none" else make_game(game_name)
    result = fit(
        algorithm,
        game,
        data,
        budget=budget,
        seeds=range(options.seed, options.seed + options.seeds),
        evaluations=options.evaluations,
        episodes=options.episodes if game_name != "none" else 0,
        held_out=options.held_out,
        select=options.select,
        patience=options.patience,
        out=options.out,
        resume=options.resume,
        overwrite=options.overwrite,
        apart=options.apart,
        measures=followed(game),
        progress=not options.quiet and jax.process_index() == 0,
        describe={
            "algorithm_id": name,
            "game": game_name,
            "demos": str(Path(options.demos).resolve()),
            "demo_steps": data.num_steps,
            "command": command,
        },
    )
    last = result.rows[-len(result.seeds) :]
    return {
        "run": str(options.out),
        "algorithm": name,
        "game": game_name,
        "seeds": list(result.seeds),
        "failures": [dataclasses.asdict(f) for f in result.failures],
        "last": last,
        "compile_s": result.compile_s,
    }


def main(argv: list[str]) -> None:
    """Parses `ALGORITHM` and its options; the defaults are the recipe's for the game.

    Raises:
        Diverged: every seed was frozen; the run is written and told nevertheless, to see when and over what.
    """
    if not argv or argv[0].startswith("-"):
        names = ", ".join([*ALGORITHMS, *EXPLAINERS])
        if argv and argv[0] in ("-h", "--help"):
            print(
                "usage: mairl learn ALGORITHM --demos DEMOS -o RUN [options]\n"
                "       mairl learn ALGORITHM --history HISTORY -o RUN [options]\n\n"
                f"ALGORITHM is one of {', '.join(ALGORITHMS)},\n"
                f"or, from agents that are still learning, one of {', '.join(EXPLAINERS)}.\n"
                "mairl learn ALGORITHM --help shows all options."
            )
            return
        raise InvalidData(f"name an algorithm first: {names}")
    name, rest = argv[0], argv[1:]
    if name in EXPLAINERS:
        from mairl.cli.learn_history import main as learn_history

        learn_history(name, rest)
        return
    make_algorithm(name)
    recipe, budget = learner_recipe(name, _game_of(rest))

    def entry(options, algorithm=recipe):
        return options, algorithm

    # The learner's class is known only now, so its options cannot stand in the signature.
    kind: Any = type(recipe)
    bare = tyro.conf.arg(name="")
    entry.__annotations__ = {"options": Annotated[Learn, bare], "algorithm": Annotated[kind, bare]}
    options, algorithm = tyro.cli(entry, args=rest, prog=f"mairl learn {name}")
    command = shlex.join(["mairl", "learn", *argv])
    join_processes()
    if options.budget is not None:
        budget = options.budget
    elif getattr(algorithm, "offline", False):
        budget = OFFLINE_BUDGET
    if getattr(algorithm, "anneal", None) == getattr(recipe, "anneal", None):
        algorithm = over_budget(algorithm, budget)
    summary = run(options, name, algorithm, budget, command)
    if jax.process_index() > 0:
        return
    lines = [f"{options.out}: {name} on {summary['game']}, {len(summary['seeds'])} seed(s)"]
    for label, column in (
        ("return, mean per agent", "return/agent_mean"),
        ("held-out log-likelihood", "heldout_log_likelihood"),
        ("exploitability", "exploitability"),
    ):
        values = [row[column] for row in summary["last"] if row.get(column) is not None]
        if values:
            lines.append(f"  {label}: {', '.join(f'{v:.3f}' for v in values)}")
    lines += [
        f"  seed {f['seed']} was frozen at step {f['step']}: {f['quantity']} was not finite"
        for f in summary["failures"]
    ]
    if options.report:
        from mairl.report.html import write_report

        page = write_report(options.out)
        summary["report"] = str(page)
        lines.append(f"  report: {page}")
    emit(summary, options.json, lines)
    frozen = {f["seed"] for f in summary["failures"]}
    if frozen.issuperset(summary["seeds"]):
        first = summary["failures"][0]
        raise Diverged(
            f"{options.out}: every seed was frozen, the first ({first['seed']}) at step {first['step']}, as "
            f"{first['quantity']} was not finite: lower the learning rate, or look for what is extreme in the data"
        )


def _game_of(arguments: list[str]) -> str:
    """The game that the arguments name, or that the recording names: recipes depend on it."""
    for flag in ("--game", "--demos"):
        for i, argument in enumerate(arguments):
            value = argument.partition("=")[2] if argument.startswith(flag + "=") else None
            value = arguments[i + 1] if argument == flag and i + 1 < len(arguments) else value
            if value and flag == "--game":
                return value
            if value and Path(value).is_dir():
                return store.load(Path(value)).metadata.game
    return ""
