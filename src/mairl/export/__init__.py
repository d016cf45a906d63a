"""What was learned, for use elsewhere."""

from mairl.export.numpy_policy import export_numpy, load_numpy
from mairl.export.onnx_policy import export_onnx
from mairl.export.reward_wrapper import reward_wrapper

__all__ = ["export_numpy", "export_onnx", "load_numpy", "reward_wrapper"]
