"""Minari datasets: there and back without loss; others' datasets; broken ones in one line."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")
import minari
from gymnasium import spaces

from mairl.cli import main
from mairl.core.errors import InvalidData
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Box, Discrete
from mairl.data import store
from mairl.data.collect import record
from mairl.data.demonstrations import Metadata, demonstrations
from mairl.data.minari import read_minari, write_minari
from mairl.games import make_game
from mairl.games.adapters import from_pettingzoo
from mairl.testing.errand import errand_expert, make_errand


def steps(data):
    return data.transition(np.arange(data.num_steps))


def assert_same(a, b):
    assert jax.tree.structure(steps(a)) == jax.tree.structure(steps(b))
    for x, y in zip(jax.tree.leaves(steps(a)), jax.tree.leaves(steps(b))):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype
    np.testing.assert_array_equal(a.true_reward, b.true_reward)
    assert a.metadata.facts() == b.metadata.facts()


def test_unlike_agents_there_and_back(tmp_path):
    game = from_pettingzoo(make_errand)
    metadata = Metadata.of("", "somebody", "CC0", note="kept")
    data = record(game, errand_expert, jax.random.key(0), num_episodes=5, metadata=metadata)
    write_minari(data, tmp_path / "errand")
    dataset = minari.MinariDataset(tmp_path / "errand" / "data")  # As Minari itself sees it.
    assert (dataset.total_episodes, dataset.total_steps) == (5, data.num_steps)
    episode = next(dataset.iterate_episodes())
    assert set(episode.observations) == {"agent_0", "agent_1"}
    np.testing.assert_array_equal(episode.actions["agent_1"], data.actions[0, :, 1])
    assert_same(read_minari(tmp_path / "errand"), data)


@pytest.mark.parametrize("kind", ["images", "vectors"])
def test_images_and_vector_actions_there_and_back(tmp_path, kind):
    rng = np.random.default_rng(0)
    shape = (3, 5, 1)
    obs = rng.integers(0, 255, (3, 6, 1, 8, 9, 3)).astype(np.uint8)
    if kind == "vectors":
        obs = rng.normal(size=(3, 6, 1, 4)).astype(np.float32)
    data = demonstrations(
        actions=rng.uniform(0.5, 2, (*shape, 2)) if kind == "vectors" else rng.integers(0, 4, shape),
        lengths=np.array([5, 3, 4]),
        terminated=np.zeros(shape, bool),
        truncated=np.arange(5) == np.array([[4], [2], [3]]),
        obs=obs,
        true_reward=rng.normal(size=shape),
        action_space=Box(2, -3.0, 4.0) if kind == "vectors" else None,
    )
    write_minari(data, tmp_path / "out")
    again = read_minari(tmp_path / "out")
    assert again.action_space == data.action_space
    for name in ("actions", "obs", "truncated"):
        np.testing.assert_array_equal(getattr(steps(again), name), getattr(steps(data), name))


def test_a_dataset_by_others(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rng = np.random.default_rng(0)
    see = spaces.Tuple((spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,), np.float64)))
    act = spaces.Tuple((spaces.Discrete(2, start=1), spaces.Discrete(4)))
    numbers, vectors = rng.integers(0, 3, 5), rng.uniform(-1, 1, (5, 2))
    buffer = minari.data_collector.EpisodeBuffer(
        observations=(numbers, vectors),
        actions=(np.array([1, 2, 1, 2]), np.array([0, 3, 2, 1])),
        rewards=[0.0, 1.0, 2.0, 3.0],
        terminations=[False] * 4,
        truncations=[False] * 4,
    )
    with pytest.warns(UserWarning, match="is set to None|env_spec is None"):  # Minari asks for more metadata.
        minari.create_dataset_from_buffers("them/test-v0", [buffer, buffer], observation_space=see, action_space=act)
    data = read_minari("them/test-v0")
    assert (data.num_episodes, data.num_agents) == (2, 2)
    np.testing.assert_array_equal(data.obs[0, :, 0], np.eye(3)[numbers])
    np.testing.assert_allclose(data.obs[1, :, 1, :2], vectors, rtol=1e-6)
    np.testing.assert_array_equal(data.actions[0], np.array([[0, 1, 0, 1], [0, 3, 2, 1]]).T)
    np.testing.assert_array_equal(data.true_reward[0], np.arange(4)[:, None].repeat(2, 1))
    assert data.truncated[:, -1].all()  # The recording stops there.
    assert not data.terminated.any()
    np.testing.assert_array_equal(data.action_mask[0, 0], [[True, True, False, False], [True] * 4])
    assert data.metadata.source == "minari them/test-v0"


def test_the_commands(tmp_path, capsys):
    game = make_game("gems")
    data = record(
        game, UniformPolicy(2, game.action_space), jax.random.key(0), num_episodes=2, metadata=Metadata("gems")
    )
    store.save(data, tmp_path / "demos")
    main(["data", "export", "minari", str(tmp_path / "demos"), "-o", str(tmp_path / "there")])
    main(["data", "import", "minari", str(tmp_path / "there"), "-o", str(tmp_path / "back"), "--json"])
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[-1])["steps"] == 90
    np.testing.assert_array_equal(steps(store.load(tmp_path / "back")).obs, steps(data.observed(game)).obs)
    with pytest.raises(SystemExit) as stop:
        main(["data", "export", "parquet", "x"])
    assert stop.value.code == 2
    assert "the formats are minari" in capsys.readouterr().err


def test_relative_paths_and_actions_that_nobody_took(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zeros = np.zeros((1, 2, 1), int)
    data = demonstrations(
        actions=zeros,
        lengths=[2],
        terminated=zeros,
        truncated=[[0, 1]],
        obs=np.zeros((1, 3, 1, 2), np.float32),
        action_space=Discrete(4),
    )
    write_minari(data, "there")
    assert read_minari("there").action_space == Discrete(4)


def test_what_is_not_there_or_broken_is_one_line(tmp_path):
    with pytest.raises(
        InvalidData, match="there is no Minari dataset nobody/knows-v0 on this machine: minari download"
    ):
        read_minari("nobody/knows-v0")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidData, match=r"it has no data/metadata\.json"):
        read_minari(tmp_path / "empty")
    data = record(from_pettingzoo(make_errand), errand_expert, jax.random.key(0), num_episodes=1)
    write_minari(data, tmp_path / "cut")
    with pytest.raises(InvalidData, match="exists: choose another folder"):
        write_minari(data, tmp_path / "cut")
    main_file = tmp_path / "cut" / "data" / "main_data.hdf5"
    main_file.write_bytes(main_file.read_bytes()[:-2000])
    with pytest.raises(InvalidData, match="cut is damaged or no Minari dataset") as caught:
        read_minari(tmp_path / "cut")
    assert "\n" not in str(caught.value)
