"""An outside game: a PettingZoo parallel environment with everything that makes adapters stumble.

A caller sees on which side the goal is and calls left or right; a runner hears the last call and walks a corridor of
five cells. The agents see and do different things, walls forbid actions, and the runner leaves when it has arrived
while the caller stays until time is up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mairl.core.errors import require

_LENGTH, _START = 5, 2


def make_errand(max_cycles: int = 8, fail_at: int = -1, strict: bool = True) -> Any:
    """Builds the environment.

    Args:
        max_cycles: the time limit.
        fail_at: raise an error in this step of every episode (-1: never), to see what becomes of it.
        strict: raise an error when the runner walks into a wall, which its mask forbids; else it stays.

    Raises:
        MissingPackage: PettingZoo or Gymnasium is not installed.
    """
    parallel_env = require("pettingzoo", purpose="play the errand game").ParallelEnv
    spaces = require("gymnasium.spaces", package="gymnasium", purpose="play the errand game")

    class Errand(parallel_env):
        metadata = {"name": "errand", "render_modes": []}  # noqa: RUF012
        render_mode = None

        def __init__(self):
            self.max_cycles = max_cycles
            self.possible_agents = ["caller", "runner"]
            self.agents: list[str] = []
            self._spaces = {
                "caller": (spaces.Discrete(2), spaces.Discrete(2)),
                "runner": (spaces.Box(-1.0, 1.0, (_LENGTH + 1,), np.float64), spaces.Discrete(3)),
            }
            self._rng = np.random.default_rng(0)

        def observation_space(self, agent):
            return self._spaces[agent][0]

        def action_space(self, agent):
            return self._spaces[agent][1]

        def reset(self, seed=None, options=None):
            if seed is not None:
                self._rng = np.random.default_rng(seed)
            self.agents = list(self.possible_agents)
            self._goal, self._at, self._call, self._time = int(self._rng.integers(2)), _START, 0.0, 0
            return self._see(), self._infos()

        def step(self, actions):
            if self._time == fail_at:
                raise RuntimeError("the floor gave way")
            self._time += 1
            acting = list(self.agents)
            paid = {"caller": 1.0 if actions["caller"] == self._goal else -1.0}
            arrived = False
            if "runner" in acting:
                self._at += int(actions["runner"]) - 1
                if strict and not 0 <= self._at < _LENGTH:
                    raise ValueError("the runner went through a wall that its mask forbids")
                self._at = int(np.clip(self._at, 0, _LENGTH - 1))
                arrived = self._at == (0, _LENGTH - 1)[self._goal]
                paid["runner"] = 5.0 if arrived else -0.5
            self._call = 2.0 * int(actions["caller"]) - 1.0
            cut = self._time >= max_cycles
            terminated = {n: n == "runner" and arrived for n in acting}
            truncated = {n: cut and not terminated[n] for n in acting}
            seen, infos = self._see(), self._infos()
            self.agents = [n for n in acting if not (terminated[n] or truncated[n])]
            return seen, paid, terminated, truncated, infos

        def _see(self):
            place = np.zeros(_LENGTH)
            place[self._at] = 1.0
            seen = {"caller": self._goal, "runner": np.append(place, self._call)}
            return {n: seen[n] for n in self.agents}

        def _infos(self):
            mask = np.array([self._at > 0, True, self._at < _LENGTH - 1], np.int8)
            return {n: {"action_mask": mask} if n == "runner" else {} for n in self.agents}

    return Errand()


def errand_expert(obs: Any, agent: str) -> int:
    """What a good player does, as `record` takes it: call the goal's side, and walk where the last call points."""
    if agent == "caller":
        return int(obs)
    at, call = int(np.argmax(obs[:_LENGTH])), obs[_LENGTH]
    return 1 if call == 0 else int(np.clip(1 + np.sign(call), 0 if at > 0 else 1, 2 if at < _LENGTH - 1 else 1))
