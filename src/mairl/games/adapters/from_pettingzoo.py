"""Any PettingZoo parallel environment as a game to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mairl.core.errors import InvalidGame
from mairl.core.host import HostGame, HostStep
from mairl.core.spaces import Discrete
from mairl.data.codec import Codec


def from_pettingzoo(make_env: Callable[[], Any], *, horizon: int | None = None) -> HostGame:
    """A game that `make_env()` builds, a `pettingzoo.ParallelEnv`. It is stepped on the host by `fit` and `record`.

    Unlike agents are made alike as `mairl.data.codec` says. Action masks are read from dictionaries of observations
    that have an `"action_mask"`, or from `info["action_mask"]`. An agent that leaves is masked from then on; when it
    was truncated rather than terminated its future is not worth 0. If its final observation is missing it is the last.

    Args:
        make_env: called without arguments, once here and once for each environment played at the same time. To be
            played in worker processes it must be importable: a function of a module, or `functools.partial` of one.
        horizon: episodes are truncated after this many steps; default: the environment's own `max_cycles`.

    Raises:
        InvalidGame: what cannot be learned from, with the reason and the remedy.
        MissingPackage: Gymnasium is not installed.
    """
    env = make_env()
    title = _title(env)
    if hasattr(env, "agent_iter"):
        raise InvalidGame(
            f"{title} is turn-based (AEC): give pettingzoo.utils.aec_to_parallel(env) or its parallel_env()"
        )
    if not (hasattr(env, "possible_agents") and callable(getattr(env, "action_space", None))):
        raise InvalidGame(
            f"{title} is no PettingZoo parallel environment (it has no possible_agents): see from_gymnasium"
        )
    check_horizon(horizon)
    horizon = horizon or getattr(env.unwrapped, "max_cycles", None) or getattr(env.unwrapped, "max_steps", None)
    if not horizon:
        env.close()
        raise InvalidGame(f"{title} does not say how long an episode lasts: give horizon=, the most steps of one")
    probe = ParallelHost(env, int(horizon))
    try:
        probe.reset(0)
        return host_game(probe, MakeParallel(make_env, int(horizon), probe.has_masks), int(horizon))
    finally:
        probe.close()


@dataclasses.dataclass(frozen=True)
class MakeParallel:
    """Builds one stacked environment; picklable if `make_env` is."""

    make_env: Callable[[], Any]
    horizon: int
    has_masks: bool

    def __call__(self) -> ParallelHost:
        """A fresh environment."""
        return ParallelHost(self.make_env(), self.horizon, self.has_masks)


class ParallelHost:
    """One PettingZoo environment, agents stacked (see `HostEnv`).

    Args:
        has_masks: None: found out at the first reset.
    """

    def __init__(self, env: Any, horizon: int, has_masks: bool | None = None):
        self.env, self.horizon, self.title = env, horizon, _title(env)
        names = list(env.possible_agents)
        self.codec = Codec(
            names, {n: env.observation_space(n) for n in names}, {n: env.action_space(n) for n in names}, self.title
        )
        self._has_masks = has_masks
        self._last = np.zeros((len(names), *self.codec.shape), self.codec.dtype)

    @property
    def has_masks(self) -> bool:
        """Whether steps carry action masks."""
        return bool(self._has_masks)

    def reset(self, seed: int) -> HostStep:
        """See `HostEnv`."""
        try:
            obs, info = started(self.env.reset(seed=int(seed)), self.title)
        except TypeError as error:
            if "seed" in str(error):
                raise InvalidGame(
                    f"{self.title}.reset takes no seed, so nothing could be repeated or resumed: let it take seed="
                ) from error
            raise
        self._elapsed = 0
        count = len(self.codec.names)
        self._terminated = np.zeros(count, bool)
        self._last[:] = 0
        if self._has_masks is None:
            self._has_masks = (
                any(self.codec.masked_obs)
                or self.codec.static_mask is not None
                or any("action_mask" in (info.get(n) or {}) for n in self.env.agents)
            )
        if not self.env.agents:
            raise InvalidGame(f"{self.title}: no agent takes part after reset")
        return self._seen(obs, info, np.zeros(count, np.float32), (), False)

    def step(self, actions: np.ndarray) -> HostStep:
        """See `HostEnv`."""
        acting = list(self.env.agents)
        index = {n: i for i, n in enumerate(self.codec.names)}
        obs, rewards, terminations, truncations, info = self.env.step(
            {n: self.codec.act(index[n], actions[index[n]]) for n in acting}
        )
        self._elapsed += 1
        reward = np.zeros(len(index), np.float32)
        for n in acting:
            reward[index[n]] = number(rewards.get(n, 0.0), f"{n}'s reward", self.title)
            self._terminated[index[n]] |= bool(terminations.get(n, False))
        return self._seen(obs, info, reward, acting, all(truncations.get(n, False) for n in acting))

    def raw(self) -> dict[str, Any]:
        """See `HostEnv`."""
        return {n: self._raw[n] for n in self.env.agents}

    def encode(self, actions: dict[str, Any]) -> np.ndarray:
        """See `HostEnv`."""
        return encode(self.codec, actions)

    def close(self) -> None:
        """See `HostEnv`."""
        self.env.close()

    def _seen(self, obs, info, reward, acted, cut: bool) -> HostStep:
        codec, names = self.codec, self.codec.names
        self._raw = obs
        present = np.array([n in self.env.agents and not self._terminated[i] for i, n in enumerate(names)])
        over = cut or not present.any() or self._elapsed >= self.horizon
        masks = None
        if self._has_masks:
            masks = np.stack([codec.allowed(i, None) for i in range(len(names))])
        stacked = np.zeros_like(self._last)
        for i, n in enumerate(names):
            mask = None
            if n in obs:
                stacked[i], mask = codec.observe(i, obs[n])
                self._last[i] = stacked[i]
            elif n in acted:
                stacked[i] = self._last[i]
            given = (info.get(n) or {}).get("action_mask") if mask is None else mask
            if given is not None and masks is None:
                raise InvalidGame(f"{self.title}: {n}'s action mask appears only after reset: give one with every info")
            if given is not None and present[i] and not over:
                assert masks is not None
                masks[i] = codec.allowed(i, given)
        terminated = self._terminated.copy()
        truncated = np.asarray(over and not terminated.all())
        return HostStep(stacked, masks, present, reward, terminated, truncated, np.asarray(over))


def started(result: Any, title: str) -> tuple[Any, Any]:
    """Observations and infos, as `reset` gives them.

    Raises:
        InvalidGame: it gives something else, as it did in old interfaces.
    """
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise InvalidGame(f"{title}.reset must give observations and a dictionary of infos: let it return both")
    return result


def check_horizon(horizon: Any) -> None:
    """Raises `InvalidGame` for a horizon that is given and is no number of steps."""
    if horizon is not None and not (isinstance(horizon, (int, np.integer)) and horizon >= 1):
        raise InvalidGame(f"horizon is {horizon!r}, expected a whole number of steps from 1 on")


def number(value: Any, name: str, title: str) -> float:
    """One agent's reward or flag, which may come as an array of one number.

    Raises:
        InvalidGame: it is not one number.
    """
    array = np.asarray(value, np.float64)
    if array.size != 1:
        raise InvalidGame(f"{title}: {name} has shape {array.shape}, expected one number for each agent")
    return float(array.item())


def encode(codec: Codec, actions: dict[str, Any]) -> np.ndarray:
    """The environment's own actions, by agent, as a joint action; zeros for agents that have none."""
    space, count = codec.action_space, len(codec.names)
    discrete = isinstance(space, Discrete)
    joint = np.zeros(count, np.int32) if discrete else np.zeros((count, space.size), np.float32)  # type: ignore[union-attr]
    for i, n in enumerate(codec.names):
        if n in actions:
            joint[i] = codec.unact(i, actions[n])
    return joint


def host_game(probe: Any, make: Callable[[], Any], horizon: int) -> HostGame:
    """The game that a probed environment belongs to."""
    codec = probe.codec
    return HostGame(
        num_agents=len(codec.names),
        action_space=codec.action_space,
        observation_spec=jax.ShapeDtypeStruct(codec.shape, codec.dtype),
        horizon=horizon,
        names=codec.names,
        has_masks=probe.has_masks,
        static_mask=codec.static_mask,
        make=make,
        title=codec.title,
    )


def _title(env: Any) -> str:
    metadata = getattr(env, "metadata", None) or {}
    return str(metadata.get("name") or type(getattr(env, "unwrapped", env)).__name__)
