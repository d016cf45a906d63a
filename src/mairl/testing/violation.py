"""What a broken contract raises."""

from __future__ import annotations

import numpy as np

from mairl.core.errors import InvalidGame


class ContractViolation(InvalidGame):
    """A game does not keep the contract; the message says which part, and what was found."""


def need(condition: bool | np.bool_, otherwise: str) -> None:
    """Raises a `ContractViolation` that says `otherwise` unless `condition` holds."""
    if not condition:
        raise ContractViolation(otherwise)
