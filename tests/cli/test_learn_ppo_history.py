"""`mairl learn … --history` of PPO's recorded updates: from a recording to a run that can be evaluated."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.dqn import DQN
from mairl.algorithms.explain import ABOUT
from mairl.algorithms.explain_ppo import METHODS
from mairl.algorithms.ppo_paid import FreeReward
from mairl.algorithms.ppo_record import ppo_record
from mairl.cli import main
from mairl.cli.learn_history import main as learn
from mairl.cli.learn_ppo_history import explained as as_facts
from mairl.cli.learn_ppo_history import untold_of_all
from mairl.core.errors import InvalidData, InvalidGame, Unsupported
from mairl.core.learned import Learned
from mairl.data.learning_history import learning_history, load_history, save_history
from mairl.games import make_game
from mairl.recipes.experts import RECIPES
from mairl.recipes.recording import record_learning

STEPS = 9_600


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """PPO learners of Simple Spread, fewer at a time and smaller than the recipe's."""
    folder, usual = tmp_path_factory.mktemp("ppo"), RECIPES["simple-spread"]
    ppo: Any = usual.algorithm
    small = dataclasses.replace(ppo, num_envs=16, network=dataclasses.replace(ppo.network, width=16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "simple-spread", dataclasses.replace(usual, algorithm=small))
        history, _ = record_learning("simple-spread", folder / "work", budget=STEPS, snapshots=5)
    save_history(history, folder / "history")
    return folder / "history"


@pytest.fixture(scope="module")
def explained(spread, tmp_path_factory):
    """A run by I-LOGEL, evaluated."""
    run = tmp_path_factory.mktemp("ppo-run") / "run"
    main(["learn", "i-logel", "--history", str(spread), "-o", str(run), "--seeds", "2", "--quiet"])
    main(["evaluate", str(run), "--episodes", "20"])
    return run


def test_every_method_is_one_of_the_commands():
    assert set(METHODS) == set(ABOUT) - {"lfl"}


def test_the_run_says_what_was_found(explained, spread):
    facts = json.loads((explained / "run.json").read_text())
    names = make_game("simple-spread").feature_names()
    assert facts["learners"] == "ppo"
    assert facts["seeds"] == [0, 1]
    for one in facts["explained"]:
        assert one["feature_names"] == list(names)
        assert np.array(one["weights"]).shape == (3, len(names))
        assert one["induced"] == load_history(spread).metadata.facts()["env_steps"]
        assert len(one["kl_0"]) == len(one["kl_1b"]) == facts["held_out_transitions"] == 2
        assert one["skill_1b"] == pytest.approx(1 - sum(one["kl_1b"]) / sum(one["kl_0"]))
        # What did not vary is paid nothing, and is named.
        unused = [name for k, name in enumerate(names) if not np.any(np.array(one["weights"])[:, k])]
        assert one["rank"] == [len(names) - len(unused)] * 3
        assert all(name in " ".join(one["notes"]) for name in unused)
    learned = Learned.load(explained / "learned", 1)
    assert {x.shape[0] for x in jax.tree.leaves(learned.policy) if hasattr(x, "shape")} == {3}
    assert not explained.with_name("run.partial").exists()


def test_the_run_is_held_against_the_truth(explained, capsys):
    main(["evaluate", str(explained), "--episodes", "20", "--json"])
    learning = json.loads(capsys.readouterr().out)["learning"]
    assert learning["skill_1b"] == pytest.approx(1 - learning["kl_1b"] / learning["kl_0"])
    assert learning["kl_1a"] != learning["kl_1b"]
    assert all(-1 <= x <= 1 for x in learning["pearson"])
    assert all(-1 <= x <= 1 for x in learning["cosines"])
    assert len(set(learning["per_seed_induced_return"])) == 2
    page = (explained / "report.html").read_text()
    assert "weights of the features of rewards" in page
    assert "returns of agents trained on recovered rewards" in page


def test_what_play_does_not_tell_is_said_of_all_features():
    case: Any = SimpleNamespace(used=(0, 2), unused=(1,))
    space = [[0.6], [0.8]]
    np.testing.assert_allclose(untold_of_all(case, np.array(space)), [[0.6, 0], [0, 1], [0.8, 0]])
    world: Any = SimpleNamespace(feature_names=lambda: ("a", "b", "c"), num_agents=1)
    figures = {"kl_1b": [1.0], "kl_0": [2.0], "relative_residual": [0.1], "null_space": [space]}
    facts = as_facts(world, case, figures)
    assert facts["rank"] == [1]
    assert np.shape(facts["null_space"]) == (1, 3, 2)
    assert "b: the same in all recorded play" in facts["notes"][0]
    assert "1 combination(s)" in facts["notes"][1]


def test_a_reward_of_what_agents_see_and_do(spread, tmp_path, capsys):
    run = tmp_path / "run"
    main(["learn", "ma-lfl", "--history", str(spread), "-o", str(run), "--induced", "0", "--quiet"])
    learned, game = Learned.load(run / "learned", 0), make_game("simple-spread")
    assert isinstance(learned.reward, FreeReward)
    obs = jnp.ones((3, *game.observation_spec.shape))
    paid = learned.reward(obs, jnp.arange(3), obs, jnp.zeros(3, bool))
    assert paid.shape == (3,)
    assert np.ptp(paid) > 0
    # Without fresh agents the policies are the learners' last ones.
    updates = load_history(spread).updates
    assert updates is not None
    for mine, theirs in zip(jax.tree.leaves(learned.policy), jax.tree.leaves(updates.after), strict=True):
        np.testing.assert_array_equal(mine, theirs[-1])
    capsys.readouterr()
    main(["evaluate", str(run), "--episodes", "20", "--json"])
    learning = json.loads(capsys.readouterr().out)["learning"]
    assert "induced_return" not in learning
    assert learning["skill_1a"] is not None
    assert "no fresh agents" in (run / "report.html").read_text()


def test_another_game_is_refused(spread, tmp_path):
    for game in ("coin-game", "simple-spread:agents=2", "gems"):
        with pytest.raises(InvalidGame, match=r"the history is of simple-spread, .*leave --game out"):
            learn("i-lola", ["--history", str(spread), "--game", game, "-o", str(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_repeated_is_named_with_what_can(spread, tmp_path):
    history = load_history(spread)
    updates = history.updates
    assert updates is not None
    for changed, error, said in (
        ({"features": None}, Unsupported, "reward of simple-spread is not made of any: take .*coin-game.*lola-taylor"),
        (
            {"learner": DQN()},
            Unsupported,
            "history of DQN, whose .* record PPO in .*or in a table",
        ),
        ({"keys": None}, InvalidData, "cannot be repeated, keys are missing: record them anew"),
    ):
        other = dataclasses.replace(history, updates=dataclasses.replace(updates, **changed))
        save_history(other, tmp_path / "h", overwrite=True)
        with pytest.raises(error, match=said):
            learn("i-lola", ["--history", str(tmp_path / "h"), "-o", str(tmp_path / "run")])
    with pytest.raises(InvalidData, match="this history has no updates, PPO's are repeated here"):
        ppo_record(learning_history(history.policies), make_game("simple-spread"))
    assert [path.name for path in tmp_path.iterdir()] == ["h"]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["lfl"], Unsupported, "choose among ma-lfl"),
        (["i-logel", "--features", "state"], Unsupported, "for learners of tables"),
        (["i-logel", "--no-known"], Unsupported, "for learners of tables"),
        (["i-logel", "--held-out", "5"], InvalidData, "5 of them held out"),
        (["i-logel", "--induced", "-1"], InvalidData, "--induced -1"),
    ],
)
def test_what_cannot_be_explained_is_said_and_leaves_nothing(spread, tmp_path, arguments, error, said):
    with pytest.raises(error, match=said):
        learn(arguments[0], [*arguments[1:], "--history", str(spread), "-o", str(tmp_path / "run")])
    assert list(tmp_path.iterdir()) == []
