"""Other libraries' spaces as arrays with an agent axis: how unlike agents become alike.

Observations: where all agents have the same Box, it is kept as it is (float64 becomes float32). Else each agent's
observation is flattened by Gymnasium's own rule (choices become one-hot vectors), and padded with zeros to the longest.
Actions: choices are padded to the largest number, with a mask; several choices at once (MultiDiscrete) are
enumerated. Vectors must be of one size for all agents; bounds that differ between components become [-1, 1].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mairl.core.errors import InvalidGame, require
from mairl.core.spaces import ActionSpace, Box, Discrete

MOST_CHOICES = 4096


class Codec:
    """Translates between one kind of environment's values and stacked arrays.

    Attributes:
        names: of the agents, in the order of the agent axis.
        action_space: of every agent, padded.
        counts: `[agent]` how many actions each agent has; None for vectors.
        shape, dtype: of one agent's observation.
        masked_obs: `[agent]` the observation is a dictionary with an "action_mask" of the agent's choices; the rest of
            it is what is observed.
    """

    def __init__(self, names: list[str], observation_spaces: dict[str, Any], action_spaces: dict[str, Any], title: str):
        self.spaces = require("gymnasium.spaces", package="gymnasium", purpose="learn from outside games")
        self.names, self.title = tuple(names), title
        if not names:
            raise InvalidGame(
                f"{title} names no agents (possible_agents is empty): declare all that can ever take part"
            )
        choices = self.spaces.Discrete | self.spaces.MultiDiscrete
        self.masked_obs = [
            isinstance(action_spaces[n], choices) and "action_mask" in _parts(observation_spaces[n]) for n in names
        ]
        self._beside = [tuple(k for k in _parts(observation_spaces[n]) if k != "action_mask") for n in names]
        self._obs = [
            self._unmasked(i, observation_spaces[n]) if self.masked_obs[i] else observation_spaces[n]
            for i, n in enumerate(names)
        ]
        self._actions = [action_spaces[n] for n in names]
        box = self.spaces.Box
        alike = all(
            isinstance(s, box) and s.shape == self._obs[0].shape and s.dtype == self._obs[0].dtype for s in self._obs
        )
        self.flattened = not alike or self._obs[0].shape == ()
        if self.flattened:
            self._sizes = [self._flat_size(n, s) for n, s in zip(names, self._obs)]
            self.shape, self.dtype = (max(self._sizes),), np.dtype(np.float32)
        else:
            self.shape, self.dtype = self._obs[0].shape, _narrow(self._obs)
        self.counts: list[int] | None = None
        self.action_space = self._joint_space()

    def observe(self, i: int, value: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Agent `i`'s observation as an array of `shape`, and its action mask if it came with it."""
        mask = None
        if self.masked_obs[i]:
            mask, beside = np.asarray(value["action_mask"]), self._beside[i]
            value = value[beside[0]] if len(beside) == 1 else value
        if not self.flattened:
            array = np.asarray(value, self.dtype)
            if array.shape != self.shape:
                raise InvalidGame(f"{self.title}: {self.names[i]} saw shape {array.shape}, its space says {self.shape}")
        else:
            flat = np.asarray(self._flatten(self._obs[i], value), np.float32).ravel()
            if flat.size != self._sizes[i]:
                raise InvalidGame(
                    f"{self.title}: {self.names[i]} saw {flat.size} numbers, its space says {self._sizes[i]}"
                )
            array = np.zeros(self.shape, np.float32)
            array[: flat.size] = flat
        if self.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidGame(
                f"{self.title}: {self.names[i]}'s observation holds NaN or infinity: mend the environment"
            )
        return array, mask

    def allowed(self, i: int, mask: np.ndarray | None) -> np.ndarray:
        """Agent `i`'s action mask, padded; all that it has if none is given."""
        assert self.counts is not None
        assert isinstance(self.action_space, Discrete)
        padded = np.zeros(self.action_space.n, bool)
        if mask is None:
            padded[: self.counts[i]] = True
            return padded
        mask = np.asarray(mask).astype(bool)
        if mask.shape != (self.counts[i],):
            raise InvalidGame(
                f"{self.title}: {self.names[i]}'s action mask has shape {mask.shape}, its actions need "
                f"({self.counts[i]},)"
            )
        if not mask.any():
            raise InvalidGame(f"{self.title}: {self.names[i]} is in the game but its action mask allows nothing")
        padded[: mask.size] = mask
        return padded

    def act(self, i: int, action: np.ndarray) -> Any:
        """Agent `i`'s part of a joint action, as its environment wants it."""
        space = self._actions[i]
        if isinstance(space, self.spaces.Discrete):
            return int(action) + int(space.start)
        if isinstance(space, self.spaces.MultiDiscrete):
            digits = np.unravel_index(int(action), tuple(int(k) for k in space.nvec.ravel()))
            return (np.asarray(digits).reshape(space.nvec.shape) + space.start).astype(space.dtype)
        vector = np.clip(np.asarray(action, np.float64), self.action_space.low, self.action_space.high)  # type: ignore[union-attr]
        if self.rescaled:
            vector = space.low.ravel() + (vector + 1) / 2 * (space.high.ravel() - space.low.ravel())
        return np.clip(vector.reshape(space.shape), space.low, space.high).astype(space.dtype)

    def unact(self, i: int, value: Any) -> Any:
        """The inverse of `act`. Raises `InvalidGame` if the value is not among the agent's actions."""
        space = self._actions[i]
        value = np.asarray(value, space.dtype) if not isinstance(space, self.spaces.Discrete) else value
        if not space.contains(value):
            raise InvalidGame(f"{self.title}: {value!r} is not among the actions of {self.names[i]}: {space}")
        if isinstance(space, self.spaces.Discrete):
            return int(value) - int(space.start)
        if isinstance(space, self.spaces.MultiDiscrete):
            digits = tuple(int(d) for d in (value - space.start).ravel())
            return int(np.ravel_multi_index(digits, tuple(int(k) for k in space.nvec.ravel())))
        vector = value.ravel().astype(np.float32)
        if self.rescaled:
            vector = (vector - space.low.ravel()) / (space.high.ravel() - space.low.ravel()) * 2 - 1
        return vector.astype(np.float32)

    @property
    def static_mask(self) -> tuple[tuple[bool, ...], ...] | None:
        """Actions that each agent has at all, where agents differ."""
        if self.counts is None or len(set(self.counts)) == 1:
            return None
        return tuple(tuple(bool(a) for a in self.allowed(i, None)) for i in range(len(self.names)))

    def _unmasked(self, i: int, space: Any) -> Any:
        """What agent `i` observes beside its mask: by itself where it is one thing, else as a dictionary."""
        beside = self._beside[i]
        if not beside:
            raise InvalidGame(f"{self.title}: {self.names[i]} observes nothing but its action mask: add an observation")
        return space[beside[0]] if len(beside) == 1 else self.spaces.Dict({k: space[k] for k in beside})

    def _flat_size(self, name: str, space: Any) -> int:
        utils = require("gymnasium.spaces.utils", package="gymnasium", purpose="learn from outside games")
        self._flatten = utils.flatten
        try:
            return int(utils.flatdim(space))
        except (NotImplementedError, ValueError) as error:
            raise InvalidGame(f"{self.title}: {name}'s observations ({space}) have no fixed size: wrap them") from error

    def _joint_space(self) -> ActionSpace:
        spaces, found = self.spaces, self._actions
        self.rescaled = False
        if all(isinstance(s, spaces.Discrete | spaces.MultiDiscrete) for s in found):
            self.counts = [
                int(s.n) if isinstance(s, spaces.Discrete) else math.prod(int(k) for k in s.nvec.ravel()) for s in found
            ]
            if max(self.counts) > MOST_CHOICES:
                raise InvalidGame(
                    f"{self.title}: {max(self.counts)} joint choices of one agent; at most {MOST_CHOICES}"
                )
            return Discrete(max(self.counts))
        sizes = {n: s.shape for n, s in zip(self.names, found) if isinstance(s, spaces.Box)}
        if len(sizes) < len(found):
            kinds = sorted({type(s).__name__ for s in found})
            raise InvalidGame(
                f"{self.title}: actions are {' and '.join(kinds)}; all must be choices, or all Box: wrap them"
            )
        if len({math.prod(s) for s in sizes.values()}) > 1:
            listed = ", ".join(f"{n} {s}" for n, s in sizes.items())
            raise InvalidGame(
                f"{self.title}: vector actions differ in size between agents ({listed}): "
                "pad them in a wrapper that drops the surplus"
            )
        low, high = np.stack([s.low.ravel() for s in found]), np.stack([s.high.ravel() for s in found])
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InvalidGame(f"{self.title}: vector actions without bounds: wrap the environment to bound them")
        size = low.shape[1]
        if (low == low.flat[0]).all() and (high == high.flat[0]).all():
            return Box(size, float(low.flat[0]), float(high.flat[0]))
        self.rescaled = True
        return Box(size, -1.0, 1.0)


