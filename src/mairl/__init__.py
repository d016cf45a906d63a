"""mairl: multi-agent inverse reinforcement learning.

From demonstrations of a multi-agent game it recovers one reward and one policy per agent, and says how far to trust
them. Everything listed in `__all__` is public; names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax.random import key

    from mairl.algorithms.base import Algorithm, Collection
    from mairl.algorithms.fit import Fit, fit
    from mairl.algorithms.registry import ALGORITHMS, make_algorithm
    from mairl.core.errors import InvalidData, InvalidGame, MairlError, MissingPackage, Unsupported
    from mairl.core.game import MarkovGame, TimeStep
    from mairl.core.learned import Learned
    from mairl.core.policy import DiscretePolicy, Policy, UniformPolicy
    from mairl.core.reward import Reward
    from mairl.core.spaces import Box, Discrete
    from mairl.core.transition import Transition
    from mairl.data.collect import play_episodes, record
    from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations
    from mairl.data.learning_history import LearningHistory, learning_history, load_history, save_history
    from mairl.data.store import load, save
    from mairl.games import GAMES, make_game
    from mairl.games.adapters import from_gymnasium, from_pettingzoo, to_gymnasium, to_pettingzoo
    from mairl.recipes import EXPERTS, LEARNERS, learner_recipe, load_expert

_HOME = {
    "jax.random": ("key",),
    "mairl.algorithms.base": ("Algorithm", "Collection"),
    "mairl.algorithms.fit": ("Fit", "fit"),
    "mairl.algorithms.registry": ("ALGORITHMS", "make_algorithm"),
    "mairl.core.errors": ("InvalidData", "InvalidGame", "MairlError", "MissingPackage", "Unsupported"),
    "mairl.core.game": ("MarkovGame", "TimeStep"),
    "mairl.core.learned": ("Learned",),
    "mairl.core.policy": ("DiscretePolicy", "Policy", "UniformPolicy"),
    "mairl.core.reward": ("Reward",),
    "mairl.core.spaces": ("Box", "Discrete"),
    "mairl.core.transition": ("Transition",),
    "mairl.data.collect": ("play_episodes", "record"),
    "mairl.data.demonstrations": ("Demonstrations", "Metadata", "demonstrations"),
    "mairl.data.learning_history": ("LearningHistory", "learning_history", "load_history", "save_history"),
    "mairl.data.store": ("load", "save"),
    "mairl.games": ("GAMES", "make_game"),
    "mairl.games.adapters": ("from_gymnasium", "from_pettingzoo", "to_gymnasium", "to_pettingzoo"),
    "mairl.recipes": ("EXPERTS", "LEARNERS", "learner_recipe", "load_expert"),
}

__all__ = [
    "ALGORITHMS",
    "EXPERTS",
    "GAMES",
    "LEARNERS",
    "Algorithm",
    "Box",
    "Collection",
    "Demonstrations",
    "Discrete",
    "DiscretePolicy",
    "Fit",
    "InvalidData",
    "InvalidGame",
    "Learned",
    "LearningHistory",
    "MairlError",
    "MarkovGame",
    "Metadata",
    "MissingPackage",
    "Policy",
    "Reward",
    "TimeStep",
    "Transition",
    "UniformPolicy",
    "Unsupported",
    "demonstrations",
    "fit",
    "from_gymnasium",
    "from_pettingzoo",
    "key",
    "learner_recipe",
    "learning_history",
    "load",
    "load_expert",
    "load_history",
    "make_algorithm",
    "make_game",
    "play_episodes",
    "record",
    "save",
    "save_history",
    "to_gymnasium",
    "to_pettingzoo",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'mairl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
