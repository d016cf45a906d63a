"""Tables of learning from learners: their rows are measured, and say so."""

import json

import numpy as np
import pytest

from mairl.cli import main
from mairl.cli.reproduce_command import main as reproduce
from mairl.core.errors import InvalidData, Unsupported
from mairl.games.tabular import ma_lfl_grid
from mairl.metrics.explanation import induced_return
from mairl.reproduce import ilola, ilola_figures
from mairl.reproduce.ilola import WEIGHTS, exact_markdown, exact_row, weights_of
from mairl.reproduce.ilola_t1 import make_case, measure, t1


def test_matched_and_mismatched_families():
    matched = exact_row("naive", "naive", 1)
    assert (matched["lambda_true"], matched["lambda_found"]) == (0, 0)
    assert matched["relative_residual"] < 1e-20
    assert min(matched["cosines"]) > 1 - 1e-6
    wrong = exact_row("naive", "ma-spi", 1)
    assert wrong["lambda_found"] is None
    assert wrong["relative_residual"] > 1
    assert min(wrong["cosines"]) < 0.5
    lines = exact_markdown([matched, wrong])
    assert lines[0] == "| learner | naive | ma-spi |"
    assert lines[2].startswith("| naive | 1.000000 (")


@pytest.fixture(scope="module")
def case():
    return make_case("joint", 0)


def test_held_out_transitions_are_not_seen(case):
    assert (case.fitted.history.num_snapshots, case.seen.history.num_snapshots) == (6, 8)
    np.testing.assert_array_equal(case.seen.history.logits()[-1], case.held_out[0])
    assert len(case.held_out) == 3


def test_the_matched_method_predicts_and_the_mismatched_does_not(case):
    right, wrong = measure(case, "ma-lfl-state"), measure(case, "i-logel")
    assert min(right["pearson"]) > 0.999
    assert sum(right["kl_1b"]) < 1e-9 * sum(right["kl_0"])
    assert sum(wrong["kl_1b"]) > sum(wrong["kl_0"])
    # Its truth is no better: the wrong kind of learner, not the wrong reward.
    assert sum(wrong["kl_1a"]) > sum(wrong["kl_0"])
    alone = measure(case, "logel")
    assert sum(alone["kl_1b"]) > sum(alone["kl_0"])


def test_induced_returns_do_not_see_scale_but_sign():
    tables = ma_lfl_grid().tables()
    fair = induced_return(tables, tables.reward, 0)
    assert induced_return(tables, 7 * tables.reward, 1) == pytest.approx(fair, abs=1e-6)
    assert induced_return(tables, -tables.reward, 0) < fair - 5


def test_rows_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "results"
    chosen = ["--table", "t1", "--algorithms", "ma-lfl-state", "true-reward", "--seeds", "2", "--budget", "quick"]
    main(["reproduce", "ilola", *chosen, "-o", str(out), "--json"])
    printed = json.loads(capsys.readouterr().out)
    first, bound = json.loads((out / "t1.json").read_text())
    (sampled,) = json.loads((out / "t1_sampled.json").read_text())
    assert [r["method"] for r in (first, bound, sampled)] == ["ma-lfl-state", "true-reward", "ma-lfl-state"]
    assert [r["protocol"] for r in (first, bound, sampled)] == ["exact", "exact", "sampled"]
    assert set(sampled) >= set(first) - {"family", "look_ahead"}
    assert 0.5 < sampled["pearson"] < first["pearson"]
    assert first["skill_1b"] > 0.9 * first["skill_1a"]
    assert first["induced_return_normalised"] == pytest.approx(1, abs=1e-6)
    assert (bound["pearson"], bound["kl_1b"], bound["skill_1b"]) == (None, None, None)
    assert first["random_return"] < first["expert_return"]
    assert first["command"].startswith("mairl reproduce ilola")
    assert {"commit", "machine", "date"} <= set(first)
    assert {"t1_disjoint", "t1_joint", "pictures"} == set(printed)
    # Tables grow: another method's row joins them, in the table's order.
    t1(out, seeds=1, methods=("logel", "true-reward"), command="again")
    rows = json.loads((out / "t1.json").read_text())
    want = [("ma-lfl-state", 2), ("logel", 1), ("true-reward", 1)]
    assert [(row["method"], row["seeds"]) for row in rows] == want
    drawn = {path.name for path in out.glob("*.svg")}
    assert drawn == {f"{t}_{x}.svg" for t in ("t1", "t1_joint") for x in ("divergences", "induced_returns", "rewards")}
    assert all(path.read_text().startswith("<svg") for path in out.glob("*.svg"))


def test_what_does_not_fit_is_refused(tmp_path):
    for arguments, says in (
        (["ilola", "--table", "1"], "ilola has the tables exact, t1, t2, t3, trajectories"),
        (["ilola", "--figure", "2"], "has no results to draw"),
        (["ilola", "--games", "gems"], "name their games"),
        (["ilola", "--table", "confusion"], "run mairl reproduce ilola --table exact first"),
        (["ilola", "--table", "t1", "--algorithms", "bc"], "there is no bc; there are naive, "),
        (["mamql", "--table", "exact"], "mamql has the tables 1, 2 and transfer, not exact"),
        (["ilola", "--figure", "9"], "ilola has the figures 1 .* and 2 .*, not 9"),
    ):
        with pytest.raises(Unsupported, match=says):
            reproduce([*arguments, "-o", str(tmp_path)])
    for paper, count in (("ilola", 0), ("mamql", -1)):
        with pytest.raises(InvalidData, match=f"{count} seeds: at least one is needed"):
            reproduce([paper, "--seeds", str(count), "-o", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_seeds_of_the_exact_table_want_different_things():
    np.testing.assert_array_equal(weights_of(0), WEIGHTS)
    first, second = weights_of(1)
    assert abs(first @ second) < 0.9 * np.linalg.norm(first) * np.linalg.norm(second)
    np.testing.assert_allclose(np.linalg.norm(weights_of(2), axis=1), np.linalg.norm(WEIGHTS, axis=1))
    assert not np.allclose(weights_of(1), weights_of(2))
    row = exact_row("naive", "naive", 3)
    assert row["relative_residual"] < 1e-20
    assert min(row["cosines"]) > 1 - 1e-6


@pytest.mark.parametrize(("more", "seeds"), [([], 10), (["--budget", "quick"], 1), (["--seeds", "3"], 3)])
def test_the_exact_table_has_ten_seeds(tmp_path, monkeypatch, more, seeds):
    asked = []
    monkeypatch.setattr(ilola, "exact", lambda *_, seeds, **__: asked.append(seeds) or [])
    reproduce(["ilola", "--table", "exact", "-o", str(tmp_path), *more])
    assert asked == [seeds]


def test_a_quick_race_is_quick(tmp_path, monkeypatch):
    races = []

    def race(game, family, form, target, seed, most):
        races.append((family, form, most))
        names = [f"{way}_{what}" for way in ("derivative", "cma") for what in ("seconds", "evaluations", "residual")]
        return dict.fromkeys([*names, "derivative_steps"], 1.0)

    monkeypatch.setattr(ilola_figures, "_race", race)
    for budget, count in (("quick", 1), ("paper", 4)):
        races.clear()
        reproduce(["ilola", "--table", "cma-es", "--budget", budget, "--seeds", "1", "-o", str(tmp_path)])
        assert len(races) == count
        assert {most for *_, most in races} == {400 if budget == "quick" else ilola_figures.CMA_MOST}
