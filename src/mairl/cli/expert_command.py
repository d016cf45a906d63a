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
        learner: train a fresh expert with this learner (ppo, dqn, maddpg) instead of the game's usual one.
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
    seed: int = 0
    overwrite: bool = False
    json: bool = False


def run(options: Expert) -> dict:
    """Trains or takes the expert, records it, saves both; returns the summary."""
    import jax
    import numpy as np

    from mairl.core.errors import InvalidData
    from mairl.data import store
    from mairl.data.collect import record
    from mairl.data.demonstrations import Metadata
    from mairl.games import make_game
    from mairl.metrics.intervals import mean_interval
    from mairl.recipes import has_expert, load_expert
    from mairl.recipes.experts import train_expert

    if options.out.exists() and not options.overwrite:
        raise InvalidData(f"{options.out} exists: choose another folder, or replace it on purpose (--overwrite)")
    game = make_game(options.game)
    shipped = has_expert(options.game) and not options.train and options.learner is None
    expert = (
        load_expert(options.game)
        if shipped
        else train_expert(options.game, seed=options.seed, learner=options.learner, progress=True)
    )
    kind = "greedy" if options.greedy else "stochastic"
    who = "shipped" if shipped else "trained" if options.learner is None else f"{options.learner}-trained"
    amount = {"num_episodes": options.episodes} if options.episodes is not None else {"num_steps": options.steps}
    data = record(
        game,
        expert.policy,
        jax.random.key(options.seed + 1),
        greedy=options.greedy,
        metadata=Metadata.of(options.game, f"{who} expert, {kind}"),
        **amount,
    )
    store.save(data, options.out, overwrite=options.overwrite, expert=expert)
    whole = np.asarray(data.lengths) > 0
    returns = np.where(np.asarray(data.mask), np.asarray(data.true_reward), 0.0).sum(1)[whole]
    mean, interval = mean_interval(returns.mean(1))
    return {
        "demos": str(options.out),
        "game": options.game,
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
