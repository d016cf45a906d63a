"""Contract kits and probe games, for this project and for third parties."""

from mairl.testing.algorithm_contract import AlgorithmViolation, check_algorithm
from mairl.testing.game_contract import check_game
from mairl.testing.probes import PROBES, Probe
from mairl.testing.violation import ContractViolation

__all__ = ["PROBES", "AlgorithmViolation", "ContractViolation", "Probe", "check_algorithm", "check_game"]
