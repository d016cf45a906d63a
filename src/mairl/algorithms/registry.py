"""Learners by id. One visible dictionary; command-line choices, tests and documents derive from it."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

from mairl.algorithms.base import Algorithm
from mairl.core.errors import Unsupported


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a learner lives.

    Attributes:
        path: "module:Class".
        about: one line for people.
        options: fields that this id fixes.
    """

    path: str
    about: str
    options: tuple[tuple[str, Any], ...] = ()

    def build(self, **options) -> Algorithm:
        """The learner with its defaults, this id's options, and then `options`."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)(**{**dict(self.options), **options})


ALGORITHMS: dict[str, Entry] = {
    "bc": Entry("mairl.algorithms.bc:BC", "behavioural cloning, offline"),
    "gail": Entry("mairl.algorithms.gail:GAIL", "adversarial imitation, each agent on its own"),
    "airl": Entry("mairl.algorithms.airl:AIRL", "adversarial IRL, each agent on its own"),
    "ma-gail": Entry("mairl.algorithms.ma_gail:MAGAIL", "multi-agent adversarial imitation"),
    "ma-airl": Entry("mairl.algorithms.ma_airl:MAAIRL", "multi-agent adversarial IRL"),
    "iq-independent": Entry("mairl.algorithms.iq_learn:IQLearn", "inverse soft Q-learning, each agent on its own"),
    "iq-ma-joint": Entry(
        "mairl.algorithms.ma_iq_learn:MAIQLearn",
        "IQ-Learn with critics of joint actions, value over all of them",
        (("reading", "joint"),),
    ),
    "iq-ma-slice": Entry(
        "mairl.algorithms.ma_iq_learn:MAIQLearn",
        "IQ-Learn with critics of joint actions, value at the others' recorded actions",
        (("reading", "slice"),),
    ),
    "mamql": Entry("mairl.algorithms.mamql:MAMQL", "multi-agent marginal Q-learning from demonstrations"),
    "ppo": Entry("mairl.algorithms.ppo:PPO", "an expert: policy gradients on the true reward"),
    "dqn": Entry("mairl.algorithms.dqn:DQN", "an expert: values of actions under the true reward"),
    "maddpg": Entry("mairl.algorithms.maddpg:MADDPG", "an expert: critics that see everybody, on the true reward"),
}
"""Id to entry."""

IMITATORS = tuple(name for name in ALGORITHMS if name not in ("ppo", "dqn", "maddpg"))
"""Those that learn from demonstrations."""


def make_algorithm(name: str, **options) -> Algorithm:
    """Builds a learner from its id and options.

    Raises:
        Unsupported: unknown id, with what there is.
    """
    if name not in ALGORITHMS:
        from mairl.algorithms.explain import EXPLAINERS

        raise Unsupported(
            f"there is no algorithm {name!r}; there are {', '.join(ALGORITHMS)}, and for learning histories "
            f"{', '.join(EXPLAINERS)}"
        )
    return ALGORITHMS[name].build(**options)
