"""Histories that exact learners leave."""

import itertools

import numpy as np
import pytest

from mairl.core.errors import InvalidData, InvalidGame, Unsupported
from mairl.data.learning_history import load_history, save_history
from mairl.games.tabular.features import as_feature, tabular_game
from mairl.ops.learners.step import next_logits
from mairl.ops.linear_game import LinearGame
from mairl.recipes.learning import record_exact_learning


def test_a_history_is_what_the_learner_does(tmp_path):
    history = record_exact_learning("iterated-dilemma", "lola-taylor", transitions=3, episodes=2, look_ahead=2.0)
    tables = tabular_game("iterated-dilemma").tables()
    game = LinearGame.of(tables, as_feature(tables.reward))
    logits = history.logits()
    for now, after in itertools.pairwise(logits):
        step = next_logits("lola-taylor", game, now, np.full((2, 1), 0.1), 2.0)
        np.testing.assert_allclose(after, step, atol=1e-12)
    assert np.abs(np.diff(logits, axis=0)).max() > 1e-3
    save_history(history, tmp_path / "h")
    again = load_history(tmp_path / "h")
    np.testing.assert_array_equal(again.logits(), logits)
    assert again.metadata.facts()["learner"] == "lola-taylor"
    assert [(play.num_episodes, play.num_steps) for play in again.trajectories] == [(2, 100)] * 4


def test_recorded_actions_are_those_of_the_policies():
    history = record_exact_learning("iterated-dilemma", "naive", transitions=1, episodes=400, step_size=0.2)
    for play, logits in zip(history.trajectories, history.logits(), strict=True):
        assert play.state is not None
        index, actions = np.asarray(play.state.index)[:, :-1].ravel(), np.asarray(play.actions).reshape(-1, 2)
        chance = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        for agent in range(2):
            for state in range(5):
                seen = actions[index == state, agent]
                assert seen.mean() == pytest.approx(chance[agent, state, 1], abs=4.5 / (2 * np.sqrt(len(seen))))


def test_what_cannot_be_recorded_is_named():
    with pytest.raises(Unsupported, match="unknown learner 'ppo' of tables; there are naive"):
        record_exact_learning("ma-lfl-grid", "ppo")
    with pytest.raises(Unsupported, match="step sizes must be positive"):
        record_exact_learning("ma-lfl-grid", "naive", step_size=0.0)
    with pytest.raises(InvalidGame, match="gems is no table"):
        record_exact_learning("gems", "naive")
    with pytest.raises(InvalidData, match="must change at least once"):
        record_exact_learning("iterated-dilemma", "naive", transitions=0)
    with pytest.raises(InvalidData, match="policies are not finite"):
        record_exact_learning("iterated-dilemma", "naive", step_size=1e308, transitions=4)
