"""Stores come back as they were written; anything cut, flipped, missing or unfinished is refused by name."""

import json
import shutil

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mairl.core import folders
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Box, Discrete
from mairl.data import store
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata, demonstrations
from mairl.games.gems import GemsState
from mairl.games.tabular import random_game


def recording(seed=0, lengths=(3, 1, 2), agents=2, vector=0, rich=True):
    rng = np.random.default_rng(seed)
    episodes, time = len(lengths), max(lengths)
    shape = (episodes, time, agents)
    within = (np.arange(time)[None] < np.array(lengths)[:, None])[..., None]
    last = (np.arange(time)[None] == np.array(lengths)[:, None] - 1)[..., None]
    actions = rng.uniform(-1, 1, (*shape, vector)) if vector else rng.integers(0, 4, shape)
    obs = {
        "near": rng.integers(0, 9, (episodes, time + 1, agents, 2, 3)).astype(np.int8),
        "pair": (
            rng.normal(size=(episodes, time + 1, agents)).astype(np.float32),
            rng.random((*shape[:1], time + 1, agents, 1)) < 0.5,
        ),
    }
    masks = {"action_mask": np.ones((episodes, time + 1, agents, 4), bool)} if rich and not vector else {}
    return demonstrations(
        actions=actions,
        lengths=lengths,
        terminated=np.broadcast_to(last, shape),
        truncated=np.zeros(shape[:2], bool),
        mask=within & (rng.random(shape) < 0.8),
        obs=obs,
        true_reward=rng.normal(size=shape) if rich else None,
        metadata=Metadata.of("toy:size=3", "a test", "CC0", seed=seed),
        **masks,
    )


def within(data):
    """The recording with padding set to zero, which a store does not keep."""
    arrays = {
        f: getattr(data, f)
        for f in ("actions", "terminated", "truncated", "mask", "true_reward", "state", "obs", "action_mask")
    }
    lengths = np.asarray(data.lengths)

    def cut(x):
        x = np.array(x)
        extra = int(x.shape[1] > data.actions.shape[1])
        x[np.arange(x.shape[1])[None] >= lengths[:, None] + extra] = 0
        return x

    return jax.tree.map(cut, arrays), lengths


def assert_same(a, b):
    (have, have_lengths), (want, want_lengths) = within(a), within(b)
    assert a.metadata == b.metadata
    np.testing.assert_array_equal(have_lengths, want_lengths)
    assert jax.tree.structure(have) == jax.tree.structure(want)
    for x, y in zip(jax.tree.leaves(have), jax.tree.leaves(want)):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    agents=st.integers(1, 3),
    vector=st.integers(0, 2),
    rich=st.booleans(),
)
def test_round_trip(tmp_path_factory, seed, lengths, agents, vector, rich):
    data = recording(seed, tuple(lengths), agents, vector, rich)
    path = tmp_path_factory.mktemp("store") / "s"
    store.save(data, path, action_space=Box(vector) if vector else Discrete(4))
    assert_same(store.load(path), data)
    assert store.validate(path) == {"episodes": len(lengths), "steps": sum(lengths), "agents": agents}


def test_states_of_games_come_back_as_their_class(tmp_path):
    # int8 and bool leaves stay as small as they are.
    state = GemsState(
        np.ones((2, 4, 2, 2), np.int8),
        np.ones((2, 4, 3, 2), np.int8),
        np.ones((2, 4, 3), bool),
        np.zeros((2, 4), np.int16),
    )
    zeros = np.zeros((2, 3, 2), int)
    data = demonstrations(actions=zeros, lengths=[3, 2], terminated=zeros > 0, truncated=zeros[..., 0] > 0, state=state)
    store.save(data, tmp_path / "s")
    back = store.load(tmp_path / "s")
    assert isinstance(back.state, GemsState)
    assert_same(back, data)


