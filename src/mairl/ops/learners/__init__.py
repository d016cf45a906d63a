"""Exact learners of small games: how a joint policy changes in one step, as a differentiable function of the rewards.

Each is a function `(game, logits, weights, look_ahead) -> change of the logits`, `[agent, state, action]`:

* `game`: a `LinearGame`; `logits`: θ, the joint policy is softmax(θ).
* `weights`: u_i `[agent, feature]`, the reward's weights times the agent's step size, u_i = α_i ω_i (soft improvement:
  over the temperature, ω_i / τ). From changes of policies nothing else can be told: a reward twice as large and a step
  half as long change nothing.
* `look_ahead`: λ, by how many of their own steps agents expect the others to move, one number or `[agent, other]`:
  λ_ij = η_i / α_j with η_i the step that agent i expects. 0 makes all learners by gradients naive.

The families are different: an inversion with the wrong one finds wrong rewards.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from mairl.ops.learners.first_order_complete import first_order_complete
from mairl.ops.learners.lola_full import lola_full
from mairl.ops.learners.lola_taylor import lola_taylor
from mairl.ops.learners.lookahead import lookahead
from mairl.ops.learners.ma_spi import ma_spi
from mairl.ops.learners.naive import naive

Learner = Callable[..., Float[Array, "agent state action"]]

LEARNERS: dict[str, Learner] = {
    "naive": naive,
    "lookahead": lookahead,
    "lola-taylor": lola_taylor,
    "first-order-complete": first_order_complete,
    "lola-full": lola_full,
    "ma-spi": ma_spi,
}

ANTICIPATING = ("lookahead", "lola-taylor", "first-order-complete", "lola-full")
"""Those that read `look_ahead`."""

__all__ = [
    "ANTICIPATING",
    "LEARNERS",
    "Learner",
    "first_order_complete",
    "lola_full",
    "lola_taylor",
    "lookahead",
    "ma_spi",
    "naive",
]
