"""`mairl expert GAME -o DEMOS`: an expert's play as demonstrations."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit, with_interval


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
        record_learning: train a fresh expert and record how it learns instead of what it does in the end: `out` is then
            a learning history, for `mairl learn`. In tables, `learner` may also be one of the exact ones (naive,
            lookahead, lola-taylor, first-order-complete, lola-full, ma-spi); `episodes` are then recorded of each
            joint policy (default none). `steps` and `greedy` do not apply.
        snapshots: with `record_learning`, how many joint policies to keep, spread evenly over the training.
        stretch: with `record_learning`, how many of the snapshots follow one another each time: 4 of them tell more of
            how the learners learn than single ones (not in tables, where all follow one another).
        resume: with `record_learning`, go on with an unfinished training.
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
    record_learning: bool = False
    snapshots: int = 20
    stretch: int = 1
    resume: bool = False
    worlds: Path | None = None
    seed: int = 0
    overwrite: bool = False
    json: bool = False


def run(options: Expert) -> dict:
    """Trains or takes the expert, records it, saves both; returns the summary."""
    import jax

    from mairl.core.errors import InvalidData
    from mairl.data import store
    from mairl.data.collect import check_amount, record
    from mairl.data.demonstrations import Metadata
    from mairl.games import make_game
    from mairl.recipes import has_expert, load_expert
    from mairl.recipes.experts import train_expert

    if options.out.exists() and not options.overwrite:
        raise InvalidData(f"{options.out} exists: choose another folder, or replace it on purpose (--overwrite)")
    if options.seed < 0:
        raise InvalidData(f"--seed is {options.seed}, expected 0 or more")
    # What cannot be written or recorded is found out before anything is trained.
    options.out.parent.mkdir(parents=True, exist_ok=True)
    name = _with_worlds(options)
    if options.record_learning:
        return _record_learning(options, name)
    game = make_game(name)
    if options.learner == "logs":
        return _record_logs(options, name, game)
    amount = {"num_episodes": options.episodes} if options.episodes is not None else {"num_steps": options.steps}
    check_amount(**amount)
    shipped = has_expert(name) and not options.train and options.learner is None
    expert = (
        load_expert(name)
        if shipped
        else train_expert(name, seed=options.seed, budget=options.budget, learner=options.learner, progress=True)
    )
    kind = "greedy" if options.greedy else "stochastic"
    who = "shipped" if shipped else "trained" if options.learner is None else f"{options.learner}-trained"
    data = record(
        game,
        expert.policy,
        jax.random.key(options.seed + 1),
        greedy=options.greedy,
        metadata=Metadata.of(name, f"{who} expert, {kind}"),
        **amount,
    )
    store.save(data, options.out, overwrite=options.overwrite, expert=expert)
    cut = options.episodes is None and _last_is_cut(data, game.horizon)
    return _summary(options, name, data, who, kind, cut)


def _record_learning(options: Expert, name: str) -> dict:
    import shutil

    from mairl.data.learning_history import save_history
    from mairl.ops.learners import LEARNERS
    from mairl.recipes.learning import record_exact_learning
    from mairl.recipes.recording import record_learning

    expert, work = None, options.out.with_name(options.out.name + ".learning")
    if options.learner in LEARNERS:
        history = record_exact_learning(
            name,
            options.learner,
            transitions=options.snapshots - 1,
            episodes=options.episodes or 0,
            seed=options.seed,
        )
    else:
        history, expert = record_learning(
            name,
            work,
            learner=options.learner,
            budget=options.budget,
            snapshots=options.snapshots,
            stretch=options.stretch,
            seed=options.seed,
            resume=options.resume,
            overwrite=options.overwrite,
            progress=True,
        )
    save_history(history, options.out, overwrite=options.overwrite, expert=expert)
    shutil.rmtree(work, ignore_errors=True)
    facts = history.metadata.facts()
    return {
        "history": str(options.out),
        "game": name,
        "source": facts["source"],
        "snapshots": history.num_snapshots,
        "updates_apart": facts.get("updates_apart", 1),
        "agents": history.num_agents,
        "reward_per_step": None if history.updates is None else _paid(history.updates.rollout),
    }


def _paid(rollout) -> list[float]:
    """What each snapshot was paid a step, mean over agents."""
    import numpy as np

    reward = np.where(rollout.mask, rollout.reward, 0.0)
    return (reward.sum((1, 2, 3)) / np.maximum(rollout.mask.sum((1, 2, 3)), 1)).tolist()


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


def _last_is_cut(data, horizon: int) -> bool:
    """Whether the last episode ends with the recording, not by itself."""
    length = int(data.lengths[-1])
    return length < horizon and bool(data.truncated[-1, length - 1])


def _summary(options: Expert, name: str, data, who: str, kind: str, cut: bool = False) -> dict:
    """Facts of a recording; where its last episode is cut, returns are of the others."""
    import numpy as np

    from mairl.metrics.intervals import mean_interval

    whole = np.asarray(data.lengths) > 0
    whole[-1] &= not cut
    returns = np.where(np.asarray(data.mask), np.asarray(data.true_reward), 0.0).sum(1)[whole]
    mean, interval = mean_interval(returns.mean(1)) if len(returns) else (None, [None, None])
    return {
        "demos": str(options.out),
        "game": name,
        "expert": who,
        "actions": kind,
        "episodes": data.num_episodes,
        "steps": data.num_steps,
        "whole_episodes": len(returns),
        "return_mean": mean,
        "return_ci95": interval,
    }


def main(argv: list[str]) -> None:
    """Parses and runs."""
    options = tyro.cli(Expert, args=argv, prog="mairl expert")
    facts = run(options)
    if options.record_learning:
        paid = facts["reward_per_step"]
        lines = [
            f"{facts['history']}: {facts['snapshots']} joint policies of {facts['agents']} agents "
            f"({facts['source']}) in {facts['game']}, {facts['updates_apart']} updates apart"
        ]
        lines += [f"  reward a step, mean per agent: {paid[0]:.3f} at first, {paid[-1]:.3f} at last"] if paid else []
        return emit(facts, options.json, lines)
    whole = facts["whole_episodes"]
    cut = "" if whole == facts["episodes"] else f", whole episodes only ({whole:,})"
    lines = [
        f"{facts['demos']}: {facts['steps']:,} steps, {facts['episodes']:,} episodes of the {facts['expert']} expert "
        f"({facts['actions']}) in {facts['game']}",
        f"  return, mean per agent{cut}: {with_interval(facts['return_mean'], facts['return_ci95'])}"
        if whole
        else "  no return: no episode was recorded to its end (record more --steps, or whole --episodes)",
    ]
    emit(facts, options.json, lines)
