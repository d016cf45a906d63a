"""Rewards from your own list of policy snapshots: two agents that anticipate each other's learning, watched ten times.

Each snapshot is a joint policy, an array [agent, state, action] of logits (log-probabilities will do).
"""

import numpy as np

from mairl.algorithms.i_lola import i_lola
from mairl.data.learning_history import learning_history
from mairl.games.tabular.features import linear_game
from mairl.recipes.learning import record_exact_learning

game = linear_game("ma-lfl-grid")  # Its rewards are looked for among four features of the agents' places.
watched = record_exact_learning("ma-lfl-grid", "lola-taylor", transitions=9, look_ahead=10.0)
snapshots = list(watched.logits())  # Put your own here, in the order of learning.

found = i_lola(game, learning_history(np.stack(snapshots)), families=("naive", "lola-taylor"))
print(f"learners: {found.family}, look-ahead {found.look_ahead:.3f}; unexplained {found.relative_residual:.1e}")
print("rewards of each agent, per feature:", np.round(found.weights / np.abs(found.weights).max(), 6).tolist())
print("told by these snapshots:", found.rank, "of", game.num_features, *found.notes)
