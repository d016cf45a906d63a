"""Runs of `fit` that say little of where they come from: commands are told, or say in one line what to tell them."""

import json

import jax
import pytest

from mairl.algorithms.airl import AIRL
from mairl.algorithms.bc import BC
from mairl.algorithms.fit import fit
from mairl.cli import main
from mairl.cli.transfer_command import result_path
from mairl.core.errors import InvalidData
from mairl.core.policy import UniformPolicy
from mairl.data import store
from mairl.data.collect import record
from mairl.games import make_game
from mairl.games.recorded import RecordedGame
from mairl.networks.build import NetworkConfig

NAME = "coordination"
LEARNER = BC(network=NetworkConfig(kind="mlp", width=8, depth=1))


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    game = make_game(NAME)
    data = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=6)
    folder = tmp_path_factory.mktemp("demos") / "demos"
    store.save(data.observed(game), folder)
    return folder


@pytest.fixture(scope="module")
def bare(tmp_path_factory, demos):
    """A run whose `run.json` names neither game nor recording."""
    out = tmp_path_factory.mktemp("bare") / "run"
    fit(LEARNER, make_game(NAME), store.load(demos), budget=4, evaluations=1, episodes=0, out=out)
    assert not json.loads((out / "run.json").read_text()).get("game")
    return out


@pytest.fixture(scope="module")
def offline(tmp_path_factory, demos):
    out = tmp_path_factory.mktemp("offline") / "run"
    data, facts = store.load(demos), {"game": "none", "demos": str(demos.with_name("gone"))}
    fit(LEARNER, RecordedGame.of(data), data, budget=4, evaluations=1, episodes=0, out=out, describe=facts)
    return out


def fails(capsys, *arguments) -> str:
    """The one line of a command that ends with 2."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert len(err.strip().splitlines()) == 1
    return err


def test_what_is_missing_is_said_in_one_line(bare, capsys, tmp_path):
    for command in (["transfer", bare], ["render", bare, "-o", tmp_path / "x.gif"]):
        assert "does not say in which game it was learned: name it with --game" in fails(capsys, *command)
    for command in (["evaluate", bare], ["export", bare, "-o", tmp_path / "x.onnx", "--format", "onnx"]):
        assert "name one with --game or --demos" in fails(capsys, *command)


def test_a_run_without_a_game_is_said_to_be_one(offline, capsys, tmp_path):
    for command in (["transfer", offline], ["render", offline, "-o", tmp_path / "x.gif"]):
        assert "was learned from a recording alone, without a game" in fails(capsys, *command)
    assert "which is gone" in fails(capsys, "evaluate", offline)
    assert "--demos" in fails(capsys, "evaluate", offline)


def test_commands_are_told(bare, offline, demos, capsys, tmp_path):
    main(["evaluate", str(bare), "--episodes", "4", "--game", NAME, "--demos", str(demos), "--json"])
    measured = json.loads(capsys.readouterr().out)
    assert measured["game"] == NAME
    assert {"returns", "behaviour"} <= set(measured)
    main(["evaluate", str(offline), "--demos", str(demos), "--json"])
    assert "behaviour" in json.loads(capsys.readouterr().out)
    assert "nowhere is no recording" in fails(capsys, "evaluate", bare, "--demos", "nowhere")
    main(["render", str(bare), "-o", str(tmp_path / "x.gif"), "--game", NAME])
    assert (tmp_path / "x.gif").read_bytes()[:4] == b"GIF8"
    for command in (["evaluate", bare], ["render", bare, "-o", tmp_path / "y.gif"]):
        assert "cannot act in gems" in fails(capsys, *command, "--game", "gems")


def test_numpy_needs_no_game(bare, capsys, tmp_path):
    main(["export", str(bare), "-o", str(tmp_path / "alone"), "--json"])
    assert json.loads(capsys.readouterr().out)["agents"] == 2


def test_transfer_is_told_and_keeps_its_result(demos, tmp_path, capsys):
    run = tmp_path / "run"
    fit(AIRL(), make_game(NAME), store.load(demos), budget=8, evaluations=1, episodes=0, out=run)
    told = f"{NAME}:horizon=6"
    main(["transfer", str(run), "--game", told, "--budget", "8", "--episodes", "4", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["game"] == told
    assert found["discount"] == AIRL().ppo.discount
    # Each by the recovered reward: what fresh agents earn, and what the learned policy does.
    assert len(found["recovered_return_per_seed"]) == len(found["recovered_return_of_the_learned_policies"]) == 1
    assert json.loads((run / f"transfer-{NAME}_horizon=6.json").read_text())["game"] == told
    assert "cannot act in gems" in fails(capsys, "transfer", run, "--game", "gems", "--budget", "8")
    assert "1 with 1 seeds" in fails(capsys, "transfer", run, "--game", told, "--budget", "8", "--caution", "1")


def test_a_cautious_transfer_is_a_result_of_its_own(demos, tmp_path, capsys):
    run = tmp_path / "run"
    facts = {"game": NAME}
    fit(
        AIRL(),
        make_game(NAME),
        store.load(demos),
        budget=8,
        seeds=2,
        evaluations=1,
        episodes=0,
        out=run,
        describe=facts,
    )
    main(["transfer", str(run), "--budget", "8", "--episodes", "4", "--caution", "0.5", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["caution"], found["seeds"], len(found["per_seed"])) == (0.5, 2, 2)
    assert json.loads((run / f"transfer-{NAME},caution=0.5.json").read_text()) == found
    assert "it is a number from 0" in fails(capsys, "transfer", run, "--caution=-1")


def test_results_have_names_that_files_can_have(tmp_path):
    assert result_path(tmp_path, "overcooked:cook_time=5").name == "transfer-overcooked_cook_time=5.json"
    names = [f"overcooked:layout=XXPXX/O  2O/X1 {c}X/XDXSX,horizon=50" for c in " /"] + ["driving:worlds=/" + "x" * 400]
    paths = [result_path(tmp_path, n) for n in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        path.write_text("{}")
        assert path.parent == tmp_path


def test_a_run_that_cannot_be_written_to_is_found_out_first(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InvalidData, match="cannot be written to"):
        result_path(tmp_path, "gems")
