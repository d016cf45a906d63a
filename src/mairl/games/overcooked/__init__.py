"""Overcooked: cooks who share a kitchen (Carroll et al. 2019)."""

from mairl.games.overcooked.game import Overcooked
from mairl.games.overcooked.layout import LAYOUTS, Layout, parse_layout
from mairl.games.overcooked.types import OvercookedState

__all__ = ["LAYOUTS", "Layout", "Overcooked", "OvercookedState", "parse_layout"]
