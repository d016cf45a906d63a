"""What a learner returns, and its form on disk."""

from __future__ import annotations

from pathlib import Path

import equinox as eqx

from mairl.core.policy import Policy
from mairl.core.reward import Reward
from mairl.core.serialise import load_module, save_module


class Learned(eqx.Module):
    """A policy and a reward per agent.

    Attributes:
        policy: one policy per agent.
        reward: as recovered; None for learners that recover none (cloning, reinforcement learning).
        shaped_reward: as used in training, where that differs (with shaping, or a discriminator's logit).
        induced_reward: R̄_i(s, a_i), the reward averaged over the others' policies, where it differs from `reward`.
    """

    policy: Policy
    reward: Reward | None = None
    shaped_reward: Reward | None = None
    induced_reward: Reward | None = None

    def save(self, folder: str | Path) -> None:
        """Writes `learned.json` (how to rebuild the modules) and `arrays.npz` (their numbers) into `folder`."""
        save_module(self, Path(folder), "learned")

    @classmethod
    def load(cls, folder: str | Path, seed: int | None = None) -> Learned:
        """Reads what `save` wrote. No code is executed: only known classes are rebuilt from plain data.

        Args:
            seed: `fit` saves all seeds stacked; picks one by its index (None: as saved).

        Raises:
            InvalidData: missing or damaged files, or classes that are not allowed.
        """
        return load_module(Path(folder), "learned", cls, seed)
