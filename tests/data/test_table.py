"""Tables of recordings: three formats, long and wide, and what is wrong with them in one line."""

import contextlib
import dataclasses
import json

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mairl.cli import main
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.core.spaces import Discrete
from mairl.data import store
from mairl.data.table import Mapping, read_table
from mairl.games.recorded import RecordedGame

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
        (lambda t: [v.pop(0) for v in t.values()], "every agent needs a row for every step"),
        (lambda t: t.update(action=[-1, *t["action"][1:]]), "out of range"),
        (
            lambda t: t.update(
                episode=["c" if e == "a" and w == "right" else e for e, w in zip(t["episode"], t["who"])]
            ),
            "episode a has no rows of agent right",
        ),
        (lambda t: [v.pop(2) for v in t.values()], "agent left, episode b: step 0 is followed by 2"),
        (lambda t: t.update(who=[None, *t["who"][1:]]), "column 'who' is missing in 1 of 10"),
        (lambda t: t.update(obs_x=[1e300, *t["obs_x"][1:]]), "too large or not finite in 1 of"),
        (lambda t: t.update(action=[1e300, *t["action"][1:]]), "too large or not finite in 1 of"),
        (lambda t: t.update(action=[3_000_000_000, *t["action"][1:]]), "agent 0: 3000000000; allowed: 0 … 2147483647"),
        (
            lambda t: t.update(obs_z=[[0.0] * k for k in range(10)]),
            r"lists in column 'obs_z' differ in length \(0, 1, ",
        ),
    ],
    ids=[
        "nan",
        "gap",
        "missing column",
        "text",
        "agents differ",
        "negative action",
        "episodes differ",
        "hole",
        "no agent",
        "large obs",
        "large action",
        "wrapped action",
        "uneven lists",
    ],
)
def test_faults_are_named(tmp_path, fault, said):
    table = long_table()
    fault(table)
    with pytest.raises(InvalidData, match=said):
        read_table([write(table, tmp_path / "play", "parquet")], LONG)


