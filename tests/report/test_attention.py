"""The picture of attention: its widths are the weights, its ends the vehicles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import Unsupported
from mairl.games import make_game
from mairl.games.intersection.game import start
from mairl.games.intersection.render import SCALE, SIZE, render
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.heads import BoltzmannPolicy, CategoricalPolicy
from mairl.report import attention
from mairl.report.attention import HEADS, attention_weights, draw_attention

GAME = make_game("intersection:observation=entities")
STATE = start(jnp.array([80.0, 90.0, 70.0, 85.0]), jnp.array([1, 1, 2, 0]))


def policy(**options):
    config = NetworkConfig(kind="attention", width=8, **options)
    return BoltzmannPolicy(per_agent_network(GAME, 3, config, jax.random.key(0)), 1.0)


@pytest.mark.parametrize("shared", [True, False])
def test_weights_are_each_agents_own_networks(shared):
    boltzmann, obs = policy(shared=shared), jax.jit(GAME.observe)(STATE)
    weights = attention_weights(boltzmann, obs)
    assert weights.shape == (4, 2, 4)
    for i in range(4):
        net = jax.tree.map(lambda x, i=i: x if shared else x[i], boltzmann.critic.net)
        np.testing.assert_allclose(weights[i], net.weights(jax.tree.map(lambda x, i=i: x[i], obs)), atol=1e-6)
    np.testing.assert_array_equal(weights, attention_weights(CategoricalPolicy(boltzmann.critic), obs))


def test_a_line_is_as_wide_as_its_weight(monkeypatch):
    # Vehicle 0 (south) looks at vehicle 2 (north) alone, with 3/4 of head 0 and 1/4 of head 1.
    given = np.zeros((4, 2, 4), np.float32)
    given[0, :, 2] = [0.75, 0.25]
    monkeypatch.setattr(attention, "attention_weights", lambda policy, obs: given)
    plain, drawn = render(STATE), draw_attention(GAME, policy(), STATE, 0)
    row = SIZE // 2 + round(6 * SCALE)  # between the two, clear of vehicles, across the lines
    changed = np.flatnonzero((plain[row] != drawn[row]).any(axis=1))
    assert len(changed) == pytest.approx(attention.WIDEST, abs=3)
    near = [[np.abs(drawn[row, c].astype(float) - h).sum() for h in HEADS[:2]] for c in changed[1:-1]]
    first = np.argmin(near, axis=1) == 0
    assert first.sum() / len(first) == pytest.approx(0.75, abs=0.12)
    # Nothing is drawn towards east and west.
    assert (plain[:, : SIZE // 4] == drawn[:, : SIZE // 4]).all()
    assert (plain[:, -SIZE // 4 :] == drawn[:, -SIZE // 4 :]).all()


def test_attention_to_itself_is_a_ring_around_it(monkeypatch):
    given = np.zeros((4, 2, 4), np.float32)
    given[3, 0, 0] = 1.0
    monkeypatch.setattr(attention, "attention_weights", lambda policy, obs: given)
    changed = np.argwhere((render(STATE) != draw_attention(GAME, policy(), STATE, 3)).any(axis=-1))
    there = np.asarray(attention.world(STATE.turn, STATE.body)[0])[3]
    np.testing.assert_allclose(changed.mean(axis=0)[::-1], there * SCALE + SIZE / 2 - 0.5, atol=1.0)


def test_refusals():
    vectors = make_game("intersection")
    plain = CategoricalPolicy(per_agent_network(vectors, 3, NetworkConfig(kind="mlp"), jax.random.key(0)))
    with pytest.raises(Unsupported, match="kind 'attention'"):
        attention_weights(plain, vectors.observe(STATE))
    with pytest.raises(Unsupported, match="0 … 3, not 4"):
        draw_attention(GAME, policy(), STATE, 4)
    with pytest.raises(Unsupported, match="not in Gems"):
        draw_attention(make_game("gems"), policy(), STATE, 0)
