"""`mairl learn METHOD --game GAME --history HISTORY -o RUN`: rewards from how agents change while they learn.

Exact learners of tables are explained here, those that are seen through recordings alone in `learn_recordings`, PPO's
recorded updates in `learn_ppo_history`.
"""

from __future__ import annotations

import dataclasses
import json as jsonlib
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import jax
import numpy as np
import tyro

from mairl.algorithms.explain import EXPLAINERS, Explains, Watched
from mairl.algorithms.induced import induced_policies
from mairl.algorithms.ppo import PPO
from mairl.algorithms.run_folder import RunFolder
from mairl.algorithms.settings import plain
from mairl.cli.output import emit, finite
from mairl.core.errors import InvalidData, MairlError, Unsupported
from mairl.core.learned import Learned
from mairl.data.learning_history import LearningHistory, load_history
from mairl.games.tabular import TabularPolicy
from mairl.games.tabular.features import check_same, linear_game, tabular_game
from mairl.games.tabular.reward import TabularReward
from mairl.metrics.explanation import prediction_errors
from mairl.metrics.learning import skill

UNEXPLAINED = 0.1
"""Exact learners of the assumed family leave nothing unexplained; above this share another one was at work."""


@dataclasses.dataclass(frozen=True)
class LearnHistory:
    """How to learn from learners.

    Attributes:
        history: snapshots of agents that learn (`mairl expert --record-learning`, or
            `mairl.data.learning_history.save_history`). Of tables, recordings of each snapshot are enough for i-lola,
            ma-lfl and ma-lfl-state.
        out: run folder to create.
        game: id and options; default: the one named in the history.
        features: what rewards may be made of: the "game"'s own features (where it has none a number for each state, in
            matrix games for each joint action), a number for each "state", or for each state and "joint" action. MA-LfL
            and LfL have tables, tied as they say.
        held_out: how many of the last transitions are only predicted (of recordings alone none: all are learned from).
        seeds: how many, counted from `seed`. They differ by what is drawn: CMA-ES's points, and where the fresh agents
            begin that learn from the recovered reward.
        seed: the first seed.
        resume: go on from an interrupted run.
        overwrite: replace an existing run.
        report: write report.html into the run.
        json: print one JSON object.
        quiet: no progress line.
        induced: of PPO learners, the environment steps for which fresh agents learn from a recovered reward; default:
            as many as the learners had; 0: none, the run's policies are then the learners' last ones. Of tables fresh
            agents are solved for.
    """

    history: Path
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    game: str = ""
    features: Literal["game", "state", "joint"] = "game"
    held_out: int = 2
    seeds: int = 1
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    report: bool = True
    json: bool = False
    quiet: bool = False
    induced: int | None = None


class Job(Protocol):
    """What is to be explained, once for each seed.

    Attributes:
        learners: "exact" ones of tables, or "ppo".
        discount: of the learners.
        predicted: how many of the last transitions are not learned from.
    """

    learners: str
    discount: float
    predicted: int

    def explain(self, seed: int, work: Path) -> tuple[Learned, dict[str, Any]]:
        """The result and its figures; what is half done may lie in the folder `work`, and is gone on with."""
        ...


def split(history: LearningHistory, held_out: int) -> tuple[LearningHistory, np.ndarray]:
    """What may be explained, and the logits of the transitions that are only predicted.

    Raises:
        InvalidData: no transition is left to be explained.
    """
    transitions = history.num_snapshots - 1
    if held_out < 0 or transitions - held_out < 1:
        raise InvalidData(
            f"{history.num_snapshots} snapshots are {transitions} transitions, {held_out} of them held out: at least "
            "one must be left to learn from; record more snapshots, or hold out fewer (--held-out)"
        )
    return history.snapshots(slice(0, transitions - held_out + 1)), history.logits()[transitions - held_out :]


def watched(game_name: str, features: Literal["game", "state", "joint"], history: LearningHistory) -> Watched:
    """A history in its game.

    Raises:
        InvalidGame: no table, or a history of another game.
    """
    game = linear_game(game_name, features)
    check_same(game, history.logits().shape)
    return Watched(tabular_game(game_name).tables(), game, history)


