"""Learned policies for use elsewhere."""

from mairl.export.numpy_policy import export_numpy, load_numpy

__all__ = ["export_numpy", "load_numpy"]