def test_classes_that_are_not_allowed_are_refused(tmp_path):
    store.save(recording(), tmp_path / "s")
    file = tmp_path / "s" / "metadata.json"
    facts = json.loads(file.read_text())
    facts["trees"]["obs"] = {"class": "subprocess:Popen", "fields": {}}
    file.write_text(json.dumps(facts))
    with pytest.raises(InvalidData, match="not allowed"):
        store.load(tmp_path / "s")


def test_one_row_a_step_for_any_reader(tmp_path):
    data = recording()
    store.save(data, tmp_path / "s")
    table = pq.read_table(tmp_path / "s" / "steps.parquet")
    rows = [r for r in table.to_pylist() if not r["final"]]
    assert [(r["episode"], r["step"]) for r in rows] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]
    assert rows[1]["action"] == np.asarray(data.actions)[0, 1].tolist()


def test_info_counts(tmp_path):
    data = recording(rich=True)
    store.save(data, tmp_path / "s", action_space=Discrete(4))
    facts = store.info(tmp_path / "s")
    assert (facts["episodes"], facts["steps"], facts["agents"], facts["mean_length"]) == (3, 6, 2, 2.0)
    mask = np.asarray(data.mask)
    np.testing.assert_allclose(
        facts["return_per_agent"], (np.asarray(data.true_reward) * mask).sum((0, 1)) / 3, rtol=1e-5
    )
    assert facts["action_space"] == {"kind": "Discrete", "n": 4}


def test_the_recordings_own_action_space_is_kept(tmp_path):
    game = random_game(0, num_agents=2, num_states=4, num_actions=3, horizon=6)
    data = record(game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=2)
    store.save(data, tmp_path / "own")
    assert store.load(tmp_path / "own").action_space == game.action_space == Discrete(3)
    store.save(data, tmp_path / "given", action_space=Discrete(5))
    assert store.load(tmp_path / "given").action_space == Discrete(5)
    store.save(recording(), tmp_path / "unknown")
    assert store.load(tmp_path / "unknown").action_space is None


def test_nothing_is_replaced_unasked_and_folders_survive(tmp_path):
    path = tmp_path / "s"
    store.save(recording(0), path)
    (path / "expert").mkdir()
    (path / "expert" / "policy.json").write_text("{}")
    with pytest.raises(InvalidData, match="overwrite"):
        store.save(recording(1), path)
    assert_same(store.load(path), recording(0))
    store.save(recording(1), path, overwrite=True)
    assert_same(store.load(path), recording(1))
    assert (path / "expert" / "policy.json").read_text() == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_an_expert_comes_and_goes_with_its_play(tmp_path, monkeypatch):
    """Killed before the new store takes the old one's place, the old one still holds the old expert."""
    path = tmp_path / "s"
    experts = [Learned(UniformPolicy(2, Discrete(n))) for n in (3, 4)]
    store.save(recording(0), path, expert=experts[0])

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "rename", die)
        with pytest.raises(Killed):
            store.save(recording(1), path, overwrite=True, expert=experts[1])
    assert_same(store.load(path), recording(0))
    assert Learned.load(path / "expert").policy == experts[0].policy
    store.save(recording(1), path, overwrite=True, expert=experts[1])
    assert Learned.load(path / "expert").policy == experts[1].policy


