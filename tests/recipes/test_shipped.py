"""Experts that ship are found under every way to write their game's options, and play as well as others' published."""

import json
from importlib.resources import files

import pytest

from mairl.core.errors import Unsupported
from mairl.games import make_game
from mairl.recipes import EXPERTS, has_expert, load_expert
from mairl.recipes.experts import CRAMPED_ROOM_400, episode_returns, recipe_for


@pytest.mark.parametrize(
    "game",
    [
        CRAMPED_ROOM_400,
        "overcooked:horizon=400,layout=cramped_room",
        "overcooked:horizon=400",
        "overcooked:cook_time=20",
        "overcooked",
        "gems:",
    ],
)
def test_found_however_the_options_are_written(game):
    assert has_expert(game)
    assert load_expert(game).policy is not None


@pytest.mark.parametrize(
    "game", ["overcooked:horizon=399", "overcooked:horizon=400,layout=coordination_ring", "gems:purple_reward=6", "go"]
)
def test_other_options_are_another_game(game):
    assert not has_expert(game)
    with pytest.raises(Unsupported, match=f"no expert ships for '{game}'"):
        load_expert(game)


def test_folders_have_names_for_every_file_system():
    for folder in (files("mairl.recipes") / "weights").iterdir():
        assert not set(folder.name) & set('<>:"/\\|?*')
        assert folder.name.replace("@", ":") in EXPERTS


@pytest.mark.parametrize("greedy", [False, True])
def test_cramped_room_is_cooked_in_as_in_published_self_play(greedy):
    """The team's return, 20 a soup, beside self-play PPO and population-based training in Carroll et al. 2019."""
    folder = files("mairl.recipes") / "weights" / CRAMPED_ROOM_400.replace(":", "@")
    facts = json.loads((folder / "evidence.json").read_text())
    team = episode_returns(make_game(CRAMPED_ROOM_400), load_expert(CRAMPED_ROOM_400), 10, greedy, seed=7).sum(1)
    for name in ("PPO self-play", "population-based training"):
        assert team.mean() >= facts["published"][name]["mean"] > 190
    assert abs(team.mean() - facts["team_return_mean"]["greedy" if greedy else "sampled"]) < 5


def test_it_has_a_recipe_of_its_own():
    recipe = recipe_for(CRAMPED_ROOM_400)
    assert recipe is not recipe_for("overcooked")
    assert sum(share for share, _ in recipe.stages) == 1.0
    assert recipe.stages[-1] == (0.5, "")
