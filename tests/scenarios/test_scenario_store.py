"""The store of scenarios: what comes out is what went in, one at a time; damage is named."""

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mairl.core.errors import InvalidData
from mairl.scenarios import build, codec, store
from mairl.scenarios.schema import RoadMap, Scenario, Tracks
from mairl.scenarios.validate import validated
from mairl.scenarios.where import condition
from mairl.testing.scenarios import made_scenario


def leaves(value, name="scenario") -> dict:
    """Every field of a scenario by its dotted name."""
    if dataclasses.is_dataclass(value):
        found = {}
        for field in dataclasses.fields(value):
            found.update(leaves(getattr(value, field.name), f"{name}.{field.name}"))
        return found
    return {name: value}


def assert_same(a: Scenario, b: Scenario) -> None:
    ours, theirs = leaves(a), leaves(b)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        other = theirs[name]
        assert type(value) is type(other), name
        if isinstance(value, np.ndarray):
            assert (value.dtype, value.shape) == (other.dtype, other.shape), name
            assert value.tobytes() == other.tobytes(), name
        else:
            assert value == other, name


def nobody(steps: int = 4) -> Scenario:
    """No agents, no map, nothing known."""
    none = np.zeros((0, steps))
    tracks = Tracks(
        np.zeros((0, steps, 3)),
        none,
        np.zeros((0, steps, 2)),
        np.zeros((0, steps, 3)),
        np.zeros((0, 3), bool),
        none.astype(bool),
        np.zeros(0, np.int8),
        (),
        z_known=False,
    )
    empty = build.no_lines()
    road = RoadMap(
        build.lanes(empty, graph_from_source=False), empty, empty, empty, empty, empty, build.no_stop_signs()
    )
    road = dataclasses.replace(road, stop_signs=dataclasses.replace(road.stop_signs, position=np.zeros((0, 3))))
    whole = Scenario("nobody", "generated", 0.04, 0, np.zeros(3), tracks, build.roles(0), road, build.no_signals(steps))
    return validated(build.recentred(whole))


def unknown_everything() -> Scenario:
    """Agents and lanes of which nothing more is known."""
    made = made_scenario(1)
    lanes = dataclasses.replace(
        build.lanes(made.map.lanes.centre, graph_from_source=False),
        centre=dataclasses.replace(made.map.lanes.centre, z_known=False),
    )
    tracks = dataclasses.replace(
        made.tracks, size=np.zeros_like(made.tracks.size), size_known=np.zeros((5, 3), bool), z_known=False
    )
    signals = dataclasses.replace(
        made.signals, lane_known=np.zeros(1, bool), stop_point_known=np.zeros(1, bool), lane=np.array([-1], np.int32)
    )
    return dataclasses.replace(
        made,
        tracks=tracks,
        signals=signals,
        roles=build.roles(5),
        map=dataclasses.replace(made.map, lanes=lanes),
        notes={"größe": [1, 2.5, None, {"deep": "☃ 'quoted'"}]},
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    agents=st.integers(1, 9),
    steps=st.integers(1, 40),
    sdc=st.one_of(st.none(), st.integers(0, 0)),
    offset=st.tuples(*[st.floats(-1e7, 1e7)] * 3),
    dt=st.floats(1e-3, 10),
    name=st.text(st.characters(codec="utf-8"), min_size=1),
    notes=st.dictionaries(
        st.text(st.characters(codec="utf-8")), st.integers() | st.floats(allow_nan=False) | st.none()
    ),
    flags=st.tuples(*[st.booleans()] * 3),
)
def test_every_field_survives_encoding(seed, agents, steps, sdc, offset, dt, name, notes, flags):
    scenario = made_scenario(seed, agents, steps)
    lanes = dataclasses.replace(scenario.map.lanes, graph_from_source=flags[0])
    scenario = dataclasses.replace(
        scenario,
        scenario_id=name,
        offset=np.array(offset),
        dt=dt,
        notes={k: v for k, v in notes.items() if v not in (np.inf, -np.inf)},
        roles=dataclasses.replace(scenario.roles, sdc=sdc),
        tracks=dataclasses.replace(scenario.tracks, z_known=flags[1]),
        map=dataclasses.replace(
            scenario.map, lanes=lanes, crosswalks=dataclasses.replace(scenario.map.crosswalks, z_known=flags[2])
        ),
    )
    assert_same(scenario, codec.decode(codec.encode(scenario)))


@pytest.mark.parametrize("make", [nobody, unknown_everything, lambda: made_scenario(2, 1, 1)])
def test_edge_cases_survive_the_disk(make, tmp_path):
    scenario = make()
    store.save([scenario], tmp_path / "store")
    assert_same(scenario, store.open(tmp_path / "store")[0])
    assert store.validate(tmp_path / "store")["scenarios"] == 1