def run(options: LearnHistory, name: str, method: Explains, command: str) -> dict[str, Any]:
    """Explains the history once for each seed and writes the run; returns its summary."""
    if options.seeds < 1:
        raise InvalidData(f"{options.seeds} seeds: at least one is needed")
    history = load_history(options.history)
    game_name = options.game or history.metadata.game
    if not game_name:
        raise InvalidData(f"{options.history} does not say of which game it is: name it with --game")
    job = job_of(options, name, method, history, game_name)
    config = finite(dataclasses.asdict(method))  # type: ignore[call-overload]
    asked = {"method": name, "config": config, "game": game_name, "features": options.features}
    asked |= {"history": str(options.history.resolve()), "held_out": options.held_out, "induced": options.induced}
    folder = RunFolder(options.out, plain(asked), resume=options.resume, overwrite=options.overwrite)
    seeds = list(range(options.seed, options.seed + options.seeds))
    parts = []
    for done, seed in enumerate(seeds):
        if not options.quiet and sys.stderr.isatty():
            print(f"\r{name}: seed {done + 1} of {len(seeds)}", end="", file=sys.stderr, flush=True)
        try:
            parts.append(_part(folder, job, seed))
        except Exception as error:
            if not _goes_on(folder, error):
                shutil.rmtree(folder.partial)
            raise
    if not options.quiet and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    learned = jax.tree.map(lambda *x: np.stack([np.asarray(y) for y in x]), *(one for one, _ in parts))
    explained = [facts for _, facts in parts]
    rows = [
        {
            **{"seed": seed, "evaluation": 0, "step": 0, "updates": facts["iterations"], "wall_s": facts["seconds"]},
            **{key: facts[key] for key in ("relative_residual", "held_out", "look_ahead", "skill_1b")},
        }
        for seed, facts in zip(seeds, explained)
    ]
    facts = {
        "algorithm": {"name": name, "config": config},
        "algorithm_id": name,
        "game": game_name,
        "history": asked["history"],
        "snapshots": history.num_snapshots,
        "features": options.features,
        "held_out_transitions": job.predicted,
        "learners": job.learners,
        "discount": job.discount,
        "seeds": seeds,
        "budget": max(one["iterations"] for one in explained),
        "env_steps": False,
        "failures": [],
        "explained": explained,
        "command": command,
    }
    folder.finish(learned, rows, finite(facts))
    return {"run": str(options.out), "algorithm": name, "game": game_name, "seeds": seeds, "explained": explained}


def job_of(options: LearnHistory, name: str, method: Explains, history: LearningHistory, game: str) -> Job:
    """What the history is of: PPO's updates, tables, or recordings alone.

    Raises:
        Unsupported: another learner's updates.
    """
    learner = history.updates and history.updates.learner
    if isinstance(learner, PPO):
        from mairl.cli.learn_ppo_history import PPOJob

        return PPOJob(options, name, method, history, game)
    if learner is not None:
        raise Unsupported(
            f"{options.history} is a history of {type(learner).__name__}, whose updates cannot be explained: record "
            "PPO in simple-spread, coin-game or multiwalker (mairl expert GAME --record-learning --learner ppo), or in "
            "a table an exact learner (--learner lola-taylor)"
        )
    if history.policies is None:
        from mairl.cli.learn_recordings import RecordingsJob

        return RecordingsJob(options, name, method, history, game)
    return TableJob(options, method, history, game)


class TableJob:
    """Exact learners of a game that is a table; see `Job`."""

    learners = "exact"

    def __init__(self, options: LearnHistory, method: Explains, history: LearningHistory, game: str):
        seen, self.held_out = split(history, options.held_out)
        self.predicted = options.held_out
        self.case, self.method = watched(game, options.features, seen), method
        self.discount = self.case.tables.discount

    def explain(self, seed: int, work: Path) -> tuple[Learned, dict[str, Any]]:
        """See `Job`."""
        del work
        start = time.perf_counter()
        found = self.method.explain(self.case, seed)
        facts: dict[str, Any] = {**found.facts, "seconds": time.perf_counter() - start}
        facts["weights"] = None if found.weights is None else found.weights.tolist()
        facts["null_space"] = None if found.weights is None else [space.tolist() for space in found.null_space]
        tables = self.case.tables
        facts["kl_1b"] = prediction_errors(tables, self.held_out, found.predict)
        facts["kl_0"] = prediction_errors(tables, self.held_out, None)
        facts["skill_1b"] = skill(facts["kl_1b"], facts["kl_0"])
        facts["notes"] = [n for n in found.notes if n not in found.doubts] + distrust(facts, found.doubts)
        induced = TabularPolicy.new(induced_policies(tables, found.rewards, seed))
        return Learned(induced, TabularReward.new(found.rewards)), facts


