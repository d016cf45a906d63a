"""Contract kits and probe games, for this project and for third parties."""

from mairl.testing.game_contract import ContractViolation, check_game
from mairl.testing.probes import PROBES, Probe

__all__ = ["PROBES", "ContractViolation", "Probe", "check_game"]
