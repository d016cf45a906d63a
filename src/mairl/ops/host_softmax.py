"""Softmax on the host, in the precision of what is given."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def log_softmax(logits: Float[np.ndarray, "*b action"]) -> Float[np.ndarray, "*b action"]:
    """Log-probabilities, in nats."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def softmax(logits: Float[np.ndarray, "*b action"]) -> Float[np.ndarray, "*b action"]:
    """Probabilities."""
    return np.exp(log_softmax(logits))
