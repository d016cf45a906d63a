"""Tuned settings that ship with the package, so that nobody spends hours before a first result."""

from mairl.recipes.learners import LEARNERS, learner_recipe

EXPERTS: dict[str, str] = {}

__all__ = ["EXPERTS", "LEARNERS", "learner_recipe"]
