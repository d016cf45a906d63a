"""Tables of recordings: three formats, long and wide, and what is wrong with them in one line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mairl.cli import main
from mairl.core.errors import InvalidData
from mairl.data.table import Mapping, read_table

LONG = Mapping(obs=("obs_*",), agent="who", reward="pay")


def long_table():
    """Two episodes of 3 and 2 steps, two agents; obs = (episode, step + agent)."""
    rows = [(e, t, a) for e, n in (("b", 3), ("a", 2)) for t in range(n) for a in ("left", "right")]
    return {
        "episode": [r[0] for r in rows],
        "step": [r[1] for r in rows],
        "who": [r[2] for r in rows],
        "obs_x": [float(r[0] == "b") for r in rows],
        "obs_y": [float(r[1] + (r[2] == "right")) for r in rows],
        "action": [(r[1] + (r[2] == "right")) % 3 for r in rows],
        "pay": [0.5 * r[1] for r in rows],
    }


def write(table, path, kind):
    if kind == "csv":
        pa.csv.write_csv(pa.table(table), path)
    elif kind == "parquet":
        pq.write_table(pa.table(table), path)
    else:
        np.savez(path, **{k: np.array(v) for k, v in table.items()})
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_long_tables_by_hand(tmp_path, kind):
    data = read_table([write(long_table(), tmp_path / f"play.{'npz' if kind == 'npz' else 'txt'}", kind)], LONG)
    assert np.asarray(data.lengths).tolist() == [3, 2]
    assert np.asarray(data.actions[0]).tolist() == [[0, 1], [1, 2], [2, 0]]
    np.testing.assert_array_equal(data.obs[0, :, 1], [[1, 1], [1, 2], [1, 3], [1, 3]])
    assert np.asarray(data.true_reward[1, :2, 0]).tolist() == [0.0, 0.5]
    assert np.asarray(data.truncated).tolist() == [[False, False, True], [False, True, False]]
    assert not np.asarray(data.terminated).any()


def test_wide_tables_and_vector_actions(tmp_path):
    table = {"episode": [0, 0], "step": [7, 8], "p0": [1.0, 2.0], "p1": [3.0, 4.0]}
    table |= {f"u{i}_{k}": [0.1 * i + k, 0.2] for i in range(2) for k in range(2)} | {"done0": [0, 1], "done1": [0, 1]}
    mapping = Mapping(obs=("p{agent}",), action=("u{agent}_*",), agents=2, terminated="done{agent}")
    data = read_table([write(table, tmp_path / "wide", "parquet")], mapping)
    assert data.actions.shape == (1, 2, 2, 2)
    np.testing.assert_allclose(data.actions[0, 0, 1], [0.1, 1.1])
    assert np.asarray(data.terminated[0, 1]).all()
    assert not np.asarray(data.truncated).any()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda t: t.update(obs_x=[float("nan"), *t["obs_x"][1:]]), "not finite in 1 of"),
        (lambda t: t.update(step=[5 if s == 2 else s for s in t["step"]]), "step 1 is followed by 5"),
        (lambda t: t.update(act=t.pop("action")), "did you mean 'act'"),
        (lambda t: t.update(action=["up"] * len(t["action"])), "holds text"),
        (lambda t: [v.pop() for v in t.values()], "every agent needs a row for every step"),
        (lambda t: t.update(action=[-1, *t["action"][1:]]), "out of range"),
    ],
    ids=["nan", "gap", "missing column", "text", "agents differ", "negative action"],
)
def test_faults_are_named(tmp_path, fault, said):
    table = long_table()
    fault(table)
    with pytest.raises(InvalidData, match=said):
        read_table([write(table, tmp_path / "play", "parquet")], LONG)


def test_actions_beyond_the_stated_number_are_refused(tmp_path):
    path = write(long_table(), tmp_path / "play", "csv")
    with pytest.raises(InvalidData, match="0 … 1"):
        read_table([path], Mapping(obs=("obs_*",), agent="who", num_actions=2))


def test_a_cut_file_is_one_error(tmp_path):
    path = write(long_table(), tmp_path / "play", "parquet")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InvalidData, match="no CSV, NPZ or Parquet"):
        read_table([path], LONG)


def test_a_table_is_learned_from_without_a_game(tmp_path, capsys):
    generator = np.random.default_rng(0)
    rows = [(e, t) for e in range(30) for t in range(10)]
    x = generator.normal(size=(len(rows), 2))
    table = {"episode": [r[0] for r in rows], "step": [r[1] for r in rows]}
    table |= {f"x{i}": x[:, i] for i in range(2)} | {f"a{i}": (x[:, i] > 0).astype(int) for i in range(2)}
    path = write(table, tmp_path / "play.csv", "csv")
    store = tmp_path / "store"
    main(["data", "import", "table", str(path), "-o", str(store), "--obs", "x{agent}", "--action", "a{agent}",
          "--agents", "2", "--json"])  # fmt: skip
    assert json.loads(capsys.readouterr().out)["steps"] == 300
    for name, extra in (("bc", []), ("mamql", ["--offline", "--value-term", "expert", "--learning-rate", "0.01"])):
        run = tmp_path / name
        small = ["--budget", "150", "--evaluations", "2", "--quiet", "--json"]
        main(["learn", name, "--game", "none", "--demos", str(store), "-o", str(run), *small, *extra])
        last = json.loads(capsys.readouterr().out)["last"][-1]
        assert last["heldout_log_likelihood"] > -0.45  # chance is -0.69
        main(["evaluate", str(run), "--json"])
        measured = json.loads(capsys.readouterr().out)
        assert measured["behaviour"]["disagreement"]["mean"] < 0.2