def test_extreme_floats_survive_the_disk(tmp_path):
    made = made_scenario(0)
    bits = np.random.default_rng(0).integers(0, 2**32, made.tracks.position.size, np.uint32)
    position = bits.view(np.float32).reshape(made.tracks.position.shape)
    odd = dataclasses.replace(made, tracks=dataclasses.replace(made.tracks, position=position))
    with np.errstate(invalid="ignore", over="ignore"):
        store.write_rows(tmp_path / "x.parquet", [codec.encode(odd)])
    back = codec.decode(next(store.read_rows(tmp_path / "x.parquet", [0])))
    assert_same(odd, back)


def test_metadata_columns_are_counted_by_hand():
    made = made_scenario(0, agents=5, steps=30)
    found = codec.metadata(made)
    assert found["num_agents"] == 5
    assert found["num_steps"] == 30
    assert found["valid_agent_steps"] == np.count_nonzero(made.tracks.valid)
    assert (found["num_lanes"], found["num_road_edges"], found["num_road_lines"]) == (3, 2, 1)
    assert (found["num_vehicles"], found["num_pedestrians"], found["num_cyclists"]) == (4, 1, 0)
    assert found["num_map_points"] == 41 + 41 + 9 + 41 + 41 + 41 + 4 + 4
    assert (found["sdc_index"], found["num_signals"], found["num_stop_signs"], found["num_crosswalks"]) == (0, 1, 1, 1)
    assert codec.metadata(unknown_everything())["sdc_index"] is None


