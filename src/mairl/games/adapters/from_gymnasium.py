"""Any Gymnasium environment of one or several agents as a game to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from mairl.core.errors import InvalidGame
from mairl.core.host import HostGame, HostStep
from mairl.data.codec import joint_codec
from mairl.games.adapters.from_pettingzoo import _title, check_horizon, encode, host_game, number, started

RewardOf = Callable[[Any, dict], Any]


def from_gymnasium(
    make_env: Callable[[], Any], *, horizon: int | None = None, reward_of: RewardOf | None = None
) -> HostGame:
    """A game that `make_env()` builds, a `gymnasium.Env`. It is stepped on the host by `fit` and `record`.

    Several agents: observation and action spaces are both a Tuple of as many parts, or both a Dict with the same names.
    Rewards (and terminations, truncations) are then a sequence or dictionary by agent, or one value for all. Any other
    environment is a game of one agent. Spaces and masks as in `from_pettingzoo`.

    Args:
        make_env: see `from_pettingzoo`.
        horizon: episodes are truncated after this many steps; default: the environment's own `max_episode_steps`.
        reward_of: (reward, info) to the rewards by agent, for environments that hide them in the info.

    Raises:
        InvalidGame: what cannot be learned from, with the reason and the remedy.
        MissingPackage: Gymnasium is not installed.
    """
    env = make_env()
    title = _title(env)
    if hasattr(env, "possible_agents"):
        raise InvalidGame(f"{title} is a PettingZoo environment: give it to from_pettingzoo")
    if not all(hasattr(env, name) for name in ("unwrapped", "observation_space", "action_space", "reset", "step")):
        raise InvalidGame(f"{title} is no Gymnasium environment: let make_env() return one")
    check_horizon(horizon)
    spec = getattr(env, "spec", None)
    horizon = horizon or getattr(spec, "max_episode_steps", None) or getattr(env.unwrapped, "max_steps", None)
    if not horizon:
        env.close()
        raise InvalidGame(f"{title} does not say how long an episode lasts: give horizon=, the most steps of one")
    probe = GymnasiumHost(env, int(horizon), reward_of)
    try:
        probe.reset(0)
        return host_game(probe, MakeGymnasium(make_env, int(horizon), reward_of, probe.has_masks), int(horizon))
    finally:
        probe.close()


@dataclasses.dataclass(frozen=True)
class MakeGymnasium:
    """Builds one stacked environment; picklable if its functions are."""

    make_env: Callable[[], Any]
    horizon: int
    reward_of: RewardOf | None
    has_masks: bool

    def __call__(self) -> GymnasiumHost:
        """A fresh environment."""
        return GymnasiumHost(self.make_env(), self.horizon, self.reward_of, self.has_masks)


class GymnasiumHost:
    """One Gymnasium environment, agents stacked (see `HostEnv`). Agents are named by the spaces' keys, or numbered."""

    def __init__(self, env: Any, horizon: int, reward_of: RewardOf | None = None, has_masks: bool | None = None):
        self.env, self.horizon, self.title, self.reward_of = env, horizon, _title(env), reward_of
        self._has_masks = has_masks
        self.codec, self.kind, self.keys = joint_codec(env.observation_space, env.action_space, self.title)

    @property
    def has_masks(self) -> bool:
        """Whether steps carry action masks."""
        return bool(self._has_masks)

    def reset(self, seed: int) -> HostStep:
        """See `HostEnv`."""
        obs, info = started(self.env.reset(seed=int(seed)), self.title)
        self._elapsed = 0
        count = len(self.keys)
        self._gone, self._terminated = np.zeros(count, bool), np.zeros(count, bool)
        self._last = np.zeros((count, *self.codec.shape), self.codec.dtype)
        if self._has_masks is None:
            self._has_masks = any(self.codec.masked_obs) or self.codec.static_mask is not None or "action_mask" in info
        return self._seen(obs, info, np.zeros(count, np.float32), False)

    def step(self, actions: np.ndarray) -> HostStep:
        """See `HostEnv`."""
        parts = [self.codec.act(i, a) for i, a in enumerate(actions)]
        joint = {"one": lambda: parts[0], "tuple": lambda: tuple(parts), "dict": lambda: dict(zip(self.keys, parts))}
        obs, reward, terminated, truncated, info = self.env.step(joint[self.kind]())
        self._elapsed += 1
        if self.reward_of is not None:
            reward = self.reward_of(reward, info)
        paid = np.where(self._gone, 0.0, self.each("reward", reward)).astype(np.float32)
        self._terminated |= self.each("terminated", terminated).astype(bool) & ~self._gone
        cut = self.each("truncated", truncated).astype(bool)
        self._gone |= self._terminated | cut
        return self._seen(obs, info, paid, bool(self._gone.all()))

    def raw(self) -> dict[str, Any]:
        """See `HostEnv`."""
        return {n: self.part(self._raw, k) for n, k, gone in zip(self.codec.names, self.keys, self._gone) if not gone}

    def encode(self, actions: dict[str, Any]) -> np.ndarray:
        """See `HostEnv`."""
        return encode(self.codec, actions)

    def close(self) -> None:
        """See `HostEnv`."""
        self.env.close()

    def part(self, value: Any, key: Any) -> Any:
        """One agent's part of a joint value."""
        return value if self.kind == "one" else value[key]

    def each(self, name: str, value: Any) -> np.ndarray:
        """One number for each agent from a number for all, a sequence, or a dictionary."""
        if isinstance(value, dict):
            # Some libraries add a key for "all agents at once": a flag of all is also each one's.
            common = number(value.get("__all__", 0), name, self.title)
            each = np.array([number(value.get(k, common), name, self.title) for k in self.keys])
            return each if name == "reward" else np.maximum(each, common)
        array = np.asarray(value, np.float64).ravel()
        if array.size not in (1, len(self.keys)):
            raise InvalidGame(
                f"{self.title}: {name} has {array.size} values for {len(self.keys)} agents: see reward_of"
            )
        return np.broadcast_to(array, (len(self.keys),)).copy()

    def _seen(self, obs, info, reward, all_gone: bool) -> HostStep:
        codec, count = self.codec, len(self.keys)
        self._raw = obs
        over = all_gone or self._elapsed >= self.horizon
        masks = np.stack([codec.allowed(i, None) for i in range(count)]) if self._has_masks else None
        stacked = np.zeros((count, *codec.shape), codec.dtype)
        for i, key in enumerate(self.keys):
            if self.kind == "dict" and key not in obs:
                if not self._gone[i]:
                    raise InvalidGame(f"{self.title}: {codec.names[i]} takes part and there is no observation of it")
                # Some libraries leave out who is gone.
                stacked[i] = self._last[i]
                continue
            stacked[i], mask = codec.observe(i, self.part(obs, key))
            self._last[i] = stacked[i]
            if mask is None and "action_mask" in info and not self._gone[i]:
                mask = self.part(info["action_mask"], key)
            if mask is not None and masks is None:
                raise InvalidGame(f"{self.title}: the action mask appears only after reset: give one with every info")
            if mask is not None and masks is not None and not (self._gone[i] or over):
                masks[i] = codec.allowed(i, mask)
        terminated = self._terminated.copy()
        truncated = np.asarray(over and not terminated.all())
        return HostStep(stacked, masks, ~self._gone, reward, terminated, truncated, np.asarray(over))
