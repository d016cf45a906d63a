"""Which of a seed's results is kept."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from mairl.algorithms.checkpoint import arrays_of, with_arrays


class Best:
    """Keeps, for each seed, the result that the selection rule asks for, and counts evaluations without progress."""

    def __init__(self, select: str, have_held_out: bool):
        self.rule = "heldout" if select == "heldout" and have_held_out else "last"
        self.learned: Any = None
        self.score: np.ndarray | None = None
        self.stale = 0

    def offer(self, learned, score, alive) -> None:
        """Takes each living seed's result if its score is the best so far."""
        if score is None:
            return
        better = np.ones_like(alive) if self.score is None else alive & (score > self.score)
        self.stale = 0 if better.any() else self.stale + 1
        if not better.any():
            return
        self.score = np.array(score, np.float64) if self.score is None else np.where(better, score, self.score)
        if self.rule == "heldout":
            self.learned = learned if self.learned is None else _choose(jnp.asarray(better), learned, self.learned)

    def result(self, last):
        """What was kept; `last` where that is the rule."""
        return last if self.learned is None else self.learned

    def extra(self) -> dict[str, np.ndarray]:
        """What a checkpoint must hold."""
        if self.score is None:
            return {}
        best = {} if self.learned is None else arrays_of(self.learned)
        return {"score": self.score, "stale": np.asarray(self.stale), **{f"best_{k}": v for k, v in best.items()}}

    def restore(self, extra, like) -> None:
        """Goes on from `extra()`; `like` is any result of the same learner and seeds."""
        if not extra:
            return
        self.score, self.stale = extra["score"], int(extra.get("stale", 0))
        best = {k.removeprefix("best_"): v for k, v in extra.items() if k.startswith("best_")}
        if best:
            self.learned = with_arrays(like(), best)


@eqx.filter_jit
def _choose(better, new, old):
    def pick(a, b):
        return jnp.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b) if eqx.is_array(a) else a

    return jax.tree.map(pick, new, old)