@pytest.mark.parametrize(("metres", "moving"), [(1.9, 0), (2.1, 1)])
def test_a_vehicle_moves_that_gets_two_metres_away(metres, moving):
    made = made_scenario(0, agents=1, steps=3)
    position = np.zeros((1, 3, 3), np.float32)
    position[0, 1, 0] = metres
    position[0, 2] = 99.0  # Where it was not seen nobody knows where it was.
    valid = np.array([[True, True, False]])
    tracks = dataclasses.replace(made.tracks, position=position, valid=valid)
    assert codec.metadata(dataclasses.replace(made, tracks=tracks))["moving_vehicles"] == moving
    walker = dataclasses.replace(tracks, type=np.array([2], np.int8))
    assert codec.metadata(dataclasses.replace(made, tracks=walker))["moving_vehicles"] == 0


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A store of two shards."""
    folder = tmp_path_factory.mktemp("many") / "store"
    store.save((made_scenario(k, 1 + k % 4, 6) for k in range(store.SHARD + 5)), folder)
    return folder


def test_rows_are_read_one_at_a_time_in_any_order(many):
    found = store.open(many)
    assert len(found) == store.SHARD + 5
    for i in (store.SHARD + 4, 0, store.SHARD, store.SHARD - 1, -1):
        assert_same(found[i], made_scenario(i % len(found), 1 + i % len(found) % 4, 6))
    assert [s.scenario_id for s in found[126:130]] == ["made-126", "made-127", "made-128", "made-129"]
    with pytest.raises(IndexError, match=str(len(found))):
        found[len(found)]
    one = pq.ParquetFile(many / "shard-00000.parquet")
    assert one.metadata.num_row_groups == store.SHARD
    assert {one.metadata.row_group(k).num_rows for k in range(store.SHARD)} == {1}
    assert one.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_damaged_neighbour_does_not_matter(many, tmp_path):
    store.save([made_scenario(k) for k in range(3)], tmp_path / "store")
    file = tmp_path / "store" / "shard-00000.parquet"
    chunk = pq.read_metadata(file).row_group(1).column(23)
    raw = bytearray(file.read_bytes())
    start = chunk.data_page_offset
    raw[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    file.write_bytes(raw)
    found = store.open(tmp_path / "store")
    assert_same(found[0], made_scenario(0))
    assert_same(found[2], made_scenario(2))
    with pytest.raises(InvalidData, match=r"shard-00000.parquet is missing, cut or damaged|made-1"):
        _ = found[1]
    with pytest.raises(InvalidData, match="SHA-256"):
        store.validate(tmp_path / "store")


def same_or_refused(folder: Path, scenarios: list[Scenario]) -> bool:
    """Whether reading a store gives the scenarios that were written, and not one line that says what is wrong."""
    try:
        found = list(store.open(folder))
    except InvalidData as error:
        said = str(error)
        if "damaged" not in said or "\n" in said:
            raise
        return False
    for a, b in zip(scenarios, found, strict=True):
        assert_same(a, b)
    return True


@pytest.mark.parametrize("file", ["shard-00000.parquet", "index.parquet"])
def test_a_flipped_bit_is_never_read_as_another_scenario(tmp_path, file, monkeypatch):
    monkeypatch.setattr(store, "_footer", lambda path, _: pq.read_metadata(path))
    scenarios = [made_scenario(k) for k in range(2)]
    store.save(scenarios, tmp_path / "store")
    whole = (tmp_path / "store" / file).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        raw = bytearray(whole)
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "store" / file).write_bytes(raw)
        refused += not same_or_refused(tmp_path / "store", scenarios)
    # Much of a short shard is what is written about its columns, and not all of that is needed.
    assert refused > 75


def test_columns_without_readable_names_are_damage(tmp_path):
    store.save([made_scenario(0)], tmp_path / "store")
    file = tmp_path / "store" / "shard-00000.parquet"
    file.write_bytes(file.read_bytes().replace(b"stop_signs.controls", b"\xfftop_signs.controls"))
    with pytest.raises(InvalidData, match=r"shard-00000\.parquet is missing, cut or damaged"):
        _ = store.open(tmp_path / "store")[0]


def test_a_store_goes_to_workers_by_its_path(many):
    some = store.open(many).where("num_agents == 4")
    sent = pickle.dumps(some)
    assert len(sent) < 2000
    back = pickle.loads(sent)
    assert len(back) == len(some)
    assert_same(back[-1], some[-1])
    assert back.metadata.equals(some.metadata)


def test_threads_may_share_a_store(many):
    from concurrent.futures import ThreadPoolExecutor

    found = store.open(many)
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda i: found[i].scenario_id, list(range(len(found))) * 2))
    assert ids == found.metadata["scenario_id"].to_pylist() * 2


def test_any_parquet_reader_can_read_plain_lists(many):
    table = pq.read_table(many / "shard-00001.parquet", columns=["scenario_id", "tracks.x", "map.ids"])
    assert table["tracks.x"].type == pa.list_(pa.float32())
    np.testing.assert_array_equal(
        np.array(table["tracks.x"][0].as_py(), np.float32), made_scenario(128, 1, 6).tracks.position[..., 0].ravel()
    )
    assert table["map.ids"][0].as_py()[:3] == ["right", "left", "exit"]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("num_agents > 2", lambda r: r["num_agents"] > 2),
        ("1 < num_agents <= 3", lambda r: 1 < r["num_agents"] <= 3),
        ("not (num_agents == 1 or num_agents == 2)", lambda r: r["num_agents"] not in (1, 2)),
        (
            "scenario_id == 'made-7' or num_agents >= 4 and dt < 0.2",
            lambda r: r["num_agents"] == 4 or r["scenario_id"] == "made-7",
        ),
        ("num_vehicles != num_agents", lambda r: r["num_vehicles"] != r["num_agents"]),
        ("num_agents > 2.5", lambda r: r["num_agents"] > 2.5),
        ("-1 < sdc_index", lambda r: True),
        ("sdc_index is None", lambda r: False),
        ("sdc_index is not None", lambda r: True),
        ("num_agents < 99999999999999999999999", lambda r: True),
        ("3 <= num_agents", lambda r: r["num_agents"] >= 3),
    ],
)
def test_where_agrees_with_python(many, text, holds):
    found = store.open(many)
    expected = [r["scenario_id"] for r in found.metadata.to_pylist() if holds(r)]
    assert found.where(text).metadata["scenario_id"].to_pylist() == expected


def test_what_is_not_known_is_not_61(tmp_path):
    """A comparison with it does not hold, so that its opposite does."""
    store.save([made_scenario(2), unknown_everything()], tmp_path / "store")
    found = store.open(tmp_path / "store")
    assert len(found.where("not sdc_index == 61")) == 2
    assert len(found.where("sdc_index != 61")) == 1


def test_where_can_be_narrowed_further(many):
    some = store.open(many).where("num_agents > 2").where("scenario_id == 'made-130'")
    assert [s.scenario_id for s in some] == ["made-130"]
    assert len(store.open(many).where("num_agents > 99")) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "num_agents",
        "num_agents >",
        "agents > 3",
        "num_agents + 1 > 3",
        "__import__('os').system('true')",
        "num_agents.real > 3",
        "num_agents in (1, 2)",
        "num_agents > 'many'",
        "scenario_id == 3",
        "1 < 2",
        "True",
        "num_agents == True",
        "num_agents > 1j",
        "num_agents < None",
        "3 is None",
        "num_agents is 3",
        "-'a' == scenario_id",
        "num_agents > 3; 1",
        "lambda: 1",
        "num_agents > 3\0",
        "(" * 500 + "num_agents > 3" + ")" * 500,
        "not " * 5000 + "num_agents > 3",
        "num_agents > 3 and " * 500 + "num_agents > 3",
    ],
)
def test_where_refuses_everything_else_in_one_line(text):
    with pytest.raises(InvalidData, match="num_road_edges") as caught:
        condition(text, codec.METADATA)
    assert "\n" not in str(caught.value)


def test_nothing_is_overwritten_unasked(tmp_path):
    out = tmp_path / "store"
    store.save([made_scenario(0)], out)
    with pytest.raises(InvalidData, match="exists"):
        store.save([made_scenario(1)], out)
    store.save([made_scenario(1)], out, overwrite=True)
    assert store.open(out)[0].scenario_id == "made-1"
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    (tmp_path / "mine").mkdir()
    with pytest.raises(InvalidData, match="no store"):
        store.save([made_scenario(1)], tmp_path / "mine", overwrite=True)


def test_bad_scenarios_are_not_written(tmp_path):
    made = made_scenario(0)
    with pytest.raises(InvalidData, match="dt is"):
        store.save([dataclasses.replace(made, dt=0.0)], tmp_path / "store")
    with pytest.raises(InvalidData, match="'made-0'"):
        store.save([made, made_scenario(1), made], tmp_path / "store")
    with pytest.raises(InvalidData, match="no scenarios"):
        store.save([], tmp_path / "store")
    with pytest.raises(InvalidData, match="cannot be written"):
        store.save([dataclasses.replace(made, notes={"x": float("nan")})], tmp_path / "store")
    with pytest.raises(InvalidData, match="cannot be written"):
        store.save([dataclasses.replace(made, source="\ud800")], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def altered(folder, change):
    facts = json.loads((folder / "metadata.json").read_text())
    change(facts)
    (folder / "metadata.json").write_text(json.dumps(facts))


def emptied(folder):
    """An index without rows, and its own digest."""
    file = folder / "index.parquet"
    pq.write_table(codec.METADATA.empty_table(), file)
    altered(folder, lambda facts: facts.update(index_sha256=store.digest(file)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "metadata.json").write_text("{"), "metadata.json is missing or damaged"),
        (lambda f: (f / "metadata.json").write_text("[" * 100_000), "metadata.json is missing or damaged"),
        (lambda f: altered(f, lambda facts: facts.update(version=99)), "version 99"),
        (lambda f: altered(f, lambda facts: facts.update(format=1)), "no store of scenarios"),
        (lambda f: altered(f, lambda facts: facts["shards"].pop()), "metadata.json is damaged"),
        (lambda f: altered(f, lambda facts: facts.update(shards=None)), "metadata.json is damaged"),
        (lambda f: altered(f, lambda facts: facts.pop("source")), "metadata.json is damaged"),
        (lambda f: altered(f, lambda facts: facts.update(source=None)), "metadata.json is damaged"),
        (lambda f: altered(f, lambda facts: facts.pop("agents")), "metadata.json is damaged"),
        (lambda f: altered(f, lambda facts: facts.update(agents=1)), "metadata.json says agents 1, the index has"),
        (lambda f: altered(f, lambda facts: facts.update(source=["waymo"])), r"says source \['waymo'\], the index"),
        (lambda f: (f / "index.parquet").write_bytes(b"PAR1"), "index.parquet is missing, cut or damaged"),
        (lambda f: (f / "index.parquet").unlink(), "index.parquet is missing, cut or damaged"),
        (lambda f: pq.write_table(codec.METADATA.empty_table(), f / "index.parquet"), "index.parquet is damaged"),
        (emptied, "does not fit metadata.json"),
        (lambda f: (f / "shard-00000.parquet").unlink(), "shard-00000.parquet cannot be read"),
        (lambda f: (f / "shard-00000.parquet").write_bytes(b""), "damaged"),
    ],
)
def test_damage_is_named(tmp_path, damage, said):
    store.save([made_scenario(k) for k in range(2)], tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(InvalidData, match=said):
        store.validate(tmp_path / "store")


def test_validation_reads_what_is_there(tmp_path):
    """A store whose digests are right and whose scenarios are not."""
    store.save([made_scenario(0)], tmp_path / "store")
    file = tmp_path / "store" / "shard-00000.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index("num_steps")
    table = table.set_column(place, table.schema.field(place), pa.array([7], pa.int32()))
    pq.write_table(table, file)
    altered(tmp_path / "store", lambda facts: facts["shards"][0].update(sha256=store.digest(file)))
    with pytest.raises(InvalidData, match="'made-0' is damaged"):
        store.validate(tmp_path / "store")
    store.save([made_scenario(0)], tmp_path / "store", overwrite=True)
    table = pq.read_table(file)
    place = table.schema.get_field_index("dt")
    pq.write_table(table.set_column(place, table.schema.field(place), pa.array([0.2])), file)
    altered(tmp_path / "store", lambda facts: facts["shards"][0].update(sha256=store.digest(file)))
    with pytest.raises(InvalidData, match=r"row 0 of index\.parquet"):
        store.validate(tmp_path / "store")


def test_an_unfinished_store_says_so(tmp_path):
    (tmp_path / "store.partial").mkdir()
    with pytest.raises(InvalidData, match="--resume"):
        store.open(tmp_path / "store")
