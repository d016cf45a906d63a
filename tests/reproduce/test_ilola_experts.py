"""Rows of experts.json, from a history recorded by the command line."""

import json

import pytest

from mairl.cli import main as mairl
from mairl.core.errors import InvalidData
from mairl.core.policy import UniformPolicy
from mairl.games import make_game
from mairl.metrics.play import play_whole
from mairl.recipes.recording import record_learning
from mairl.reproduce.ilola_experts import IdlePolicy, main

GAME = "simple-spread:agents=2,horizon=5"


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    out = tmp_path_factory.mktemp("histories") / "h"
    mairl(["expert", GAME, "--record-learning", "-o", str(out), "--budget", "8000", "--snapshots", "2", "--seed", "4"])
    return out


def test_an_expert_becomes_a_row(history, tmp_path, capsys):
    assert not history.with_name("h.learning").exists()
    for _ in range(2):  # The second time in its place.
        main([str(history), "-o", str(tmp_path), "--episodes", "50"])
    assert "simple-spread" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "experts.json").read_text())
    assert (row["game"], row["learner"], row["seed"], row["env_steps"]) == (GAME, "PPO", 4, 8000)
    assert row["agent_steps"] == 16000
    assert "--seed 4 --budget 8000" in row["command"]
    game = make_game(GAME)
    random = play_whole(game, UniformPolicy(2, game.action_space), 50, seed=1234).returns.mean()
    assert row["random"]["return_mean"] == pytest.approx(random, rel=1e-5)
    low, high = row["sampled"]["return_ci95"]
    assert low < row["sampled"]["return_mean"] < high
    assert set(row["sampled"]["features"]) == set(game.feature_names())
    # Hardly anything is learned from 8,000 steps: no expert to normalise by.
    assert not row["clearly_above_random"]


def test_doing_nothing_pushes_nobody():
    for name in (GAME, GAME + ",continuous=True"):
        game = make_game(name)
        played = play_whole(game, IdlePolicy(2, game.action_space), 20)
        assert played.features[..., game.feature_names().index("effort")].max() == 0


def test_more_snapshots_than_updates_are_refused(tmp_path):
    with pytest.raises(InvalidData, match="20 snapshots of 1 updates"):
        record_learning(GAME, tmp_path / "work", budget=100)


def test_an_unfinished_training_is_not_thrown_away_by_mistake(tmp_path):
    (tmp_path / "work").mkdir()
    with pytest.raises(InvalidData, match="work holds an unfinished training: go on with --resume"):
        record_learning(GAME, tmp_path / "work", budget=100_000, snapshots=2)
    assert (tmp_path / "work").exists()
