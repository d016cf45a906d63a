"""What a run was asked for: equal settings are told from others, and nobody goes on with another run's checkpoint."""

import dataclasses

import jax
import pytest

from mairl.algorithms.fit import fit
from mairl.algorithms.mamql import MAMQL
from mairl.algorithms.ppo import PPO
from mairl.algorithms.run_folder import RunFolder
from mairl.algorithms.settings import check_ranges, check_same, differences, digest, plain
from mairl.core.errors import InvalidData, Unsupported
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games import make_game
from mairl.games.tabular import random_game
from mairl.networks.build import NetworkConfig

LINEAR = NetworkConfig(kind="mlp", width=4, depth=0)
BASE = MAMQL(num_envs=2, num_steps=4, batch=8, updates=1, critic_network=LINEAR, reward_network=LINEAR)
GAME = random_game(0, num_states=3, num_actions=2, horizon=5)
DATA = record(GAME, UniformPolicy(2, GAME.action_space), jax.random.key(0), num_episodes=6)
ASKED = {"budget": 32, "seeds": [0, 1], "evaluations": 4, "episodes": 0}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A run that stopped after its second chunk."""
    whole = RunFolder.write_chunk

    def stops(self, chunk, *rest):
        whole(self, chunk, *rest)
        if chunk == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_chunk", stops)
        with pytest.raises(KeyboardInterrupt):
            fit(BASE, GAME, DATA, out=tmp_path / "run", checkpoint_seconds=0.0, **ASKED)
    return tmp_path / "run"


def test_only_the_same_goes_on(broken):
    others = {
        "learning_rate 0.0003, not 0.05": (dataclasses.replace(BASE, learning_rate=0.05), GAME, DATA, {}),
        r"seeds \[0, 1\], not \[7, 8\]": (BASE, GAME, DATA, {"seeds": [7, 8]}),
        "budget 32, not 320": (BASE, GAME, DATA, {"budget": 320}),
        "another recording": (BASE, GAME, dataclasses.replace(DATA, actions=1 - DATA.actions), {}),
        "another game": (BASE, random_game(1, num_states=3, num_actions=2, horizon=5), DATA, {}),
    }
    for said, (algorithm, game, data, asked) in others.items():
        with pytest.raises(InvalidData, match=said):
            fit(algorithm, game, data, out=broken, resume=True, **{**ASKED, **asked})
    result = fit(BASE, GAME, DATA, out=broken, resume=True, **ASKED)
    assert [row["evaluation"] for row in result.rows] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_digests_tell_games_apart():
    assert digest(make_game("gems")) == digest(make_game("gems"))
    names = ("gems", "gems-random", "overcooked", "overcooked-cook5", "intersection", "stag-hunt", "coordination")
    assert len({digest(make_game(name)) for name in names}) == len(names)
    assert digest(GAME) != digest(random_game(1, num_states=3, num_actions=2, horizon=5))
    # Long arrays are cut short when they are printed.
    assert digest(DATA) != digest(dataclasses.replace(DATA, actions=DATA.actions.at[3, 2].set(1 - DATA.actions[3, 2])))


def test_where_objects_lie_in_memory_says_nothing():
    assert plain({"f": object()}) == plain({"f": object()})
    assert differences({"a": {"b": 1}, "old": 2}, {"a": {"b": 2}, "new": 3}) == ["b 1, not 2"]


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        (MAMQL(discount=1.5), "MAMQL's discount must be from 0 to 1, got 1.5"),
        (MAMQL(alpha=-1.0), "alpha must be above 0"),
        (MAMQL(batch=0), "batch must be at least 1"),
        (MAMQL(learning_rate=float("nan")), "learning_rate must be at least 0"),
        (PPO(network=NetworkConfig(width=0)), "NetworkConfig's width must be at least 1"),
    ],
)
def test_fields_out_of_range_are_one_line(algorithm, said):
    with pytest.raises(Unsupported, match=said):
        check_ranges(algorithm)
    with pytest.raises(Unsupported, match=said):
        fit(algorithm, GAME, DATA, budget=8)


@pytest.mark.parametrize(
    "asked", [{"held_out": 1.5}, {"held_out": -0.5}, {"episodes": -1}, {"patience": 0}, {"seeds": [-1]}]
)
def test_so_is_what_else_is_asked_for(asked):
    (name,) = asked
    with pytest.raises(Unsupported, match=name):
        fit(BASE, GAME, DATA, **{"budget": 8, **asked})


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_damaged_file_is_one_line(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(InvalidData, match=r"settings\.json is damaged, the work cannot be gone on with: start anew"):
        check_same(tmp_path / "settings.json", {"budget": 3}, "the work", "start anew")