def _parts(space: Any) -> dict[str, Any]:
    """The spaces of a dictionary; none of any other space."""
    parts = getattr(space, "spaces", {})
    return parts if isinstance(parts, dict) else {}


def agents_of(see: Any, act: Any, title: str) -> tuple[str, list]:
    """How a joint space names its agents: "tuple" or "dict" and their keys, or "one" for a single agent.

    Raises:
        InvalidGame: several agents act, but observations are not divided in the same way.
    """
    spaces = require("gymnasium.spaces", package="gymnasium", purpose="learn from outside games")
    if isinstance(act, spaces.Dict):
        if isinstance(see, spaces.Dict) and set(see.spaces) == set(act.spaces):
            return "dict", list(act.spaces)
        raise InvalidGame(f"{title}: a Dict of actions needs a Dict of observations with the same agents' names")
    if isinstance(act, spaces.Tuple):
        if isinstance(see, spaces.Tuple) and len(see.spaces) == len(act.spaces):
            return "tuple", list(range(len(act.spaces)))
        raise InvalidGame(f"{title}: a Tuple of {len(act.spaces)} actions needs a Tuple of as many observations")
    return "one", [0]


def _narrow(boxes: list[Any]) -> np.dtype:
    """The dtype of alike boxes, in at most 32 bits; whole numbers that do not fit become float32."""
    dtype = np.dtype(boxes[0].dtype)
    if dtype.itemsize <= 4:
        return dtype
    limits = np.iinfo(np.int32)
    small = dtype.kind in "iu" and all((b.low >= limits.min).all() and (b.high <= limits.max).all() for b in boxes)
    return np.dtype(np.int32 if small else np.float32)


def joint_codec(see: Any, act: Any, title: str) -> tuple[Codec, str, list]:
    """The codec of a joint space, and how it names its agents (see `agents_of`)."""
    kind, keys = agents_of(see, act, title)
    names = [k if isinstance(k, str) else f"agent_{k}" for k in keys]
    many = kind != "one"
    observations = {n: see[k] if many else see for n, k in zip(names, keys)}
    return Codec(names, observations, {n: act[k] if many else act for n, k in zip(names, keys)}, title), kind, keys
