"""The training loop's edges: stopping early and resuming, the last moments of a run, devices, neighbours, budgets."""

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from test_fit import Cloner

from mairl.algorithms import run_folder, spread
from mairl.algorithms.fit import fit
from mairl.algorithms.spread import seed_mesh
from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games.tabular import random_game

GAME = random_game(0, num_agents=2, num_states=4, num_actions=3, horizon=6)
QUIET = {"evaluations": 3, "episodes": 0}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def demos():
    return record(GAME, UniformPolicy(2, GAME.action_space), jax.random.key(0), num_episodes=20)


def arrays(tree):
    return [np.asarray(x) for x in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(arrays(a), arrays(b)))


def facts(rows):
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in rows]


def kill_at_chunk(monkeypatch, chunk):
    """As a kill between a chunk that is in place and the next."""
    write = run_folder.RunFolder.write_chunk

    def write_then_die(self, number, rows, checkpoint):
        write(self, number, rows, checkpoint)
        if number == chunk:
            raise Killed

    monkeypatch.setattr(run_folder.RunFolder, "write_chunk", write_then_die)


@pytest.mark.parametrize("select", ["heldout", "last"])
def test_patience_stops_and_survives_a_kill_at_any_chunk(demos, tmp_path, select, monkeypatch):
    # Cloning random play overfits: held-out likelihood falls after a while.
    options = {"budget": 400, "evaluations": 40, "episodes": 0, "patience": 4, "held_out": 0.3, "select": select}
    whole = fit(Cloner(), GAME, demos, **options)
    last = max(row["evaluation"] for row in whole.rows)
    scores = [row["heldout_log_likelihood"] for row in whole.rows]
    assert 4 <= last < 39
    assert last - int(np.argmax(scores)) == 4
    for chunk in (last - 2, last):
        out = tmp_path / f"{select}{chunk}"
        with monkeypatch.context() as patch:
            kill_at_chunk(patch, chunk)
            with pytest.raises(Killed):
                fit(Cloner(), GAME, demos, **options, out=out, checkpoint_seconds=0)
        resumed = fit(Cloner(), GAME, demos, **options, out=out, resume=True, checkpoint_seconds=0)
        assert facts(resumed.rows) == facts(whole.rows)
        assert same(resumed.learned, whole.learned)


def test_killed_while_finishing_a_run_loses_nothing(demos, tmp_path, monkeypatch):
    out = tmp_path / "run"
    rename = os.rename

    def die(source, target):
        if Path(target) == out:
            raise Killed
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(Killed):
            fit(Cloner(), GAME, demos, budget=9, out=out, **QUIET)
    assert not out.exists()
    with monkeypatch.context() as patch:
        kill_at_chunk(patch, 2)  # were anything trained again, this would be met
        result = fit(Cloner(), GAME, demos, budget=9, out=out, resume=True, **QUIET)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    assert sorted(p.name for p in out.iterdir() if p.name != "tensorboard") == [
        "learned",
        "metrics.parquet",
        "run.json",
    ]
    assert same(Learned.load(out / "learned"), result.learned)
    assert pq.read_table(out / "metrics.parquet").num_rows == 3


def test_unwritten_chunks_are_swept_away(demos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Path("run")  # as on a command line
    with monkeypatch.context() as patch:
        kill_at_chunk(patch, 0)
        with pytest.raises(Killed):
            fit(Cloner(), GAME, demos, budget=9, out=out, checkpoint_seconds=0, **QUIET)
    half = tmp_path / "run.partial" / "chunks" / "00001.partial"
    half.mkdir()
    (half / "metrics.parquet").write_text("half a fi")
    resumed = fit(Cloner(), GAME, demos, budget=9, out=out, resume=True, **QUIET)
    whole = fit(Cloner(), GAME, demos, budget=9, **QUIET)
    assert facts(resumed.rows) == facts(whole.rows)
    assert same(resumed.learned, whole.learned)


def test_a_seed_does_not_depend_on_its_neighbours(demos):
    beside = fit(Cloner(), GAME, demos, budget=80, seeds=[1, 2, 3], **QUIET).learned
    alone = fit(Cloner(), GAME, demos, budget=80, seeds=[2], **QUIET).learned
    for a, b in zip(arrays(beside), arrays(alone)):
        np.testing.assert_allclose(a[1], b[0], atol=1e-5)


def test_a_start_can_be_used_again(demos):
    first = fit(Cloner(), GAME, demos, budget=5, **QUIET)
    once, twice = (fit(Cloner(), GAME, demos, budget=5, start=first.state, **QUIET) for _ in range(2))
    assert same(once.learned, twice.learned)
    assert not same(first.learned, once.learned)
    assert int(once.state.count[0]) == 10


def test_small_and_impossible_budgets(demos):
    result = fit(Cloner(online=True), GAME, demos, budget=1, **QUIET)
    assert [(row["step"], row["updates"]) for row in result.rows] == [(8, 1)]
    for wrong in ({"budget": 0}, {"budget": 5, "evaluations": 0}):
        with pytest.raises(Unsupported, match="at least 1"):
            fit(Cloner(), GAME, demos, **{"episodes": 0, **wrong})


SCRIPT = """
import sys
import jax
from test_fit import Cloner
from mairl.algorithms.fit import fit
from mairl.core.policy import UniformPolicy
from mairl.data.collect import record
from mairl.games.tabular import random_game
assert len(jax.devices()) == 2
game = random_game(0, num_agents=2, num_states=4, num_actions=3, horizon=6)
demos = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=20)
fit(Cloner(online=True), game, demos, budget=80, seeds=4, evaluations=2, episodes=4, out=sys.argv[1])
"""


def test_two_devices_give_what_one_gives(demos, tmp_path):
    out = tmp_path / "two"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": flags.strip()}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    one = fit(Cloner(online=True), GAME, demos, budget=80, seeds=4, evaluations=2, episodes=4)
    for a, b in zip(arrays(one.learned), arrays(Learned.load(out / "learned"))):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(facts(one.rows), facts(pq.read_table(out / "metrics.parquet").to_pylist())):
        assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize(("seeds", "devices", "used"), [(10, 2, 2), (10, 4, 2), (9, 2, 1), (3, 8, 3), (1, 2, 1)])
def test_as_many_devices_as_divide_the_seeds(seeds, devices, used, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1] * devices)
    monkeypatch.setattr(spread, "Mesh", lambda devices, names: (len(devices), names))
    assert seed_mesh(seeds) == (None if used == 1 else (used, ("seed",)))
