"""How a rate is measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call: the first one, which compiles, and of the repeats after it.

    Attributes:
        compile_s: first call less the median repeat.
        seconds: of each repeat, in order.
    """

    compile_s: float
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of a repeat."""
        ordered = sorted(self.seconds)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    def rate(self, amount: float) -> dict[str, Any]:
        """`amount` of work a second: median, least and most, and seconds of compilation."""
        return {
            "per_s": amount / self.median,
            "per_s_range": [amount / max(self.seconds), amount / min(self.seconds)],
            "repeats": len(self.seconds),
            "compile_s": self.compile_s,
        }


def measure(call: Callable[[], Any], repeats: int = 5) -> Timing:
    """Times `call`, waiting for the arrays that it returns."""

    def once() -> float:
        start = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - start

    first = once()
    seconds = tuple(once() for _ in range(repeats))
    timing = Timing(0.0, seconds)
    return Timing(max(0.0, first - timing.median), seconds)
