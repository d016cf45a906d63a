"""Tuned settings that ship with the package, so that nobody spends hours before a first result."""

from mairl.recipes.learners import LEARNERS, learner_recipe
from mairl.recipes.shipped import EXPERTS, has_expert, load_expert

__all__ = ["EXPERTS", "LEARNERS", "has_expert", "learner_recipe", "load_expert"]
