"""Simple Spread: agents cover landmarks together and keep out of each other's way (Lowe et al. 2017)."""

from mairl.games.simple_spread.game import SimpleSpread
from mairl.games.simple_spread.types import FEATURES, SpreadState

__all__ = ["FEATURES", "SimpleSpread", "SpreadState"]
