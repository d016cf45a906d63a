"""`mairl expert GAME -o DEMOS`: an expert's play as demonstrations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit


@dataclasses.dataclass(frozen=True)
class Expert:
    """How to record an expert.

    Attributes:
        game: id and options, as "gems" or "overcooked:layout=coordination_ring,horizon=400".
        out: recording (STORE) to create; the expert is saved inside it.
        steps: joint transitions to record.
        episodes: record whole episodes instead.
        greedy: record the likeliest actions instead of sampled ones.
        train: train a fresh expert even where one ships.
        learner: train a fresh expert with this learner (ppo, dqn, maddpg) instead of the game's usual one; in driving,
            "logs" records the logs themselves, each world once: the actions that keep every vehicle to where it was
            seen; `steps`, `episodes` and `greedy` do not apply.
        budget: environment steps of training, if not the recipe's.
        worlds: for driving: a STORE of scenarios instead of made-up ones.
        seed: of training and recording.
        overwrite: replace an existing recording.
        json: print one JSON object.
    """

    game: Annotated[str, tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    steps: int = 20_000
    episodes: int | None = None
    greedy: bool = False
    train: bool = False
    learner: str | None = None
    budget: int | None = None
    worlds: Path | None = None
    seed: int = 0
    overwrite: bool = False
    json: bool = False


def run(options: Expert) -> dict:
    """Trains or takes the expert, records it, saves both; returns the summary."""
    import jax

    from mairl.core.errors import InvalidData
    from mairl.data import store
    from mairl.data.collect import record
    from mairl.data.demonstrations import Metadata
    from mairl.games import make_game
    from mairl.recipes import has_expert, load_expert
    from mairl.recipes.experts import train_expert

    if options.out.exists() and not options.overwrite:
        raise InvalidData(f"{options.out} exists: choose another folder, or replace it on purpose (--overwrite)")
    name = _with_worlds(options)
    game = make_game(name)
    if options.learner == "logs":
        return _record_logs(options, name, game)
    shipped = has_expert(name) and not options.train and options.learner is None
    expert = (
        load_expert(name)
        if shipped
        else train_expert(name, seed=options.seed, budget=options.budget, learner=options.learner, progress=True)
    )
    kind = "greedy" if options.greedy else "stochastic"
    who = "shipped" if shipped else "trained" if options.learner is None else f"{options.learner}-trained"
    amount = {"num_episodes": options.episodes} if options.episodes is not None else {"num_steps": options.steps}
    data = record(
        game,
        expert.policy,
        jax.random.key(options.seed + 1),
        greedy=options.greedy,
        metadata=Metadata.of(name, f"{who} expert, {kind}"),
        **amount,
    )
    store.save(data, options.out, overwrite=options.overwrite, expert=expert)
    return _summary(options, name, data, who, kind)


def _with_worlds(options: Expert) -> str:
    """The game's id with the STORE of its worlds."""
    from mairl.core.errors import InvalidGame

    if options.worlds is None:
        return options.game
    kind, _, rest = options.game.partition(":")
    if kind != "driving":
        raise InvalidGame(f"--worlds is for driving, not for {options.game}")
    # All scenarios of the STORE, unless the options say how many.
    count = "" if "count=" in rest else ",count=0"
    return f"driving:worlds={options.worlds.resolve()}{count}" + (f",{rest}" if rest else "")


def _record_logs(options: Expert, name: str, game) -> dict:
    import jax

    from mairl.core.errors import InvalidGame
    from mairl.data import store
    from mairl.data.demonstrations import Metadata
    from mairl.driving.game import Driving
    from mairl.driving.record import record_logs

    if not isinstance(game, Driving):
        raise InvalidGame(f"--learner logs is for driving, not for {options.game}")
    data = record_logs(game, jax.random.key(options.seed + 1), metadata=Metadata.of(name, "logs, greedy"))
    store.save(data, options.out, overwrite=options.overwrite)
    return _summary(options, name, data, "logged", "greedy")


def _summary(options: Expert, name: str, data, who: str, kind: str) -> dict:
    import numpy as np

    from mairl.metrics.intervals import mean_interval

    whole = np.asarray(data.lengths) > 0
    returns = np.where(np.asarray(data.mask), np.asarray(data.true_reward), 0.0).sum(1)[whole]
    mean, interval = mean_interval(returns.mean(1))
    return {
        "demos": str(options.out),
        "game": name,
        "expert": who,
        "actions": kind,
        "episodes": data.num_episodes,
        "steps": data.num_steps,
        "return_mean": mean,
        "return_ci95": interval,
    }


def main(argv: list[str]) -> None:
    """Parses and runs."""
    options = tyro.cli(Expert, args=argv, prog="mairl expert")
    facts = run(options)
    low, high = facts["return_ci95"] or (float("nan"), float("nan"))
    lines = [
        f"{facts['demos']}: {facts['steps']:,} steps, {facts['episodes']:,} episodes of the {facts['expert']} expert "
        f"({facts['actions']}) in {facts['game']}",
        f"  return, mean per agent: {facts['return_mean']:.2f} [{low:.2f}, {high:.2f}]",
    ]
    emit(facts, options.json, lines)
