"""Learners of small games that see samples only: one noisy step each, from play.

Each is a function `(key, game, logits, weights, look_ahead, *, episodes, horizon) -> change of the logits`, with
arguments as in `mairl.ops.learners`; `episodes` are played at every joint policy that the learner looks at, for
`horizon` steps, in place of for ever: γ^horizon should be small.

Naive, LOLA-Taylor and first-order complete steps are unbiased, since what they multiply comes from independent play.
LookAhead and full LOLA move policies by a noisy inner step before they play again: their bias falls with the number of
episodes. MA-SPI begins play in every state with every own action, as a simulator can: it is unbiased as well.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from mairl.ops.sampled.first_order_complete import sampled_first_order_complete
from mairl.ops.sampled.lola_full import sampled_lola_full
from mairl.ops.sampled.lola_taylor import sampled_lola_taylor
from mairl.ops.sampled.lookahead import sampled_lookahead
from mairl.ops.sampled.ma_spi import sampled_ma_spi
from mairl.ops.sampled.naive import sampled_naive

SAMPLED: dict[str, Callable[..., Float[Array, "agent state action"]]] = {
    "naive": sampled_naive,
    "lookahead": sampled_lookahead,
    "lola-taylor": sampled_lola_taylor,
    "first-order-complete": sampled_first_order_complete,
    "lola-full": sampled_lola_full,
    "ma-spi": sampled_ma_spi,
}
"""The names of `mairl.ops.learners.LEARNERS`."""

__all__ = [
    "SAMPLED",
    "sampled_first_order_complete",
    "sampled_lola_full",
    "sampled_lola_taylor",
    "sampled_lookahead",
    "sampled_ma_spi",
    "sampled_naive",
]
