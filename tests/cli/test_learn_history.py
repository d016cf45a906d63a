"""`mairl learn … --history`: from recorded learners to a run that can be evaluated and looked at."""

import json

import numpy as np
import pytest

from mairl.algorithms.explain import ABOUT, EXPLAINERS, ILOGEL, ILOLA, Watched
from mairl.cli import main
from mairl.cli.learn_command import main as learn_command
from mairl.cli.learn_history import UNEXPLAINED
from mairl.cli.learn_history import main as learn
from mairl.cli.learn_recordings import untold
from mairl.core.errors import InvalidData, InvalidGame, Unsupported
from mairl.core.learned import Learned
from mairl.data.learning_history import learning_history, save_history
from mairl.games.tabular.features import linear_game, one_hot, tabular_game
from mairl.games.tabular.iterated_dilemma import PAYOFF
from mairl.games.tabular.reward import TabularReward
from mairl.metrics.evaluate import read_run
from mairl.metrics.explained_run import explained_run, true_weights
from mairl.recipes.learning import record_exact_learning
from mairl.report.learning import run_sentences


@pytest.fixture(scope="module")
def dilemma(tmp_path_factory):
    """LOLA learners of the iterated dilemma."""
    path = tmp_path_factory.mktemp("histories") / "dilemma"
    save_history(record_exact_learning("iterated-dilemma", "lola-taylor", transitions=8, look_ahead=2.0), path)
    return path