def distrust(facts: dict[str, Any], doubts: tuple[str, ...] = ()) -> list[str]:
    """One note where the figures of one explanation speak against its reward, else none.

    Args:
        doubts: the method's own. What is held out says more than they do, and takes their place.
    """
    rest = facts["relative_residual"]
    if facts["skill_1b"] is not None and facts["skill_1b"] <= 0:
        note = "held-out policies are predicted no better than by expecting no change: do not trust this reward"
        return [note + (f" ({rest:.0%} of the fitted changes are unexplained as well)" if rest > UNEXPLAINED else "")]
    if doubts:
        return list(doubts)
    if rest > UNEXPLAINED:
        return [
            f"{rest:.0%} of the changes are unexplained, other learners were at work: do not trust this reward, try "
            "other families or another method"
        ]
    return []


def _goes_on(folder: RunFolder, error: Exception) -> bool:
    """Whether a run that broke off has left something worth going on with: seeds that are done, or a training that was
    cut short by something other than what was asked for."""
    if any(done.suffix != ".partial" for done in folder.chunks.iterdir()):
        return True
    return not isinstance(error, MairlError) and any(any(work.iterdir()) for work in folder.partial.glob("work-*"))


def _part(folder: RunFolder, job: Job, seed: int) -> tuple[Learned, dict[str, Any]]:
    """One seed's result: read from an interrupted run, or found and written there."""
    place = folder.chunks / f"{seed:05d}"
    if (place / "facts.json").exists():
        return Learned.load(place / "learned"), jsonlib.loads((place / "facts.json").read_text())
    work = folder.partial / f"work-{seed}"
    learned, facts = job.explain(seed, work)
    unfinished = place.with_name(place.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    learned.save(unfinished / "learned")
    (unfinished / "facts.json").write_text(jsonlib.dumps(finite(facts)))
    os.rename(unfinished, place)
    shutil.rmtree(work, ignore_errors=True)
    return learned, facts


def main(name: str, argv: list[str]) -> None:
    """Parses the options of a method, and runs it."""

    def entry(options, method=EXPLAINERS[name]):
        return options, method

    # The method's class is known only now, so its options cannot stand in the signature.
    kind: Any = type(EXPLAINERS[name])
    bare = tyro.conf.arg(name="")
    entry.__annotations__ = {"options": Annotated[LearnHistory, bare], "method": Annotated[kind, bare]}
    options, method = tyro.cli(entry, args=argv, prog=f"mairl learn {name}")
    summary = run(options, name, method, shlex.join(["mairl", "learn", name, *argv]))
    lines = [f"{options.out}: {name} on {summary['game']}, {len(summary['seeds'])} seed(s)", *lines_of(summary)]
    if options.report:
        from mairl.report.html import write_report

        summary["report"] = str(write_report(options.out))
        lines.append(f"  report: {summary['report']}")
    emit(summary, options.json, lines)


def lines_of(summary: dict[str, Any]) -> list[str]:
    """What was found, of the first seed, for people."""
    first = summary["explained"][0]
    lines = [f"  learners: {first['family']}"]
    if first["look_ahead"] is not None:
        lines[0] += f", look-ahead {first['look_ahead']:.4g}"
    lines.append(f"  unexplained share of the changes: {first['relative_residual']:.3g}")
    lines.append(f"  directions of the rewards that are told: {first['rank']} of {first['unknowns']}")
    if first["skill_1b"] is not None:
        lines.append(f"  skill on {len(first['kl_1b'])} held-out transitions: {first['skill_1b']:.4f} (1: exact)")
    return lines + [f"  {note}" for note in first["notes"]]
