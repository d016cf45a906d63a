"""Modules as plain data: what is written comes back, and nothing else is rebuilt."""

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mairl.core import serialise
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.core.policy import UniformPolicy
from mairl.core.serialise import allow, load_module, save_module
from mairl.core.spaces import Box, Discrete


class Kept(eqx.Module):
    """One field of every kind that can be kept."""

    array: jax.Array
    nested: UniformPolicy
    many: tuple[Any, ...]
    named: dict[str, Any]
    shape: jax.ShapeDtypeStruct = eqx.field(static=True)
    number: float = eqx.field(static=True, default=0.5)


@pytest.fixture
def allowed(monkeypatch):
    """Modules of this file may be rebuilt, until the test ends."""
    monkeypatch.setattr(serialise, "_allowed", set(serialise._allowed))
    allow(__name__.split(".")[0])


def kept() -> Kept:
    return Kept(
        array=jnp.arange(6, dtype=jnp.int32).reshape(2, 3),
        nested=UniformPolicy(2, Box(3, -2.0, 1.0)),
        many=(None, True, "text", [jnp.float32(2.5)]),
        named={"a.b": jnp.zeros(0)},
        shape=jax.ShapeDtypeStruct((4,), jnp.float16),
    )


def test_what_is_written_comes_back(tmp_path, allowed):
    save_module(kept(), tmp_path / "new" / "folder", "thing")
    found, wanted = load_module(tmp_path / "new" / "folder", "thing", Kept), kept()
    assert eqx.tree_equal(found, wanted)
    assert found.array.dtype == jnp.int32
    assert found.shape == wanted.shape
    assert found.nested.action_space == Box(3, -2.0, 1.0)


def test_one_seed_of_a_stack(tmp_path, allowed):
    stack = eqx.tree_at(lambda k: (k.many, k.named), kept(), ((), {"a.b": jnp.zeros((2, 0))}))
    save_module(stack, tmp_path, "thing")
    np.testing.assert_array_equal(load_module(tmp_path, "thing", Kept, seed=1).array, [3, 4, 5])
    with pytest.raises(InvalidData, match="holds 2 seeds: there is no seed 2"):
        load_module(tmp_path, "thing", Kept, seed=2)


def test_a_field_that_came_later_takes_its_default(tmp_path, allowed):
    """What older versions saved stays readable; a field without a default, or one that is gone, is refused."""
    save_module(kept(), tmp_path, "thing")
    path = tmp_path / "thing.json"
    tree = json.loads(path.read_text())
    fields = tree["tree"]["fields"]
    del fields["number"]
    path.write_text(json.dumps(tree))
    assert eqx.tree_equal(load_module(tmp_path, "thing", Kept), kept())
    for wrong in ({**fields, "gone": 1}, {k: v for k, v in fields.items() if k != "many"}):
        path.write_text(json.dumps({"tree": {**tree["tree"], "fields": wrong}}))
        with pytest.raises(InvalidData, match=r"other fields.*(gone|many)"):
            load_module(tmp_path, "thing", Kept)


def test_other_packages_are_refused_until_they_are_allowed(tmp_path):
    save_module(kept(), tmp_path, "thing")
    with pytest.raises(InvalidData, match="not allowed"):
        load_module(tmp_path, "thing", Kept)


def test_another_kind_is_refused(tmp_path):
    save_module(UniformPolicy(1, Discrete(2)), tmp_path, "thing")
    with pytest.raises(InvalidData, match="holds a UniformPolicy, not a Learned"):
        load_module(tmp_path, "thing", Learned)


@pytest.mark.parametrize(
    "tree",
    [
        {"class": "os:system", "fields": {}},
        {"class": "mairl.core.policy:UniformPolicy.sample", "fields": {}},
        {"class": "mairl.core.serialise:load_module", "fields": {}},
        {"class": "mairl.core.policy:NoSuchPolicy", "fields": {}},
        {"class": "mairl.no_such_module:Policy", "fields": {}},
        {"class": "mairl.core.policy:UniformPolicy", "fields": {"num_agents": 1}},
        {"array": "learned.missing"},
        {"unknown": 1},
        {"dict": 3},
    ],
)
def test_hostile_trees_end_in_one_error(tmp_path, tree):
    save_module(UniformPolicy(1, Discrete(2)), tmp_path, "thing")
    (tmp_path / "thing.json").write_text(json.dumps({"format": 1, "tree": tree}))
    with pytest.raises(InvalidData, match="cannot be read"):
        load_module(tmp_path, "thing", UniformPolicy)


@pytest.mark.parametrize("name", ["thing.json", "thing.npz"])
def test_cut_and_missing_files(tmp_path, allowed, name):
    save_module(kept(), tmp_path, "thing")
    whole = (tmp_path / name).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(InvalidData, match="cannot be read"):
            load_module(tmp_path, "thing", Kept)
    (tmp_path / name).unlink()
    with pytest.raises(InvalidData, match="is missing"):
        load_module(tmp_path, "thing", Kept)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(TypeError, match=r"thing\.named\.f is a function"):
        save_module(eqx.tree_at(lambda k: k.named, kept(), {"f": print_nothing}), tmp_path, "thing")


def print_nothing():
    """No data."""
