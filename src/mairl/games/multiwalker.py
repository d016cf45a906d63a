"""MultiWalker: bipedal walkers carry a long package over rough ground (Gupta, Egorov & Kochenderfer 2017).

It is PettingZoo's own `multiwalker_v9`, simulated by Box2D on the host; only its turn-taking wrapper is left out,
which takes a quarter of the time and calls the time limit a termination.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mairl.core.errors import InvalidGame, require
from mairl.core.host import HostGame, HostStep
from mairl.core.spaces import Box

OBSERVATION, ACTION = 31, 4
"""14 numbers of one's own body, 10 of the lidar, 4 of the neighbours' places, 3 of the package; torques of both hips
and knees."""

FEATURES = ("upright", "progress", "fell", "failed", "speed", "effort")
"""Of a step: by how much the hull came nearer to level (radians); the package's way forward (metres); 1 if oneself
fell; 1 if anybody fell or the package was dropped, which ends the episode; the hull's speed forward (metres a second);
the mean square of the four actions. The game pays for the first four only."""

LEVEL, WAY, FALL, FAIL = 5.0, 130.0 / 30.0, -10.0, -100.0
"""What the game pays for the first four features."""

SPEED = 0.3 * (600 / 30) / 50
"""The game shows speeds in these units."""


def multiwalker(
    *, walkers: int = 3, horizon: int = 500, shared_reward: bool = True, forward_reward: float = 1.0
) -> HostGame:
    """The game, stepped on the host by `fit` and `record`.

    Args:
        walkers: how many carry the package, 2 or more.
        horizon: episodes are truncated after this many steps, a fiftieth of a second each.
        shared_reward: all are paid the mean over the walkers, and features are means too; else each its own.
        forward_reward: multiplies the pay for the package's way.

    Raises:
        MissingPackage: PettingZoo, Box2D or pygame is not installed, with the command to install them.
    """
    if walkers < 2 or horizon < 1:
        raise InvalidGame(f"walkers must be at least 2 and horizon at least 1, got {walkers} and {horizon}")
    _environment()
    weights = (LEVEL, WAY * forward_reward, FALL, FAIL, 0.0, 0.0)
    return HostGame(
        num_agents=walkers,
        action_space=Box(ACTION),
        observation_spec=jax.ShapeDtypeStruct((OBSERVATION,), np.float32),
        horizon=horizon,
        names=tuple(f"walker_{i}" for i in range(walkers)),
        has_masks=False,
        static_mask=None,
        make=MakeMultiWalker(walkers, horizon, shared_reward, forward_reward),
        title="multiwalker_v9",
        weights=tuple((name, (weight,) * walkers) for name, weight in zip(FEATURES, weights)),
    )


@dataclasses.dataclass(frozen=True)
class MakeMultiWalker:
    """Builds one environment, here or in a worker process."""

    walkers: int
    horizon: int
    shared_reward: bool
    forward_reward: float

    def __call__(self) -> MultiWalkerHost:
        """A fresh environment."""
        return MultiWalkerHost(self)


class MultiWalkerHost:
    """One environment, walkers stacked (see `HostEnv`).

    Attributes:
        env: PettingZoo's `MultiWalkerEnv`.
        features: `[walker, feature]` float64 of the last step.
    """

    def __init__(self, options: MakeMultiWalker):
        self.options = options
        self.env = _environment()(
            n_walkers=options.walkers, shared_reward=options.shared_reward, forward_reward=options.forward_reward
        )
        self.features = np.zeros((options.walkers, len(FEATURES)))

    def reset(self, seed: int) -> HostStep:
        """See `HostEnv`."""
        self.env._seed(int(seed))
        self.env.reset()
        self._elapsed = 0
        self.features = np.zeros_like(self.features)
        return self._seen(np.zeros(self.options.walkers, bool))

    def step(self, actions: np.ndarray) -> HostStep:
        """See `HostEnv`."""
        env, last = self.env, self.options.walkers - 1
        actions = np.clip(np.asarray(actions, np.float32), -1.0, 1.0)
        level, place = env.prev_shaping.copy(), env.package.position.x
        for i, action in enumerate(actions):
            env.step(action, i, i == last)
        self._elapsed += 1
        over = np.array(env.last_dones, bool)
        fell = np.asarray(env.fallen_walkers, bool)
        columns = [
            (env.prev_shaping - level) / LEVEL,
            env.package.position.x - place,
            fell,
            fell.any() or env.game_over or env.package.position.x < 0,
            [env.last_obs[i][2] / SPEED for i in range(len(actions))],
            np.mean(actions.astype(float) ** 2, axis=1),
        ]
        own = np.stack([np.broadcast_to(np.asarray(c, float), len(actions)) for c in columns], axis=1)
        self.features = np.broadcast_to(own.mean(0), own.shape) if self.options.shared_reward else own
        return self._seen(over)

    def raw(self) -> dict[str, Any]:
        """See `HostEnv`."""
        return {f"walker_{i}": self.env.observe(i) for i in range(self.options.walkers)}

    def encode(self, actions: dict[str, Any]) -> np.ndarray:
        """See `HostEnv`."""
        out = np.zeros((self.options.walkers, ACTION), np.float32)
        for i in range(self.options.walkers):
            out[i] = actions.get(f"walker_{i}", 0.0)
        return out

    def close(self) -> None:
        """See `HostEnv`."""
        self.env.close()

    def _seen(self, terminated: np.ndarray) -> HostStep:
        obs = np.stack([self.env.observe(i) for i in range(self.options.walkers)])
        over = bool(terminated.all()) or self._elapsed >= self.options.horizon
        return HostStep(
            obs=obs,
            action_mask=None,
            present=~terminated,
            reward=np.asarray(self.env.last_rewards, np.float32),
            terminated=terminated,
            truncated=np.asarray(over and not terminated.all()),
            over=np.asarray(over),
            features=self.features.astype(np.float32),
        )


def _environment() -> Any:
    """PettingZoo's class."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # It would print to where results are printed.
    with warnings.catch_warnings():
        # Box2D's wrapper and pygame use what newer Pythons warn of.
        warnings.simplefilter("ignore")
        for module in ("Box2D", "pygame"):
            require(module, package="'mairl[multiwalker]'", purpose="play MultiWalker")
        base = "pettingzoo.sisl.multiwalker.multiwalker_base"
        return require(base, package="'mairl[multiwalker]'", purpose="play MultiWalker").MultiWalkerEnv


def displacement(features: Float[np.ndarray, "agent feature"]) -> float:
    """How far the package came, in metres: from the features of an episode, summed over its steps."""
    return float(features[0, FEATURES.index("progress")])
