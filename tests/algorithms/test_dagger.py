"""DAgger: a copy of a teacher that nobody recorded, right where the copy goes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.bc import BC
from mairl.algorithms.dagger import DAgger
from mairl.algorithms.fit import fit
from mairl.core.errors import Unsupported
from mairl.data.collect import play_episodes, step_zeros
from mairl.games import make_game
from mairl.networks.build import NetworkConfig

GAME = make_game("stag-hunt")
SHARED = NetworkConfig(kind="mlp", width=16, depth=1, shared=True)


def teacher(game, state):
    """The first agent always takes action 0, the second 1: no game in which both did the same shows it."""
    del game, state
    return jnp.array([0, 1])


def agreement(learned):
    policy = jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, learned.policy)
    played = play_episodes(GAME, policy, jax.random.key(1), 64)
    told = np.asarray(played.steps.actions) == np.array([0, 1])
    return told[np.asarray(played.steps.mask)].mean()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_copies_its_teacher(share):
    """Agents on their own can; one network that sees no agent's number cannot tell whose answer it is to give."""
    network = SHARED if share else NetworkConfig(kind="mlp", width=16, depth=1)
    copying = BC(learning_rate=1e-2, batch=16, updates=16, network=network)
    learner = DAgger(teacher, copying, num_envs=8, num_steps=4, memory=64, share=share)
    result = fit(learner, GAME, budget=32 * 12, evaluations=3, episodes=0, select="last")
    agreed = agreement(result.learned)
    assert 0.3 < agreed < 0.7 if share else agreed > 0.95
    assert result.rows[-1]["agreed"] == pytest.approx(0.5 if share else 1.0, abs=0.2)


def test_the_share_prefers_those_who_take_part():
    learner = DAgger(teacher, BC(network=SHARED, batch=8), num_envs=8, num_steps=4, memory=64, share=0.5)
    steps = step_zeros(GAME, 8)
    mask = jnp.arange(16).reshape(8, 2) % 4 == 1  # 4 of 16 samples
    steps = eqx.tree_at(
        lambda s: (s.mask, s.obs), steps, (mask, jnp.arange(16.0).reshape(8, 2)), is_leaf=lambda x: x is None
    )
    kept = learner._share_of(steps, jax.random.key(2))
    assert kept.mask.shape == (4, 2)
    assert int(kept.mask.sum()) == 4
    assert set(np.asarray(kept.obs)[np.asarray(kept.mask)]) == {1.0, 5.0, 9.0, 13.0}


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"memory": 33}, "no multiple"), ({"memory": 0}, "no multiple"), ({"share": 0.5}, "shared=True")],
)
def test_what_makes_no_sense(fields, said):
    with pytest.raises(Unsupported, match=said):
        fit(DAgger(teacher, num_envs=8, num_steps=4, **{"memory": 64, **fields}), GAME, budget=32)
