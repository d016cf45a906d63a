"""Results that grow over several commands, and ratios between them."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.algorithms.run_folder import write_rows
from mairl.cli import main
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.games import make_game
from mairl.metrics.transfer import Transfer
from mairl.networks.build import NetworkConfig, per_agent_network
from mairl.networks.rewards import ActionReward
from mairl.reproduce import mamql, mamql_shares, mamql_transfer
from mairl.reproduce.mamql import FIGURE2_KEYS, markdown, merge_rows
from mairl.reproduce.mamql_curves import curves, ratios, write_curves


def row(algorithm, game, mean):
    return {
        **{"algorithm": algorithm, "game": game, "seeds": 2, "return_mean": mean, "return_ci95": [mean - 1, mean + 1]},
        **{"share_of_expert": mean / 20, "episodes_to_converge": 300.0},
    }


def make_run(folder, algorithm, game, kls, kind="greedy", steps=20_000):
    """A finished run as far as figures read it: two evaluations, the second one with `kls` by seed."""
    run = folder / "runs" / f"{algorithm}-{game}-{kind}-{steps}"
    run.mkdir(parents=True)
    facts = {"algorithm_id": algorithm, "game": game, "demo_steps": steps, "commit": "abc"}
    (run / "run.json").write_text(json.dumps(facts))
    rows = [
        {"seed": s, "evaluation": e, "episodes": 10 * e, "updates": e, "behaviour/kl": kl if e else 9.0}
        for e in (0, 1)
        for s, kl in enumerate(kls)
    ]
    write_rows(rows, run / "metrics.parquet")


def test_a_row_replaces_its_like_and_leaves_the_others(tmp_path):
    path = tmp_path / "table1.json"
    merge_rows(path, [row("mamql", "gems", 1.0), row("bc", "overcooked", 2.0)])
    merge_rows(path, [row("mamql", "gems", 3.0), row("bc", "gems", 4.0)])
    found = [(r["game"], r["algorithm"], r["return_mean"]) for r in json.loads(path.read_text())]
    assert found == [("gems", "bc", 4.0), ("gems", "mamql", 3.0), ("overcooked", "bc", 2.0)]


def test_points_of_figure_2_differ_by_their_recording(tmp_path):
    path = tmp_path / "figure2.json"
    merge_rows(path, [row("mamql", "gems", 1.0) | {"demo_steps": n} for n in (2_000, 500)], FIGURE2_KEYS)
    merge_rows(path, [row("mamql", "gems", 2.0) | {"demo_steps": 500}], FIGURE2_KEYS)
    assert [(r["demo_steps"], r["return_mean"]) for r in json.loads(path.read_text())] == [(500, 2.0), (2_000, 1.0)]


def test_the_table_shows_published_numbers_beside_ours():
    line = markdown([row("mamql", "gems", 18.0)])[-1]
    assert "18.00 [17.00, 19.00]" in line
    assert "13.05 (0.905)" in line
    assert line.rstrip("| ").endswith("13000")


def test_the_expert_is_measured_in_the_very_episodes_of_each_seed():
    """The expert's own return differs between draws of layouts, by as much as what learners are short of it."""
    expert = mamql_shares.expert_returns("gems-random", (0, 1, 2), 40, False)
    assert expert.std() > 0.01
    one = row("mamql", "gems-random", 0.0) | {"return_per_seed": (expert - 0.5).tolist(), "final_episodes": 40}
    found = mamql_shares.against_expert(one, False)
    assert found["expert_return"] == pytest.approx(expert.mean())
    assert found["share_of_expert"] == pytest.approx(1 - 0.5 / expert.mean())
    assert found["share_ci95"] == pytest.approx([found["share_of_expert"]] * 2), "as far below in every seed"


def test_shares_are_shown_with_their_interval():
    line = markdown([row("mamql", "gems", 18.0) | {"share_of_expert": 0.97, "share_ci95": [0.96, 0.98]}])[-1]
    assert "| 0.970 [0.960, 0.980] |" in line


def test_curves_are_of_greedy_experts_whole_recordings(tmp_path):
    make_run(tmp_path, "mamql", "gems", [0.1, 0.3])
    make_run(tmp_path, "bc", "gems", [1.0, 1.0], steps=500)
    make_run(tmp_path, "iq-independent", "gems", [1.0, 1.0], kind="stochastic")
    (only,) = curves(tmp_path, ("behaviour/kl",))
    assert only["algorithm"] == "mamql"
    assert only["last_per_seed"] == [0.1, 0.3]
    assert [p["mean"] for p in only["points"]] == pytest.approx([9.0, 0.2])


