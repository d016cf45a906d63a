"""What joint policies do in whole episodes, of our games and of host games alike."""

from __future__ import annotations

import dataclasses
import os

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from mairl.core.game import MarkovGame
from mairl.core.host import HostGame
from mairl.core.policy import Policy
from mairl.core.transition import features
from mairl.data.collect import play_episodes
from mairl.data.host_collect import play_host_episodes
from mairl.data.host_pool import HostPool


@dataclasses.dataclass(frozen=True)
class Played:
    """Of each episode.

    Attributes:
        returns: undiscounted true returns.
        features: sums over the steps of the reward's features (see `MarkovGame.features`), or None where the game
            knows none.
    """

    returns: Float[np.ndarray, "episode agent"]
    features: Float[np.ndarray, "episode agent feature"] | None


def play_whole(
    game: MarkovGame, policy: Policy, episodes: int, *, greedy: bool = False, seed: int = 0, workers: int | None = None
) -> Played:
    """Plays whole episodes, at the same time as far as the game allows.

    Args:
        workers: processes that step a host game; default: one per core. 0: this one.
    """
    key = jax.random.key(seed)
    if isinstance(game, HostGame):
        workers = (os.cpu_count() or 1) if workers is None else workers
        stacked = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, policy)
        with HostPool(game.make, min(episodes, 16), workers, game.title) as pool:
            played = play_host_episodes(game, pool, stacked, key[None], episodes, greedy=greedy)[0]
        shown = np.stack([e.features for e in played]) if game.feature_names() else None
        return Played(np.stack([e.returns for e in played]), shown)
    returns, shown = _play(game, policy, key, episodes, greedy)
    return Played(np.asarray(returns), None if shown is None else np.asarray(shown))


@eqx.filter_jit
def _play(game, policy, key, episodes: int, greedy: bool):
    played = play_episodes(game, policy, key, episodes, greedy)
    if not game.feature_names():
        return played.returns, None
    mask = played.steps.mask[..., None]
    return played.returns, jax.numpy.sum(jax.numpy.where(mask, features(game, played.steps), 0.0), axis=0)
