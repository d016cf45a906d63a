"""Stores of made-up scenarios: what the seeds say, whoever makes them and however often the work is killed."""

import hashlib

import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios import generating, store
from mairl.scenarios.codec import encode
from mairl.scenarios.generate import generate
from mairl.scenarios.generating import PART, generate_store

KINDS = ("t_stop", "highway")


def made(out, worlds=PART + 1, **options):
    return generate_store(out, worlds, 5, KINDS, **{"steps": 3, "workers": 1, **options})


def contents(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("generated") / "store"
    made(out)
    return out


def test_holds_what_the_generator_makes(whole):
    found = store.open(whole)
    assert store.validate(whole)["scenarios"] == len(found) == PART + 1
    assert found.facts["generated"] == {"worlds": PART + 1, "seed": 5, "kinds": list(KINDS), "steps": 3}
    assert [s.scenario_id for s in found][:3] == ["t_stop-5", "highway-6", "t_stop-7"]
    for k in (0, PART):
        assert encode(found[k]).equals(encode(generate(5 + k, KINDS[k % 2], steps=3, current=2)))
    assert [p.name for p in whole.parent.iterdir()] == ["store"]


def test_workers_change_nothing(whole, tmp_path):
    made(tmp_path / "two", workers=2)
    assert contents(tmp_path / "two") == contents(whole)


def test_shards_are_whole_parts_and_order_is_kept(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(store, "SHARD", PART)
    facts = made(tmp_path / "store")
    assert [shard["scenarios"] for shard in facts["shards"]] == [PART, 1]
    assert store.open(tmp_path / "store").metadata.equals(store.open(whole).metadata)


def test_killed_and_resumed_it_is_the_same_and_nothing_is_made_twice(whole, tmp_path, monkeypatch):
    out, seeds = tmp_path / "store", []

    def counted(seed, kind, **options):
        if seed == 5 + PART and len(seeds) == PART:
            raise KeyboardInterrupt
        seeds.append(seed)
        return generate(seed, kind, **options)

    monkeypatch.setattr(generating, "generate", counted)
    with pytest.raises(KeyboardInterrupt):
        made(out)
    assert not out.exists()
    with pytest.raises(InvalidData, match="--resume"):
        made(out)
    seeds.append(-1)
    reports = []
    made(out, resume=True, report=reports.append)
    assert seeds == [*range(5, 5 + PART), -1, 5 + PART]
    assert reports == [PART, PART + 1]
    assert contents(out) == contents(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_parts_of_other_wishes_are_not_used(tmp_path, monkeypatch):
    out = tmp_path / "store"
    with monkeypatch.context() as patch:
        patch.setattr(store, "finish", lambda *_: 1 / 0)
        for kind, steps in (("highway", 3), ("t_stop", 2)):
            with pytest.raises(ZeroDivisionError):
                generate_store(out, 1, 5, (kind,), steps=steps, workers=1, resume=True)
    generate_store(out, 1, 5, ("t_stop",), steps=3, workers=1, resume=True)
    (found,) = store.open(out)
    assert encode(found).equals(encode(generate(5, "t_stop", steps=3, current=2)))


def test_replaces_only_what_it_may(whole, tmp_path):
    with pytest.raises(InvalidData, match="exists"):
        made(whole)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InvalidData, match="no store"):
        made(tmp_path / "mine", overwrite=True)
    out = tmp_path / "store"
    generate_store(out, 1, 9, steps=1, workers=1)
    made(out, overwrite=True)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"worlds": 0}, "worlds is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"kinds": ("lake",)}, "no road lake; there are highway"),
    ],
)
def test_bad_wishes(tmp_path, wrong, said):
    with pytest.raises(InvalidData, match=said):
        generate_store(tmp_path / "store", **{"worlds": 1, "seed": 0, **wrong})
    assert list(tmp_path.iterdir()) == []
