"""Gems, the collecting game of the MAMQL paper."""

from mairl.games.gems.game import Gems
from mairl.games.gems.types import GemsState, fixed_layout

__all__ = ["Gems", "GemsState", "fixed_layout"]
