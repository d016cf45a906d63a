"""Tables of learners that are seen through what they do, and the comparisons drawn from tables."""

import json

import numpy as np
import pytest

from mairl.algorithms.ma_lfl_sampled import information, ma_lfl_from_counts
from mairl.core.errors import InvalidData, Unsupported
from mairl.data.count_play import count_play
from mairl.data.exact_learning import exact_learning
from mairl.games.tabular import lfl_grid, random_game
from mairl.games.tabular.features import as_feature
from mairl.ops.host_softmax import softmax
from mairl.ops.linear_game import LinearGame
from mairl.ops.occupancy import own_occupancy
from mairl.reproduce import ilola_figures, ilola_single
from mairl.reproduce.ilola import exact_row
from mairl.reproduce.ilola_pictures import write_pictures
from mairl.reproduce.ilola_trajectories import trajectory_row


@pytest.fixture(scope="module")
def improvers():
    """Improvers of a small game and their policies."""
    tables = random_game(1, num_states=4, num_actions=3, discount=0.8).tables()
    state = np.random.default_rng(0).normal(size=(4, 1, 1, 2))
    tables = tables.with_reward(np.broadcast_to(state, (4, 3, 3, 2)))
    game = LinearGame.of(tables, as_feature(tables.reward))
    return tables, exact_learning(game, "ma-spi", np.ones((2, 1)), 0.0, transitions=4, seed=0)


def test_counted_play_is_where_policies_go(improvers):
    tables, history = improvers
    policies = softmax(history.logits()[2])
    counts = count_play(tables, policies, episodes=4000, steps=10, rng=np.random.default_rng(0))
    assert counts.sum() == 2 * 4000 * 10
    want = own_occupancy(tables, policies, horizon=10, discount=1.0)
    np.testing.assert_allclose(counts / 40_000, want, atol=0.01)


def test_ends_end_play():
    tables = random_game(2, num_states=3, num_actions=2, num_terminal=1).tables()
    counts = count_play(tables, np.full((2, 3, 2), 0.5), episodes=200, steps=500, rng=np.random.default_rng(0))
    assert not counts[:, tables.terminal].any()
    assert counts.sum() < 2 * 200 * 100


def test_rewards_from_counts(improvers):
    tables, history = improvers
    errors = []
    for samples in (100, 1_000_000):
        counts = np.random.default_rng(0).multinomial(samples, softmax(history.logits())).astype(float)
        found = ma_lfl_from_counts(tables, counts, tie="state").rewards[:, 0, 0]
        errors.append(np.abs((found - tables.reward[:, 0, 0]) - (found - tables.reward[:, 0, 0]).mean(0)).max())
    assert errors[1] < 0.05 < errors[0]
    # The check can fail: at another temperature the same counts give another reward.
    wrong = ma_lfl_from_counts(tables, counts, tie="state", temperature=3.0).rewards[:, 0, 0]
    assert np.abs(np.ptp(wrong, axis=0) / np.ptp(tables.reward[:, 0, 0], axis=0) - 1).max() > 0.5


def test_what_is_not_seen_weighs_nothing(improvers):
    tables, history = improvers
    seen = np.full((4, 3), 1e4)
    seen[1, 2] = 0
    weight = information(tables, np.log(softmax(history.logits()[0])), seen, 0, 2.0)
    assert weight[1, 2] < 0.05 * np.delete(weight.ravel(), 5).min()
    seen[1, 2] = 1e4
    known = information(tables, np.log(softmax(history.logits()[0])), seen, 0, 2.0)
    assert (known > weight).all(), "what is not known of a state is not known of those before it"
    assert known.max() <= 1e4 / 2.0**2
    with pytest.raises(InvalidData, match="two transitions are needed"):
        ma_lfl_from_counts(tables, np.ones((2, 2, 4, 3)))
    with pytest.raises(Unsupported, match="positive temperature and ridge"):
        ma_lfl_from_counts(tables, np.ones((3, 2, 4, 3)), ridges=(0.0,))


def test_lfl_as_published(tmp_path, monkeypatch):
    monkeypatch.setattr(ilola_single, "LFL_SAMPLES", (200,))
    rows = ilola_single.lfl_table(tmp_path, seeds=1)
    exact, sampled = rows[0], rows[-1]
    assert abs(exact["regret"]) < 1e-6
    assert exact["pearson"] > 1 - 1e-9
    published = exact["published"]
    assert exact["optimum"] == pytest.approx(published["optimum"], abs=5e-4)
    assert [r["learner_value"] for r in rows[:3]] == pytest.approx(published["learner_after_1_2_3_steps"], abs=5e-4)
    assert sampled["regret"] > exact["regret"]
    # A wrong reward has regret: the check can fail.
    assert ilola_single.lfl_regret(lfl_grid().tables(), -lfl_grid().tables().reward) > 5


def test_logel_as_published(tmp_path, monkeypatch):
    monkeypatch.setattr(ilola_single, "READ", (5,))
    monkeypatch.setattr(ilola_single, "LOGEL_STEPS", 5)
    rows = {(r["seen"], r["step_sizes"]): r for r in ilola_single.logel_table(tmp_path, seeds=1)}
    for seen in ("exact", "policies and their play"):
        for sizes in ("known", "unknown"):
            assert rows[seen, sizes]["cosine"] > 1 - 1e-9
    alone = rows["play alone", "known"]
    assert alone["cosine"] is None or alone["cosine"] < 1 - 1e-4


def test_a_row_of_trajectories():
    row = trajectory_row("telescoped", "episodes", 30, 1, "c")
    assert len(row["cosines"]) == len(row["pearson"]) == 2
    assert row["reference_cosines"] is None
    assert row["failures"] == []


def test_comparisons_and_their_pictures(tmp_path, monkeypatch):
    exact = [
        {**exact_row("naive", family, 1), "family_chosen": "naive", "seeds": [0]} for family in ("naive", "ma-spi")
    ]
    monkeypatch.setattr(ilola_figures, "BILINEAR", ("naive",))
    rows = ilola_figures.confusion(tmp_path, exact, seeds=1, samples=3000)
    assert [r["chosen"] for r in rows] == [{"naive": 1.0, "ma-spi": 0.0}, {"naive": 1.0}]
    monkeypatch.setattr(ilola_figures, "SNAPSHOTS", (2, 4))
    monkeypatch.setattr(ilola_figures, "SAMPLES", (3000,))
    curves = ilola_figures.curves(tmp_path, seeds=1)
    angles = {(r["method"], r["amount"]): r["angle_degrees"] for r in curves if r["seen"] == "snapshots"}
    # LOGEL reads these learners as naive: more snapshots do not help as much as the right family.
    assert angles["i-lola", 4] < angles["i-logel", 4]
    names = {path.name for path in write_pictures(tmp_path)}
    assert names == {"confusion.svg", "confusion_sampled.svg", "curves_snapshots.svg", "curves_samples.svg"}
    assert json.loads((tmp_path / "curves.json").read_text())[0]["seeds"] == 1


@pytest.mark.parametrize(("family", "form"), [("lola-taylor", "coefficients"), ("ma-spi", "replay")])
def test_derivatives_need_fewer_evaluations(family, form):
    race = ilola_figures._race(ilola_figures.grid_game(), family, form, 1e-3, 0, 8000)
    assert race["cma_residual"] <= 1e-3
    assert race["derivative_residual"] <= 1e-3
    assert race["cma_evaluations"] > 5 * race["derivative_evaluations"]
    assert race["derivative_evaluations"] > race["derivative_steps"]
