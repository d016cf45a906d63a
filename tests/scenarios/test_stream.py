"""A store as a stream: every scenario once an epoch, in an order that nothing but seed and host decides."""

import json
import sys

import pytest

from mairl.core.errors import InvalidData, MissingPackage
from mairl.scenarios import store
from mairl.scenarios.generate import generate
from mairl.scenarios.stream import Stream

COUNT = 7


def name(scenario):
    return scenario.scenario_id


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD", 3)
        store.save((generate(k, "t_stop", steps=2, current=1, warm_up=5.0) for k in range(COUNT)), folder)
    return store.open(folder)


def test_without_grain_it_says_what_to_install(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(MissingPackage, match="pip install grain"):
        Stream(data)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"epochs": 0}, "epochs is 0"),
        ({"host": 2, "hosts": 2}, "host is 2: choose 0 to 1"),
        ({"workers": -1}, "workers is -1"),
        ({"ahead": 0}, "ahead is 0"),
        ({"hosts": COUNT + 1}, "7 scenarios cannot be shared by 8 hosts"),
    ],
)
def test_bad_numbers(data, wrong, said):
    with pytest.raises(InvalidData, match=said):
        Stream(data, **wrong)


@pytest.fixture
def streamed(data):
    """Opens streams of names, and closes them."""
    pytest.importorskip("grain")
    opened = []

    def open_one(of=data, **options):
        opened.append(Stream(of, **{"transform": name, **options}))
        return opened[-1]

    yield open_one
    for stream in opened:
        stream.close()


def take(stream, count):
    return [next(stream) for _ in range(count)]


def test_every_epoch_has_all_in_an_order_of_its_own(data, streamed):
    everything = sorted(data.metadata["scenario_id"].to_pylist())
    seen = list(streamed(seed=3, epochs=3))
    epochs = [tuple(seen[k : k + COUNT]) for k in range(0, 3 * COUNT, COUNT)]
    assert [sorted(epoch) for epoch in epochs] == [everything] * 3
    assert len(set(epochs)) == 3
    assert list(streamed(seed=3, epochs=3)) == seen
    assert list(streamed(seed=4, epochs=3)) != seen


def test_unshuffled_and_chosen(data, streamed):
    assert list(streamed(seed=None, epochs=1)) == data.metadata["scenario_id"].to_pylist()
    some = data.where("scenario_id == 't_stop-2' or scenario_id == 't_stop-5'")
    assert take(streamed(some, seed=None), 4) == ["t_stop-2", "t_stop-5"] * 2


def test_scenarios_come_whole(data, streamed):
    first = next(streamed(seed=None, transform=None))
    assert first.notes == data[0].notes
    assert (first.tracks.position == data[0].tracks.position).all()


def test_hosts_share_each_epoch_evenly(streamed):
    alone = list(streamed(epochs=2))
    shares = [list(streamed(epochs=2, host=k, hosts=2)) for k in range(2)]
    assert [len(share) for share in shares] == [6, 6]
    for epoch in range(2):
        kept = alone[epoch * COUNT : (epoch + 1) * COUNT - 1]  # The seventh is nobody's.
        assert [list(kept[k::2]) for k in range(2)] == [share[epoch * 3 : epoch * 3 + 3] for share in shares]


@pytest.mark.parametrize("at", [1, COUNT, COUNT + 2])
def test_goes_on_where_it_was(streamed, at):
    stream = streamed()
    take(stream, at)
    state = json.loads(json.dumps(stream.get_state()))
    rest = take(stream, COUNT)
    again = streamed()
    next(again)
    again.set_state(state)
    assert take(again, COUNT) == rest
    again.set_state(state)
    assert take(again, 1) == rest[:1]


def test_a_resumed_stream_ends_when_the_whole_one_does(streamed):
    stream = streamed(epochs=1)
    take(stream, 5)
    again = streamed(epochs=1)
    again.set_state(stream.get_state())
    assert list(again) == list(stream)
    assert list(again) == []
    assert again.get_state()["position"] == COUNT


def test_workers_change_nothing(streamed):
    here, there = streamed(), streamed(workers=2, ahead=1)
    assert take(there, 9) == take(here, 9)
    again = streamed()
    again.set_state(there.get_state())
    assert take(again, 4) == take(here, 4)


def test_states_of_others_are_refused(data, streamed):
    state = streamed(seed=1).get_state()
    with pytest.raises(InvalidData, match="seed 1, now 0"):
        streamed(seed=0).set_state(state)
    with pytest.raises(InvalidData, match="hosts 1, now 2"):
        streamed(seed=1, hosts=2).set_state(state)
    with pytest.raises(InvalidData, match="another stream"):
        streamed(data[1:], seed=1).set_state(state)
    with pytest.raises(InvalidData, match="no state"):
        streamed().set_state({"position": 3})


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_met_where_it_is(data, streamed, tmp_path, workers):
    folder = tmp_path / "store"
    store.save(data, folder)
    opened = store.open(folder)
    shard = folder / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(InvalidData, match=r"shard-00000\.parquet is missing, cut or damaged"):
        next(streamed(opened, workers=workers))
