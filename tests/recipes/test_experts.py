"""Experts: what ships reaches what its evidence says, and recipes are found by game and by learner."""

import json
from importlib.resources import files

import numpy as np
import pytest

from mairl.algorithms.dqn import DQN
from mairl.algorithms.maddpg import MADDPG
from mairl.algorithms.ppo import PPO
from mairl.core.errors import Unsupported
from mairl.games import make_game
from mairl.networks.social_attention import SocialAttention
from mairl.recipes import load_expert
from mairl.recipes.experts import OTHERS, RECIPES, episode_returns, recipe_for

WEIGHTS = files("mairl.recipes") / "weights"


@pytest.mark.parametrize("kind", ["sampled", "greedy"])
def test_the_attention_expert_crosses_as_the_papers_does(kind):
    """The paper's expert has 1.72 of 2."""
    expert = load_expert("intersection-entities")
    assert isinstance(expert.policy.critic.net, SocialAttention)
    returns = episode_returns(make_game("intersection-entities"), expert, 1000, kind == "greedy").mean(axis=1)
    said = json.loads((WEIGHTS / "intersection-entities" / "evidence.json").read_text())[kind]["return_mean"]
    assert returns.mean() >= 1.72
    # The same episodes: a few may end otherwise where rounding differs.
    np.testing.assert_allclose(returns.mean(), said, atol=0.02)


def test_every_expert_that_ships_says_what_it_reaches():
    for folder in WEIGHTS.iterdir():
        facts = json.loads((folder / "evidence.json").read_text())
        for kind in ("sampled", "greedy"):
            low, high = facts[kind]["return_ci95"]
            assert low <= facts[kind]["return_mean"] <= high
        assert {"command", "commit", "seed", "machine"} <= set(facts)


def test_recipes_are_found_by_game_and_learner():
    assert recipe_for("gems") is RECIPES["gems"]
    assert recipe_for("gems:purple_reward=6", "ppo") is RECIPES["gems"]
    assert recipe_for("gems:purple_reward=6", "maddpg") is OTHERS["gems", "maddpg"]
    for game, learner, kind in (("gems", "dqn", DQN), ("overcooked", "maddpg", MADDPG), ("gridworld", "ppo", PPO)):
        assert isinstance(recipe_for(game, learner).algorithm, kind)
    assert isinstance(recipe_for("intersection-entities").algorithm, DQN)
    assert isinstance(recipe_for("intersection-entities", "ppo").algorithm, PPO)
    with pytest.raises(Unsupported, match="use one of ppo, dqn, maddpg"):
        recipe_for("gems", "bc")
