"""Learning from a recording alone, without its game."""

import dataclasses
import json

import jax
import pytest

from mairl.algorithms.fit import Failure
from mairl.algorithms.mamql import MAMQL
from mairl.cli import learn_command, main
from mairl.core.policy import UniformPolicy
from mairl.data import store
from mairl.data.collect import record
from mairl.games import make_game
from mairl.recipes import learner_recipe
from mairl.recipes.learners import OFFLINE_BUDGET, over_budget


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Observations and actions, no states."""
    game = make_game("stag-hunt")
    data = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_steps=120).observed(game)
    folder = tmp_path_factory.mktemp("offline") / "demos"
    store.save(data, folder)
    return folder


@pytest.mark.parametrize(
    ("options", "budget", "anneal"),
    [
        (["--budget", "6"], 6, 6),  # One round each, and the rates fall over all of them.
        (["--budget", "6", "--anneal", "3"], 6, 3),
        ([], OFFLINE_BUDGET, OFFLINE_BUDGET),
    ],
)
def test_budgets_count_rounds(recording, tmp_path, options, budget, anneal):
    command = ["learn", "mamql", "--game", "none", "--offline", "--value-term", "expert", "--demos", str(recording)]
    small = ["--updates", "2", "--batch", "8", "--evaluations", "2", "--no-report", "--quiet"]
    main([*command, *small, *options, "-o", str(tmp_path / "run")])
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["budget"], facts["algorithm"]["config"]["anneal"]) == (budget, anneal)


def test_rates_fall_over_the_play_where_there_is_any():
    algorithm, _ = learner_recipe("mamql", "gems", budget=6_400)
    assert isinstance(algorithm, MAMQL)
    assert algorithm.anneal == 100, "64 steps are played for each round"
    bc, _ = learner_recipe("bc", "gems")
    assert over_budget(bc, 10) == bc


def test_status_says_whether_any_seed_is_left(recording, tmp_path, capsys, monkeypatch):
    command = ["learn", "bc", "--demos", str(recording), "--game", "none", "--budget", "4", "--evaluations", "2"]
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main([*command, "--seeds", "2", "--learning-rate", "1e38", "--quiet", "--json", "-o", str(run)])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    # All is told and written nevertheless.
    assert [failure["seed"] for failure in json.loads(out)["failures"]] == [0, 1]
    assert (run / "report.html").exists()
    assert err.count("\n") == 1
    assert "every seed was frozen, the first (0) at step" in err
    # One seed of two is something to show.
    real = learn_command.fit

    def breaks_one(*arguments, **more):
        return dataclasses.replace(real(*arguments, **more), failures=[Failure(1, 2, "loss")])

    monkeypatch.setattr(learn_command, "fit", breaks_one)
    main([*command, "--seeds", "2", "--quiet", "-o", str(tmp_path / "half")])
    out, err = capsys.readouterr()
    assert "seed 1 was frozen at step 2: loss was not finite" in out
    assert err == ""
