"""What an agent may do: one of `n` actions, or a bounded vector. Static and hashable, so that they shape a trace."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Discrete:
    """Actions 0 … n-1, int32. Agents with fewer actions are padded to `n` and carry an action mask."""

    n: int

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f"Discrete needs at least one action, got n={self.n}")


@dataclasses.dataclass(frozen=True)
class Box:
    """Real vectors of length `size`, float32, each component within [low, high] (in the game's own units)."""

    size: int
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self):
        if self.size < 1 or not self.low < self.high:
            raise ValueError(f"Box needs size >= 1 and low < high, got size={self.size}, [{self.low}, {self.high}]")


ActionSpace = Discrete | Box
