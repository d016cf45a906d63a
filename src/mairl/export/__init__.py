"""What was learned, for use elsewhere."""

from mairl.export.numpy_policy import export_numpy, load_numpy
from mairl.export.reward_wrapper import reward_wrapper

__all__ = ["export_numpy", "load_numpy", "reward_wrapper"]