def summary(capsys, *arguments):
    main(["learn", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_reward_is_found_and_the_run_is_complete(dilemma, tmp_path, capsys):
    run = tmp_path / "run"
    told = summary(capsys, "i-lola", "--history", dilemma, "-o", run, "--seeds", 2)
    assert told["game"] == "iterated-dilemma"
    first = told["explained"][0]
    assert first["family"] == "lola-taylor"
    assert first["look_ahead"] == pytest.approx(2, abs=1e-8)
    assert first["relative_residual"] < 1e-20
    assert first["skill_1b"] > 1 - 1e-9
    assert "do not trust" not in " ".join(first["notes"])
    found = np.array(first["weights"])
    for i in range(2):
        truth = PAYOFF[..., i].ravel()
        # One direction, a constant, is not told.
        np.testing.assert_allclose(found[i] - found[i].mean(), 0.1 * (truth - truth.mean()), atol=1e-7)
    facts = json.loads((run / "run.json").read_text())
    assert facts["command"].startswith("mairl learn i-lola --history")
    assert {"commit", "machine", "versions", "date"} <= set(facts)
    learned = Learned.load(run / "learned")
    assert isinstance(learned.reward, TabularReward)
    assert learned.reward.table.shape == (2, 5, 2, 2, 2)
    main(["evaluate", str(run), "--episodes", "20", "--json"])
    learning = json.loads(capsys.readouterr().out)["learning"]
    assert min(learning["cosines"]) > 1 - 1e-9
    assert min(learning["pearson"]) > 1 - 1e-6
    assert learning["skill_1a"] > 1 - 1e-9
    assert learning["kl_0"] > 1e4 * learning["kl_1b"]
    page = (run / "report.html").read_text()
    assert page.count("<svg") >= 3
    assert "true and recovered rewards" in page


def test_the_wrong_family_is_seen_to_be_wrong(dilemma, tmp_path, capsys):
    """The check above can fail: soft improvement explains nothing here, and says so."""
    run = tmp_path / "run"
    told = summary(capsys, "ma-lfl-state", "--history", dilemma, "-o", run)
    assert told["explained"][0]["skill_1b"] < 0
    assert "predicted no better than by expecting no change: do not trust" in told["explained"][0]["notes"][-1]
    facts, learned = read_run(run)
    learning = explained_run(facts, learned)
    assert learning["skill_1a"] < 0
    said = " ".join(run_sentences(facts, {"learning": learning}))
    assert "another family of learners was at work" in said
    assert "it is their family that is wrong" in said


def test_much_that_is_unexplained_is_said_without_anything_held_out(dilemma, tmp_path, capsys):
    told = summary(capsys, "ma-lfl-state", "--history", dilemma, "-o", tmp_path / "run", "--held-out", 0)
    (first,) = told["explained"]
    assert first["skill_1b"] is None
    assert first["relative_residual"] > UNEXPLAINED
    assert "of the changes are unexplained" in first["notes"][-1]


def test_doubts_are_told_once(tmp_path, capsys):
    """Of learners that learn otherwise I-LOLA doubts its result itself."""
    history = tmp_path / "h"
    save_history(record_exact_learning("iterated-dilemma", "lola-full", transitions=8, look_ahead=40.0), history)
    more = ["--families", "naive"]
    told = summary(capsys, "i-lola", "--history", history, "-o", tmp_path / "run", *more)
    (first,) = told["explained"]
    assert first["relative_residual"] > UNEXPLAINED
    assert first["skill_1b"] < 0
    assert sum("do not trust" in note or "unexplained" in note for note in first["notes"]) == 1
    # Without a look at what was held out its own words stand.
    told = summary(capsys, "i-lola", "--history", history, "-o", tmp_path / "all", "--held-out", 0, *more)
    (first,) = told["explained"]
    assert sum("do not trust" in note or "unexplained" in note for note in first["notes"]) == 1
    assert "naive learners" in first["notes"][-1]


def test_rewards_of_matrix_games_are_sought_in_joint_actions(tmp_path, capsys):
    """One state tells nothing of what its rewards are."""
    history = tmp_path / "h"
    save_history(record_exact_learning("stag-hunt", "lola-taylor", transitions=10), history)
    found = [
        summary(capsys, "i-lola", "--history", history, "-o", tmp_path / str(k), *more)["explained"][0]
        for k, more in enumerate(([], ["--features", "joint"]))
    ]
    for one in found:
        assert (one["family"], one["unknowns"]) == ("lola-taylor", 4)
        assert one["look_ahead"] == pytest.approx(10, rel=1e-6)
    assert found[0]["weights"] == found[1]["weights"]
    assert linear_game("stag-hunt", "state").num_features == 1
    # Where actions change the state, a table of states stays the default.
    assert linear_game("gridworld").num_features == 100


def test_one_step_size_is_that_of_all_steps_and_agents(tmp_path, capsys):
    history = tmp_path / "h"
    save_history(record_exact_learning("iterated-dilemma", "naive", transitions=6, step_size=0.2), history)
    for name in ("logel", "i-logel"):
        one, each = (
            summary(capsys, name, "--history", history, "-o", tmp_path / f"{name}{len(sizes)}", "--step-sizes", *sizes)
            for sizes in ([0.2], [0.2] * 4)
        )
        assert one["explained"][0]["weights"] == each["explained"][0]["weights"]
    # The rewards themselves, not times the step size; only their constant is not told.
    for i, weights in enumerate(one["explained"][0]["weights"]):
        np.testing.assert_allclose(weights, PAYOFF[..., i].ravel() - PAYOFF[..., i].mean(), atol=1e-8)


@pytest.mark.parametrize("name", ["ma-lfl", "logel", "i-logel", "i-lola-cmaes"])
def test_every_method_makes_a_run(dilemma, tmp_path, capsys, name):
    more = ["--evaluations", 160] if name == "i-lola-cmaes" else []
    told = summary(capsys, name, "--history", dilemma, "-o", tmp_path / "run", *more)
    assert np.isfinite(told["explained"][0]["relative_residual"])
    assert (tmp_path / "run" / "report.html").exists()


def test_lfl_explains_one_learner(tmp_path, capsys):
    save_history(record_exact_learning("lfl-grid", "ma-spi", transitions=3), tmp_path / "h")
    more = ["--temperature", 0.3, "--held-out", 1]
    told = summary(capsys, "lfl", "--history", tmp_path / "h", "-o", tmp_path / "run", *more)
    assert told["explained"][0]["skill_1b"] > 1 - 1e-9
    found = Learned.load(tmp_path / "run" / "learned").reward
    assert isinstance(found, TabularReward)
    table = found.table[0, :, 0, 0]
    truth = tabular_game("lfl-grid").tables().reward[:, 0, 0]
    assert np.ptp(np.asarray(table) - truth) < 1e-4


def test_an_interrupted_run_goes_on(dilemma, tmp_path, capsys, monkeypatch):
    import mairl.cli.learn_history as module

    run, calls = tmp_path / "run", []
    real = module.induced_policies

    def stops(tables, rewards, seed):
        calls.append(seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(tables, rewards, seed)

    monkeypatch.setattr(module, "induced_policies", stops)
    arguments = ["--history", str(dilemma), "-o", str(run), "--seeds", "2"]
    with pytest.raises(KeyboardInterrupt):
        learn("i-logel", arguments)
    assert not run.exists()
    with pytest.raises(InvalidData, match="unfinished run: go on with --resume"):
        learn("i-logel", arguments)
    with pytest.raises(InvalidData, match="ask for the same"):
        learn("i-logel", [*arguments, "--resume", "--held-out", "1"])
    learn("i-logel", [*arguments, "--resume"])
    assert calls == [0, 1, 1], "the first seed was kept"
    assert len(json.loads((run / "run.json").read_text())["explained"]) == 2
    with pytest.raises(InvalidData, match="overwrite it on purpose"):
        learn("i-logel", arguments)


def test_errors_of_any_kind_leave_nothing_in_the_way(dilemma, tmp_path, monkeypatch):
    run, arguments = tmp_path / "run", ["--history", str(dilemma), "--quiet", "-o"]
    real = ILOGEL.explain

    def breaks(self, case, seed=0):
        if seed:
            raise ValueError("too many values to unpack")
        return real(self, case, seed)

    monkeypatch.setattr(ILOGEL, "explain", breaks)
    with pytest.raises(ValueError, match="too many values"):
        learn("i-logel", [*arguments, str(run), "--seed", "1"])
    assert list(tmp_path.iterdir()) == []
    # Seeds that are done are kept.
    with pytest.raises(ValueError, match="too many values"):
        learn("i-logel", [*arguments, str(run), "--seeds", "2"])
    assert (tmp_path / "run.partial" / "chunks" / "00000" / "facts.json").exists()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """LOLA learners of the iterated dilemma, of whom only the play is known."""
    seen = record_exact_learning(
        "iterated-dilemma", "lola-taylor", transitions=7, look_ahead=2.0, step_size=0.5, episodes=600
    )
    path = tmp_path_factory.mktemp("recordings") / "h"
    save_history(learning_history(trajectories=seen.trajectories, metadata=seen.metadata), path)
    return path


@pytest.mark.parametrize("name", ["i-lola", "ma-lfl", "ma-lfl-state"])
def test_recordings_alone_are_learned_from(recordings, tmp_path, capsys, name):
    run = tmp_path / "run"
    told = summary(capsys, name, "--history", recordings, "-o", run)
    (first,) = told["explained"]
    assert (first["skill_1b"], first["kl_0"]) == (None, [])
    assert max(first["rank"]) < first["unknowns"]
    assert "policies were not seen" in first["notes"][-1]
    facts = json.loads((run / "run.json").read_text())
    assert facts["held_out_transitions"] == 0
    assert "rewards" in (run / "report.html").read_text()
    if name == "i-lola":
        for i, weights in enumerate(first["weights"]):
            truth = PAYOFF[..., i].ravel()
            assert np.corrcoef(weights, truth)[0, 1] > 0.9


def test_what_recordings_alone_cannot_do_is_said(recordings, tmp_path):
    out = ["--history", str(recordings), "-o", str(tmp_path / "run")]
    with pytest.raises(Unsupported, match="i-logel needs policies: choose among i-lola, ma-lfl and ma-lfl-state"):
        learn("i-logel", out)
    with pytest.raises(InvalidData, match="2 agents, lfl-grid has 1: name the game"):
        learn("i-lola", [*out, "--game", "lfl-grid"])
    assert list(tmp_path.iterdir()) == []


def test_states_that_nobody_visits_tell_nothing():
    tables = tabular_game("lfl-grid").tables()
    counts = np.zeros((3, 1, tables.num_states, tables.num_actions))
    counts[:, :, :4] = 5.0
    (space,) = untold(tables, counts, "state")
    assert space.shape[1] >= tables.num_states - 4
    np.testing.assert_allclose(space @ space.T @ np.eye(tables.num_states)[:, 10], np.eye(tables.num_states)[10])


def test_faults_are_named_with_the_remedy(dilemma, tmp_path):
    out = ["-o", str(tmp_path / "run")]
    short, other = tmp_path / "short", tmp_path / "other"
    save_history(record_exact_learning("iterated-dilemma", "naive", transitions=2), short)
    save_history(learning_history(np.random.default_rng(0).normal(size=(4, 2, 3, 2))), other)
    bad = learning_history(np.concatenate([record_exact_learning("iterated-dilemma", "naive").logits()[::-1]]))
    save_history(bad, tmp_path / "backwards")
    for fault, says, name, arguments in (
        (InvalidData, "2 of them held out.*hold out fewer", "i-logel", ["--history", short]),
        (InvalidData, "2 of them for validation.*observe more", "i-lola", ["--history", short, "--held-out", 0]),
        (InvalidData, "does not say of which game.*--game", "i-logel", ["--history", other]),
        (InvalidGame, r"are \(2, 3, 2\).*the game is", "i-logel", ["--history", other, "--game", "iterated-dilemma"]),
        (InvalidGame, "is no table", "i-logel", ["--history", dilemma, "--game", "gems"]),
        (InvalidData, "is missing", "i-logel", ["--history", tmp_path / "none"]),
        (InvalidData, "0 seeds", "i-logel", ["--history", dilemma, "--seeds", 0]),
        (
            Unsupported,
            "step sizes must be positive",
            "i-logel",
            ["--history", short, "--held-out", 0, "--step-sizes", 1, -1],
        ),
        (InvalidGame, "the game has 2: use ma_lfl", "lfl", ["--history", dilemma]),
        (Unsupported, "positive temperature", "ma-lfl", ["--history", dilemma, "--temperature", 0]),
        (Unsupported, "unknown learner sgd", "i-lola", ["--history", dilemma, "--families", "sgd"]),
    ):
        with pytest.raises(fault, match=says):
            learn(name, [*map(str, arguments), *out])
    assert not (tmp_path / "run.partial").exists()
    with pytest.raises(InvalidData, match=r"name an algorithm first: .*i-lola"):
        learn_command([])


def test_rank_deficient_designs_are_noted(tmp_path, capsys):
    save_history(record_exact_learning("ma-lfl-grid", "naive", transitions=2), tmp_path / "h")
    more = ["--features", "state", "--held-out", 1]
    told = summary(capsys, "i-logel", "--history", tmp_path / "h", "-o", tmp_path / "run", *more)
    assert max(told["explained"][0]["rank"]) < 81
    assert "leave no trace" in told["explained"][0]["notes"][0]
    assert "observe more steps, or tie the reward to fewer features" in told["explained"][0]["notes"][0]


def test_methods_are_described():
    assert list(ABOUT) == list(EXPLAINERS)


def test_features_can_be_everything():
    game = linear_game("iterated-dilemma", "joint")
    assert game.num_features == 20
    table = np.random.default_rng(0).normal(size=(5, 2, 2))
    np.testing.assert_array_equal(game.reward(np.stack([table.ravel()] * 2))[..., 1], table)
    assert linear_game("lfl-grid").num_features == 25
    assert one_hot((3, 2, 1), joint=False).shape == (3, 3)
    nothing = learning_history(np.zeros((2, 2, 81, 5)))
    weights = true_weights(Watched(tabular_game("ma-lfl-grid").tables(), linear_game("ma-lfl-grid"), nothing))
    for one in weights:
        assert one is not None
        np.testing.assert_allclose(one, [-1, 1, 0, 0], atol=1e-9)


def test_what_is_held_out_does_not_change_what_is_found(dilemma):
    """The last transitions are not read: damaging them changes nothing."""
    from mairl.cli.learn_history import split, watched
    from mairl.data.learning_history import load_history

    history = load_history(dilemma)
    logits = history.logits().copy()
    logits[-2:] += 5.0 * np.random.default_rng(0).normal(size=logits[-2:].shape)
    found = []
    for one in (history, learning_history(logits)):
        seen, _ = split(one, 2)
        method = ILOLA(families=("lola-taylor",), look_aheads=(2.0,))
        found.append(method.explain(watched("iterated-dilemma", "game", seen)).weights)
    np.testing.assert_array_equal(*found)
