"""Learning histories: checked when made, the same after a round trip, all or nothing on disk."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata
from mairl.data.learning_history import learning_history, load_history, save_history
from mairl.games.tabular import prisoners_dilemma


def tables(steps=3, agents=2, dtype=np.float64):
    return np.random.default_rng(0).normal(size=(steps, agents, 4, 5)).astype(dtype)


@pytest.fixture(scope="module")
def recordings():
    game = prisoners_dilemma(horizon=3)
    policy = UniformPolicy(2, game.action_space)
    return [record(game, policy, jax.random.key(k), num_steps=6) for k in range(2)]


def test_what_it_says_of_itself():
    history = learning_history(tables())
    assert (history.num_snapshots, history.num_agents) == (3, 2)
    logits = history.logits()
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits.sum(-1), 0, atol=1e-12)
    softmax = jax.nn.softmax
    np.testing.assert_allclose(softmax(jnp.asarray(logits)), softmax(jnp.asarray(tables())), atol=1e-6)
    np.testing.assert_array_equal(history.snapshots(slice(1, 3)).policies, tables()[1:])


def test_round_trip(tmp_path, recordings):
    policies = {"layer": tables(2), "bias": np.zeros((2, 2, 3), np.float32)}
    optimiser = {"mu": np.ones((2, 7)), "count": np.arange(2)}
    made = learning_history(policies, trajectories=recordings, optimiser=optimiser, metadata=Metadata.of("g", seed=1))
    save_history(made, tmp_path / "h")
    read = load_history(tmp_path / "h")
    assert read.metadata.facts() == {"game": "g", "source": "", "licence": "", "seed": 1}
    for want, got in zip(
        jax.tree.leaves((made.policies, made.optimiser)), jax.tree.leaves((read.policies, read.optimiser)), strict=True
    ):
        assert want.dtype == got.dtype
        np.testing.assert_array_equal(want, got)
    assert len(read.trajectories) == 2
    for want, got in zip(made.trajectories, read.trajectories, strict=True):
        np.testing.assert_array_equal(want.actions, got.actions)
    assert not (tmp_path / "h.partial").exists()
    with pytest.raises(InvalidData, match="exists: choose another folder"):
        save_history(made, tmp_path / "h")
    save_history(learning_history(tables()), tmp_path / "h", overwrite=True)
    assert load_history(tmp_path / "h").num_snapshots == 3
    assert [p.name for p in tmp_path.iterdir()] == ["h"]


def test_recordings_alone_are_a_history(recordings):
    history = learning_history(trajectories=recordings)
    assert (history.num_snapshots, history.num_agents) == (2, 2)
    with pytest.raises(InvalidData, match=r"recordings alone, no policies: .*mairl learn i-lola"):
        history.logits()


def test_policies_that_are_no_tables_are_told_what_to_do():
    with pytest.raises(InvalidData, match=r"tabular policies.*--record-learning --learner lola-taylor"):
        learning_history({"layer": tables(), "bias": np.zeros((3, 2, 3))}).logits()


def test_probabilities_are_not_taken_for_logits():
    seen = np.random.default_rng(0).dirichlet(np.ones(5), size=(3, 2, 4))
    seen[1, 0, 2] = [1, 0, 0, 0, 0]
    with pytest.raises(InvalidData, match=r"are probabilities .*np.log\(np.clip\(probabilities, 1e-8, 1\)\)"):
        learning_history(seen)
    with np.errstate(divide="ignore"), pytest.raises(InvalidData, match=r"4 logits of -inf.*a floor before the log"):
        learning_history(np.log(seen))
    # The remedy works, and logits between 0 and 1 are still logits.
    assert learning_history(np.log(np.clip(seen, 1e-8, 1))).num_snapshots == 3
    assert learning_history(np.random.default_rng(0).uniform(size=(3, 2, 4, 5))).num_snapshots == 3


def with_nan():
    bad = tables(4)
    bad[2, 0, 1] = np.nan
    return bad


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "got neither"),
        ({"policies": tables(1)}, "1 snapshot: .* give two or more"),
        ({"policies": with_nan()}, "5 values that are not finite, first in snapshot 2 of 4: cut"),
        ({"policies": np.zeros(3)}, r"shape \(3,\): stack snapshots as \[step, agent"),
        ({"policies": {"a": tables(3), "b": tables(2)}}, "differ in their first two axes"),
        ({"policies": {"a": tables(3), "b": tables(3, 3)}}, "differ in their first two axes"),
        ({"policies": tables(), "optimiser": np.zeros((2, 4))}, "state before each of 3 snapshots"),
        ({"policies": tables(), "optimiser": np.full((3, 4), np.inf)}, "12 values that are not finite"),
    ],
)
def test_faults_are_named(given, says):
    with pytest.raises(InvalidData, match=says):
        learning_history(**given)


def test_recordings_must_belong_to_the_policies(recordings):
    with pytest.raises(InvalidData, match="2 recordings for 3 joint policies"):
        learning_history(tables(), trajectories=recordings)
    with pytest.raises(InvalidData, match=r"\[2, 2\] agents, the policies 3"):
        learning_history(tables(2, 3), trajectories=recordings)


def test_damage_is_named(tmp_path):
    save_history(learning_history(tables()), tmp_path / "h")
    with pytest.raises(InvalidData, match="is missing: is "):
        load_history(tmp_path / "none")
    arrays = tmp_path / "h" / "arrays.npz"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:100])
    with pytest.raises(InvalidData, match="damaged"):
        load_history(tmp_path / "h")
    arrays.write_bytes(whole)
    facts = json.loads((tmp_path / "h" / "history.json").read_text())
    (tmp_path / "h" / "history.json").write_text(json.dumps({**facts, "format": 9}))
    with pytest.raises(InvalidData, match="has format 9, this version reads 1"):
        load_history(tmp_path / "h")


def test_snapshots_one_by_one_are_stacked():
    tables = [np.full((2, 3, 4), float(k)) for k in range(5)]
    found = learning_history(tables)
    assert found.num_snapshots == 5
    np.testing.assert_array_equal(found.policies, np.stack(tables))
    with pytest.raises(InvalidData, match="stack snapshots"):
        learning_history(np.zeros((0, 2, 3, 4)))
    with pytest.raises(InvalidData, match="trajectories hold str"):
        learning_history(np.stack(tables), trajectories=["a"] * 5)  # type: ignore[list-item]