def test_ratios_are_of_means_over_seeds():
    def series(algorithm, values, measure="behaviour/kl"):
        return {"algorithm": algorithm, "game": "gems", "measure": measure, "last_per_seed": values}

    (found,) = ratios([series("mamql", [0.1, 0.3]), series("bc", [4.0, 6.0]), series("bc", [1.0], "reward/pearson")])
    assert found["ratio"] == pytest.approx(25)
    low, high = found["ci95"]
    assert (low, high) == (pytest.approx(4 / 0.3), pytest.approx(6 / 0.1)), "the extremes of so few seeds"
    assert ratios([series("bc", [1.0])]) == []
    assert ratios([series("mamql", [np.nan]), series("bc", [1.0])]) == []


def test_series_outlive_their_runs(tmp_path):
    make_run(tmp_path / "first", "mamql", "gems", [0.1, 0.3])
    write_curves(tmp_path / "first")
    (tmp_path / "second").mkdir()
    (tmp_path / "first" / "figure4.json").rename(tmp_path / "second" / "figure4.json")
    make_run(tmp_path / "second", "bc", "gems", [1.0, 1.0])
    result = write_curves(tmp_path / "second")
    assert [s["algorithm"] for s in result["figure4"]] == ["bc", "mamql"]
    assert json.loads((tmp_path / "second" / "ratios.json").read_text())[0]["ratio"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--games", "coordination"), "no coordination in the tables; there are gems"),
        (("--algorithms", "gail"), "no gail in the tables; there are bc"),
        (("--figure", "5"), "figures 2, 3 and 4, not 5"),
        (("--figure", "2", "--stochastic"), "--stochastic is for --table 1"),
    ],
)
def test_what_the_paper_does_not_have_is_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "mamql", "-o", str(tmp_path / "results"), *arguments])
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "results").exists()


def test_progress_is_not_on_standard_output(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mamql, "demonstrations_for", lambda *_: tmp_path)
    monkeypatch.setattr(mamql.store, "load", lambda _: None)
    monkeypatch.setattr(mamql, "fit", lambda *_, **__: None)
    options = {"folder": tmp_path, "seeds": 1, "budget": mamql.BUDGETS["quick"], "stochastic": False, "command": ""}
    mamql.run_job("bc", "coordination", 10, **options)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("bc on coordination: ")


def test_the_transfer_table_grows_and_keeps_what_it_has(tmp_path, monkeypatch, capsys):
    game = make_game("gems")
    net = per_agent_network(game, 5, NetworkConfig(kind="mlp", width=4, depth=1), jax.random.key(0))
    reward = ActionReward(net, jnp.ones(2))
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]) if eqx.is_array(x) else x, reward)
    run = tmp_path / "run"
    Learned(UniformPolicy(2, game.action_space), stacked).save(run / "learned")
    (run / "run.json").write_text(json.dumps({"algorithm": {"config": {"discount": 0.9}}}))
    asked = []

    def fake(game, payments, policies, learner, *, discount, **_):
        asked.append([type(p).__name__ for p in payments])
        assert discount == 0.9
        return Transfer([8.0, 9.0], [1.0, 1.0], [2.0, 2.0])

    monkeypatch.setattr(mamql_transfer, "run_job", lambda *_, **__: run)
    monkeypatch.setattr(mamql_transfer, "transfer", fake)
    monkeypatch.setattr(mamql_transfer, "yardsticks", lambda *_, **__: (16.5, 0.5))
    arguments = ["reproduce", "mamql", "--table", "transfer", "-o", str(tmp_path), "--games", "gems", "--seeds", "2"]
    for algorithms in (["mamql"], ["mamql", "ma-airl"]):
        main([*arguments, "--algorithms", *algorithms, "--json"])
    rows = json.loads((tmp_path / "transfer.json").read_text())
    rows = sorted(rows, key=lambda r: r["algorithm"] == "ma-airl")
    # The second command makes the rows of the second algorithm only.
    assert asked == [["ActionReward"] * 2, ["CautiousReward"] * 2] * 2
    assert [(r["algorithm"], r["caution"], r["normalised"]) for r in rows] == [
        (name, caution, 0.5) for name in ("mamql", "ma-airl") for caution in (None, 1.0)
    ]
    with pytest.raises(SystemExit):
        main([*arguments, "--algorithms", "bc"])
    assert "there is no bc in the tables" in " ".join(capsys.readouterr().err.split())
