"""Experts of tables: equilibria, from the command line to exact exploitability."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core.errors import Unsupported
from mairl.games import make_game
from mairl.games.tabular import TabularGame
from mairl.metrics.exploitability import policy_tables
from mairl.ops.equilibrium import action_values, soft_response
from mairl.recipes import has_expert, load_expert
from mairl.recipes.equilibrium import RATIONALITY, equilibrium_expert


@pytest.mark.parametrize("name", RATIONALITY)
def test_each_agent_answers_softly_and_best(name):
    """π_i = softmax(λ Q̄_i) with Q̄ made from the expert's own play; the values by iteration, not by the solver."""
    game, rationality = make_game(name), RATIONALITY[name]
    assert isinstance(game, TabularGame)
    assert has_expert(name)
    tables, policies = game.tables(), policy_tables(game, load_expert(name).policy)
    policies /= policies.sum(-1, keepdims=True)
    values = np.zeros(policies.shape[:2])
    for _ in range(400):
        answer, values = soft_response(action_values(tables, policies, values), rationality)
        values[:, tables.terminal] = 0
    reached = ~tables.terminal
    np.testing.assert_allclose(answer[:, reached], policies[:, reached], atol=2e-4)


def test_options_change_the_expert():
    short, long = (load_expert(f"gridworld:discount={g}").policy for g in (0.5, 0.95))
    seen = jnp.eye(make_game("gridworld").num_states)[:2]
    assert not np.allclose(*(jax.nn.softmax(p.logits(seen)) for p in (short, long)), atol=0.01)


def test_other_games_have_none():
    with pytest.raises(Unsupported, match="not in gems"):
        equilibrium_expert("gems")


def test_from_the_command_line_to_exact_exploitability(tmp_path, capsys):
    from mairl.cli import main

    demos, run = str(tmp_path / "demos"), str(tmp_path / "run")
    main(["expert", "stag-hunt", "-o", demos, "--steps", "400"])
    main(["learn", "bc", "--demos", demos, "-o", run, "--seeds", "2", "--budget", "40", "--quiet"])
    capsys.readouterr()
    main(["evaluate", run, "--episodes", "50", "--json"])
    result = json.loads(capsys.readouterr().out)["exploitability"]
    assert result["kind"] == "exact, discounted"
    # A logit equilibrium's copy can be improved upon, by less than the best payoff (4) in each of ten discounted steps.
    assert len(result["per_seed"]) == 2
    assert all(0 < gap < 4 * (1 - 0.9**10) / 0.1 for gap in result["per_seed"])