class Killed(BaseException):
    pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_leaves_nothing_or_the_whole(tmp_path, monkeypatch, overwrite):
    """Stops the writer at each of its calls that touch the disk in turn, until it gets through."""
    targets = [
        (store.pq, "write_table"),
        (store, "digest"),
        (folders, "sync"),
        (folders.os, "rename"),
        (folders.shutil, "rmtree"),
    ]
    for stop in range(50):
        path = tmp_path / str(stop) / "s"
        if overwrite:
            store.save(recording(0), path)
        calls = iter(range(1000))

        def counted(original, calls=calls, stop=stop):
            def call(*args, **kwargs):
                if next(calls) == stop:
                    raise Killed
                return original(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for module, name in targets:
                patch.setattr(module, name, counted(getattr(module, name)))
            try:
                store.save(recording(1), path, overwrite=overwrite)
                finished = True
            except Killed:
                finished = False
        if path.exists():
            assert store.load(path).metadata in (recording(0).metadata, recording(1).metadata)
        elif overwrite:
            (old,) = path.parent.glob("s.*.old")
            assert_same(store.load(old), recording(0))
        if finished:
            assert_same(store.load(path), recording(1))
            assert stop > 5
            return
    pytest.fail("never got through")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "s"
    store.save(recording(), path)
    return path


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["steps.parquet", "metadata.json"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(-1, 7),
)
def test_flipped_bits_and_cut_files(saved, name, where, bit):
    """Damage is an `InvalidData`; in the steps always, in the facts unless they still describe the same steps."""
    file = saved / name
    whole = file.read_bytes()
    at = int(where * len(whole))
    broken = whole[:at] if bit < 0 else whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
    file.write_bytes(broken)
    try:
        if name == "steps.parquet":
            with pytest.raises(InvalidData, match=r"steps\.parquet"):
                store.load(saved)
        else:
            problem = None
            try:
                steps = store.load(saved).num_steps
            except InvalidData as error:
                problem = str(error)
            assert steps == 6 if problem is None else (str(saved) in problem and "\n" not in problem)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda p: shutil.rmtree(p), "no recording"),
        (lambda p: p.rename(p.with_name("s.partial")), "unfinished"),
        (lambda p: (p / "steps.parquet").unlink(), "steps.parquet is cut or damaged"),
        (lambda p: (p / "metadata.json").unlink(), "metadata.json is missing"),
        (lambda p: edit(p, format=99), "format 99, this version reads 1"),
        (lambda p: edit(p, steps=7), "7 steps"),
        (lambda p: edit(p, trees=None), "damaged"),
        (lambda p: rewrite(p, lambda t: t.drop_columns(["action"])), "lacks the columns action"),
        (lambda p: rewrite(p, lambda t: t.take([0, 0, *range(2, len(t))])), "each once"),
    ],
)
def test_planted_faults(tmp_path, fault, message):
    path = tmp_path / "s"
    store.save(recording(), path)
    fault(path)
    with pytest.raises(InvalidData, match=message):
        store.load(path)


def test_the_order_of_rows_does_not_matter(tmp_path):
    path = tmp_path / "s"
    store.save(recording(), path)
    rewrite(path, lambda t: t.take(list(reversed(range(len(t))))))
    assert_same(store.load(path), recording())


def edit(path, **facts):
    file = path / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def rewrite(path, change):
    """Replaces the steps by others that are no damaged file."""
    file = path / "steps.parquet"
    table = change(pq.read_table(file))
    pq.write_table(table, file)
    edit(path, sha256=store.digest(file))


@pytest.mark.parametrize(
    ("obs", "said"),
    [
        (np.full((1, 3, 2, 1), 1e39), "obs is not finite in 3 of 3 steps"),
        (np.full((1, 3, 2, 1), 2**40), "obs goes from 1099511627776 to 1099511627776, and whole numbers of 32 bits"),
        (np.full((1, 3, 2, 1), "left"), "obs holds no numbers but <U4"),
    ],
)
def test_what_32_bits_cannot_hold_is_refused(obs, said):
    """Nothing becomes infinite, or another number, after it was checked."""

    def made(obs):
        actions, over = np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), bool)
        return demonstrations(actions=actions, lengths=[2], terminated=over, truncated=over[..., 0], obs=obs)

    with pytest.raises(InvalidData, match=said):
        made(obs)
    small = made(np.full((1, 3, 2, 1), 2**30))
    assert np.asarray(small.obs).dtype == np.int32
    assert int(small.obs.max()) == 2**30