def test_agents_are_joined_by_episode_whatever_the_order_of_rows(tmp_path):
    table = long_table()
    want = read_table([write(table, tmp_path / "play", "csv")], LONG)
    # All rows of left first; then right's, with episode a before b.
    order = sorted(range(10), key=lambda k: (table["who"][k], table["who"][k] == "right" and table["episode"][k]))
    shuffled = {name: [values[k] for k in order] for name, values in table.items()}
    assert shuffled["episode"] != sorted(shuffled["episode"], reverse=True)
    data = read_table([write(shuffled, tmp_path / "shuffled", "csv")], LONG)
    for have, wanted in zip(jax.tree.leaves(data), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(have, wanted)


def test_an_agent_that_leaves_early_takes_no_part(tmp_path):
    table = long_table() | {"done": [0, 0, 0, 1, 0, 0, 0, 0, 1, 1]}
    for values in table.values():
        values.pop(5)  # Right's last step of episode b: it was done the step before.
    mapping = dataclasses.replace(LONG, terminated="done")
    data = read_table([write(table, tmp_path / "play", "csv")], mapping)
    assert np.asarray(data.mask[0]).tolist() == [[True, True], [True, True], [True, False]]
    assert np.asarray(data.terminated[0]).tolist() == [[False, False], [False, True], [False, True]]
    assert np.asarray(data.truncated).tolist() == [[False, False, True], [False, False, False]]
    np.testing.assert_array_equal(data.obs[0, :, 1], [[1, 1], [1, 2], [1, 2], [0, 0]])
    with pytest.raises(InvalidData, match="the number of rows is 2, and 3 for others"):
        read_table([tmp_path / "play"], dataclasses.replace(mapping, step=""))


def test_rows_after_the_end_are_refused(tmp_path):
    table = long_table() | {"done": [0, 0, 1, 1, 1, 1, 0, 0, 1, 1]}
    with pytest.raises(InvalidData, match=r"'done' ends episode b in step 1, but rows of it follow \(2 such"):
        read_table([write(table, tmp_path / "play", "csv")], dataclasses.replace(LONG, terminated="done"))


def test_agents_are_sorted_as_people_count(tmp_path):
    names = [f"agent_{k}" for k in range(12)]
    table = {"episode": [0] * 12, "step": [0] * 12, "who": names[::-1], "obs": list(range(12))[::-1]}
    data = read_table([write(table | {"action": [0] * 12}, tmp_path / "t", "csv")], Mapping(agent="who"))
    np.testing.assert_array_equal(data.obs[0, 0, :, 0], np.arange(12))
    assert data.metadata.facts()["agent_names"] == names


def test_actions_beyond_the_stated_number_are_refused(tmp_path):
    path = write(long_table(), tmp_path / "play", "csv")
    with pytest.raises(InvalidData, match="0 … 1"):
        read_table([path], Mapping(obs=("obs_*",), agent="who", num_actions=2))
    with pytest.raises(InvalidData, match="agents is 0: choose 1 or more"):
        read_table([path], Mapping(agents=0))
    with pytest.raises(InvalidData, match="num_actions is 2, but the actions are vectors"):
        read_table([path], Mapping(obs=("obs_*",), agent="who", num_actions=2, continuous=True))


def test_vectors_of_any_agent_and_on_demand(tmp_path):
    table = long_table()
    table["action"] = [0.5 if who == "right" else 1.0 for who in table["who"]]
    data = read_table([write(table, tmp_path / "some", "csv")], LONG)
    np.testing.assert_array_equal(data.actions[0, 0, :, 0], [1.0, 0.5])
    table["action"] = [-1.0 if who == "right" else 1.0 for who in table["who"]]
    path = write(table, tmp_path / "whole", "csv")
    with pytest.raises(InvalidData, match=r"down to -1.*--continuous"):
        read_table([path], LONG)
    data = read_table([path], dataclasses.replace(LONG, continuous=True))
    np.testing.assert_array_equal(data.actions[0, 0, :, 0], [1.0, -1.0])


def test_columns_by_exact_name_and_of_lists(tmp_path):
    table = {"step": [0, 1], "obs[0]": [1.0, 2.0], "obs[1]": [3.0, 4.0], "action": [0, 1]}
    mapping = Mapping(obs=("obs[0]", "obs[1]"), episode="")  # One episode.
    data = read_table([write(table, tmp_path / "names", "csv")], mapping)
    np.testing.assert_array_equal(data.obs[0, :, 0], [[1, 3], [2, 4], [2, 4]])
    lists = {"step": [0, 1], "obs": [[[1.0], [3.0]], [[2.0], [4.0]]], "action": [0, 1]}
    again = read_table([write(lists, tmp_path / "lists", "parquet")], Mapping(episode=""))
    np.testing.assert_array_equal(again.obs, data.obs)
    fixed = pa.array([[1.0, 3.0], [2.0, 4.0]], pa.list_(pa.float32(), 2))
    again = read_table([write(lists | {"obs": fixed}, tmp_path / "fixed", "parquet")], Mapping(episode=""))
    np.testing.assert_array_equal(again.obs, data.obs)


def test_episodes_told_apart_by_numbers_here_and_text_there(tmp_path):
    first = {"episode": [7, 8], "step": [0, 0], "obs": [1.0, 2.0], "action": [0, 1]}
    second = first | {"episode": ["x", "8"], "step": [0, 1]}
    paths = [write(t, tmp_path / f"{k}", "csv") for k, t in enumerate((first, second))]
    assert np.asarray(read_table(paths, Mapping()).lengths).tolist() == [1, 2, 1]


def test_a_column_that_is_there_twice(tmp_path):
    (tmp_path / "t").write_text("episode,step,obs,obs,action\n0,0,1,2,0\n")
    with pytest.raises(InvalidData, match="has column 'obs' more than once"):
        read_table([tmp_path / "t"], Mapping())


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_a_cut_or_flipped_file_is_one_error(tmp_path, kind):
    path = write(long_table(), tmp_path / f"play.{kind}", kind)
    whole = path.read_bytes()
    for broken in (whole[:-30], whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(InvalidData, match=r"play.*is cut, or no CSV, NPZ or Parquet.*write it again"):
            read_table([path], LONG)
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with contextlib.suppress(InvalidData):
            read_table([path], LONG)


def test_the_stated_number_of_actions_is_kept(tmp_path, capsys):
    path, store_path = write(long_table(), tmp_path / "play", "csv"), tmp_path / "store"
    main(["data", "import", "table", str(path), "-o", str(store_path), "--obs", "obs_*", "--agent", "who",
          "--num-actions", "5"])  # fmt: skip
    capsys.readouterr()
    main(["data", "info", str(store_path), "--json"])
    assert json.loads(capsys.readouterr().out)["action_space"] == {"kind": "Discrete", "n": 5}
    for data in (store.load(store_path), store.load(store_path).head(4), store.load(store_path).episodes([1])):
        assert RecordedGame.of(data).action_space == Discrete(5)


def test_a_table_is_learned_from_without_a_game(tmp_path, capsys):
    generator = np.random.default_rng(0)
    rows = [(e, t) for e in range(30) for t in range(10)]
    x = generator.normal(size=(len(rows), 2))
    table = {"episode": [r[0] for r in rows], "step": [r[1] for r in rows]}
    table |= {f"x{i}": x[:, i] for i in range(2)} | {f"a{i}": (x[:, i] > 0).astype(int) for i in range(2)}
    path = write(table, tmp_path / "play.csv", "csv")
    store = tmp_path / "store"
    main(["data", "import", "table", str(path), "-o", str(store), "--obs", "x{agent}", "--action", "a{agent}",
          "--agents", "2", "--num-actions", "3", "--json"])  # fmt: skip
    assert json.loads(capsys.readouterr().out)["steps"] == 300
    narrow = ["--critic-network.width", "32", "--reward-network.width", "32", "--batch", "64"]
    for name, extra in (
        ("bc", ["--network.width", "32"]),
        ("mamql", ["--offline", "--value-term", "expert", "--learning-rate", "0.01", *narrow]),
    ):
        run = tmp_path / name
        small = ["--budget", "150", "--evaluations", "2", "--quiet", "--json"]
        main(["learn", name, "--game", "none", "--demos", str(store), "-o", str(run), *small, *extra])
        last = json.loads(capsys.readouterr().out)["last"][-1]
        assert last["heldout_log_likelihood"] > -0.45  # chance is -0.69
        policy = Learned.load(run / "learned", seed=0).policy
        assert policy.logits(np.zeros((2, 1), np.float32)).shape == (2, 3)  # One more than was ever taken.
        main(["evaluate", str(run), "--json"])
        measured = json.loads(capsys.readouterr().out)
        assert measured["behaviour"]["disagreement"]["mean"] < 0.2


def test_actions_that_all_agents_would_share_are_refused(tmp_path):
    table = {"episode": [0, 0], "step": [0, 1], "obs": [1.0, 2.0], "action": [0, 1]}
    with pytest.raises(InvalidData, match=r"2 agents would all take the actions of action: .*action_\{agent\}"):
        read_table([write(table, tmp_path / "t", "csv")], Mapping(agents=2))


@pytest.mark.parametrize("step", ["step", ""])
def test_one_episode_in_two_files_is_named(tmp_path, step):
    table = {"episode": [0, 0], "step": [0, 1], "obs": [1.0, 2.0], "action": [0, 1]}
    paths = [write(table, tmp_path / name, "csv") for name in ("a", "b")]
    with pytest.raises(InvalidData, match=r"episode 0 is in .*a and in .*b: give the episodes of"):
        read_table(paths, Mapping(step=step))


def test_an_episode_may_go_on_in_the_next_file(tmp_path):
    first = {"episode": [0, 0], "step": [0, 1], "obs": [1.0, 2.0], "action": [0, 1]}
    paths = [write(first, tmp_path / "a", "csv"), write(first | {"step": [2, 3]}, tmp_path / "b", "csv")]
    assert np.asarray(read_table(paths, Mapping()).lengths).tolist() == [4]


def test_columns_that_are_not_asked_for_may_have_any_form(tmp_path):
    table = {"step": [0, 1], "obs": [1.0, 2.0], "action": [0, 1]}
    plain = read_table([write(table, tmp_path / "p", "parquet")], Mapping(episode=""))
    ragged = read_table([write(table | {"tags": [["a"], []]}, tmp_path / "r", "parquet")], Mapping(episode=""))
    np.savez(tmp_path / "n.npz", names=np.array(["x", "y", "z"]), **{k: np.array(v) for k, v in table.items()})
    arrays = read_table([tmp_path / "n.npz"], Mapping(episode=""))
    for other in (ragged, arrays):
        np.testing.assert_array_equal(other.obs, plain.obs)
