"""Fresh agents that learn from a recovered reward as the agents that it was recovered from had learned: by PPO."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mairl.algorithms.fit import fit
from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_paid import PaidPPO, Payment
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.core.stacked import one_of


def learn_from(
    world: MarkovGame,
    ppo: PPO,
    payment: Payment,
    budget: int,
    seed: int,
    work: Path,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> Policy:
    """The joint policy that fresh agents end in.

    Args:
        payment: as critics shall see it: PPO's own scale of rewards is left out. Where only a reward's direction is
            known, deviation 1.
        budget: environment steps, over which the learning rate falls.
        work: run folder of the training. Interrupted training goes on there; remove it when it is done.
        workers: processes that step a host game; see `fit`.
    """
    updates = max(1, budget // (ppo.num_envs * ppo.num_steps))
    ppo = dataclasses.replace(ppo, anneal_updates=updates, reward_scale=1.0)
    result = fit(
        PaidPPO(ppo, payment),
        world,
        budget=budget,
        seeds=[seed],
        episodes=0,
        select="last",
        out=work,
        resume=True,
        overwrite=True,
        workers=workers,
        progress=progress,
    )
    return result.one().policy


def last(policies: Policy) -> Policy:
    """The last of policies with leaves `[step, ...]`."""
    return one_of(policies, -1)
