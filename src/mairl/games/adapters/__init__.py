"""Our games as others see them."""

from mairl.games.adapters.gymnasium import to_gymnasium
from mairl.games.adapters.pettingzoo import to_pettingzoo

__all__ = ["to_gymnasium", "to_pettingzoo"]
