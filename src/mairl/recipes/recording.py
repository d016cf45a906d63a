"""How an expert learns, recorded: what `mairl expert --record-learning` keeps."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

from mairl.algorithms.fit import fit
from mairl.algorithms.recorder import Recorder
from mairl.algorithms.run_folder import commit
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.data.demonstrations import Metadata
from mairl.data.learning_history import LearningHistory
from mairl.games import make_game
from mairl.recipes.experts import recipe_for


def record_learning(
    game: str,
    work: Path,
    *,
    learner: str | None = None,
    budget: int | None = None,
    snapshots: int = 20,
    stretch: int = 1,
    seed: int = 0,
    evaluations: int = 20,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[LearningHistory, Learned]:
    """Trains an expert from scratch and records updates, or stretches of them, at even distances from the first on.

    The game is the recipe's last stage, without shaping, and every agent has parameters of its own, whatever the recipe
    says: else a change of parameters would not be one agent's.

    Args:
        game: id and options.
        work: folder of the unfinished training: what `resume` goes on from. Remove it when the history is saved.
        learner: if not the game's usual one.
        budget: environment steps, if not the recipe's.
        snapshots: how many updates to keep, 2 or more.
        stretch: how many of them follow one another each time; a divisor of `snapshots`.
        evaluations: checkpoints are made no more often than this.
        workers: processes that step a host game; see `fit`.
        resume: go on from `work` if it exists.
        overwrite: drop what is in `work`.

    Returns:
        The history, and the expert in the end.

    Raises:
        InvalidData: `work` exists, and neither `resume` nor `overwrite` is set; numbers that do not fit.
        Unsupported: learning broke off over a number that was not finite.
    """
    recipe = recipe_for(game, learner)
    algorithm: Any = recipe.algorithm
    world = make_game(game)
    budget = recipe.budget if budget is None else budget
    updates = max(1, math.ceil(budget / algorithm.collection(world).size))
    if not 2 <= snapshots <= updates:
        raise InvalidData(
            f"{snapshots} snapshots of {updates} updates ({budget:,} steps): give 2 to {updates}, or a larger budget"
        )
    if stretch < 1 or snapshots % stretch:
        raise InvalidData(f"{snapshots} snapshots cannot be stretches of {stretch}: give a divisor of {snapshots}")
    algorithm = dataclasses.replace(
        algorithm, anneal_updates=updates, network=dataclasses.replace(algorithm.network, shared=False)
    )
    if work.exists() and not resume:
        if not overwrite:
            raise InvalidData(
                f"{work} holds an unfinished training: go on with --resume, or start anew with --overwrite"
            )
        shutil.rmtree(work)
    # The last stretch ends where the training does, or shortly before.
    every = max(stretch, (updates - stretch) // max(1, snapshots // stretch - 1))
    recorder = Recorder(work / "updates", every=every, stretch=stretch)
    result = fit(
        algorithm,
        world,
        budget=budget,
        seeds=[seed],
        evaluations=evaluations,
        episodes=0,
        select="last",
        out=work / "training",
        resume=True,
        overwrite=True,
        recorder=recorder,
        workers=workers,
        progress=progress,
    )
    expert = result.one()
    facts = Metadata.of(
        game,
        f"{learner or type(algorithm).__name__} learners",
        seed=seed,
        env_steps=updates * algorithm.collection(world).size,
        updates_apart=recorder.every,
        stretch=stretch,
        commit=commit(),
    )
    history = recorder.history(algorithm, world, metadata=facts).snapshots(slice(snapshots))
    return history, expert
