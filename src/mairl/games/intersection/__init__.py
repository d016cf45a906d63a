"""Vehicles that cross a four-way intersection (the MAMQL paper's Highway game), in step with highway-env."""

from mairl.games.intersection.game import Intersection

__all__ = ["Intersection"]
