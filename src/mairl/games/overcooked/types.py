"""What a kitchen's state is, in small integers."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Int8, Int16

NOTHING, ONION, DISH, SOUP = 0, 1, 2, 3
"""Objects. A soup of k onions is `SOUP + k - 1`: 3, 4 or 5."""

FULL_SOUP = SOUP + 2
"""The soup that is ordered: three onions."""

NORTH, SOUTH, EAST, WEST, STAY, INTERACT = range(6)
ACTIONS = ("north", "south", "east", "west", "stay", "interact")
STEPS = ((0, -1), (0, 1), (1, 0), (-1, 0), (0, 0), (0, 0))
"""(dx, dy) of each action; y grows to the south."""


class OvercookedState(eqx.Module):
    """A kitchen at one moment.

    Attributes:
        position: `[player, 2]` cell (x, y).
        facing: `[player]` 0 north, 1 south, 2 east, 3 west.
        held: `[player]` object in hand.
        counters: `[counter]` object on each counter, in reading order.
        onions: `[pot]` onions in each pot, 0 … 3.
        cooking: `[pot]` steps cooked, -1 before cooking starts; it stops at the cook time.
        time: steps played.
    """

    position: Int8[Array, "player 2"]
    facing: Int8[Array, " player"]
    held: Int8[Array, " player"]
    counters: Int8[Array, " counter"]
    onions: Int8[Array, " pot"]
    cooking: Int8[Array, " pot"]
    time: Int16[Array, ""]
