"""Our games as others see them, and others' games as ours."""

from mairl.games.adapters.from_gymnasium import from_gymnasium
from mairl.games.adapters.from_pettingzoo import from_pettingzoo
from mairl.games.adapters.gymnasium import to_gymnasium
from mairl.games.adapters.pettingzoo import to_pettingzoo

__all__ = ["from_gymnasium", "from_pettingzoo", "to_gymnasium", "to_pettingzoo"]
