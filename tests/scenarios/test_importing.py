"""Importing many files: the same store however it was made, nothing read twice, the first bad record named."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_logs import FORMATS, HERE, write

from mairl.core.errors import InvalidData, MissingPackage
from mairl.core.processes import spread
from mairl.scenarios import codec, readers, store
from mairl.scenarios.importing import import_scenarios

DATA = next((p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None)
DATA = Path(os.environ["MAIRL_SHARED_DATA"]) if "MAIRL_SHARED_DATA" in os.environ else DATA


def bring(paths, out, **options):
    return import_scenarios([Path(p) for p in paths], "made", out, formats=FORMATS, **{"workers": 1, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def ids(folder: Path) -> list[str]:
    return store.open(folder).metadata["scenario_id"].to_pylist()


@pytest.fixture
def logs(tmp_path) -> Path:
    """Eight files of one to three scenarios in nested folders, beside files of other kinds."""
    folder = tmp_path / "logs"
    for k in range(8):
        write(folder / f"day-{k % 3}" / f"{k}.log", *range(10 * k, 10 * k + 1 + k % 3))
    (folder / "notes.txt").write_text("not a log")
    (folder / "day-0" / "other").write_text("other logs\n")
    return folder


def test_a_folder_is_searched_by_content_and_order_is_by_name(logs, tmp_path):
    facts = bring([logs], tmp_path / "store")
    assert ids(tmp_path / "store") == [
        f"made-{n}" for k in (0, 3, 6, 1, 4, 7, 2, 5) for n in range(10 * k, 10 * k + 1 + k % 3)
    ]
    assert (facts["files"], facts["scenarios"], facts["skipped"]) == (8, 15, [])
    assert store.validate(tmp_path / "store")["scenarios"] == 15
    assert not (tmp_path / "store.partial").exists()


def test_given_files_keep_their_order_and_count_once(logs, tmp_path):
    bring([logs / "day-1" / "4.log", logs / "day-0", logs / "day-1" / "4.log"], tmp_path / "store")
    assert ids(tmp_path / "store")[:3] == ["made-40", "made-41", "made-0"]
    assert len(ids(tmp_path / "store")) == 2 + 3


def test_workers_change_nothing(logs, tmp_path):
    bring([logs], tmp_path / "one")
    bring([logs], tmp_path / "three", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_long_files_and_short_ones_make_shards_of_one_size(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD", 4)
    write(tmp_path / "logs" / "a.log", *range(10))
    write(tmp_path / "logs" / "b.log", 20)
    write(tmp_path / "logs" / "c.log", 0, *range(30, 36))  # The first is there already.
    facts = bring([tmp_path / "logs"], tmp_path / "store", skip_bad=True)
    assert [shard["scenarios"] for shard in facts["shards"]] == [4, 4, 3, 3, 3]
    assert ids(tmp_path / "store") == [f"made-{k}" for k in (*range(10), 20, *range(30, 36))]
    assert len(facts["skipped"]) == 1
    assert store.validate(tmp_path / "store")["scenarios"] == 17


def test_nothing_is_overwritten_unasked(logs, tmp_path):
    out = tmp_path / "store"
    bring([logs], out)
    before = contents(out)
    with pytest.raises(InvalidData, match="exists"):
        bring([logs], out)
    with pytest.raises(InvalidData, match="exists"):
        bring([logs], out, resume=True)
    bring([logs / "day-1"], out, overwrite=True)
    assert contents(out) != before
    (tmp_path / "other.partial").mkdir()
    with pytest.raises(InvalidData, match="--resume"):
        bring([logs], tmp_path / "other")
    bring([logs], tmp_path / "other", overwrite=True)
    assert contents(tmp_path / "other") == before


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_bad_record_in_order_ends_the_import(logs, tmp_path, workers):
    write(logs / "day-0" / "3.log", 30, {"bad": "nan at 3 places"}, {"bad": "never seen"})
    write(logs / "day-0" / "6.log", {"bad": "a later file"})
    write(logs / "day-0" / "0.log", {"seed": 0, "sleep": 1.0, "agents": 3})  # The first bad one is not the first done.
    with pytest.raises(InvalidData, match=r"3\.log: record 1: tracks\.heading: nan at 3 places") as caught:
        bring([logs], tmp_path / "store", workers=workers)
    assert "--skip-bad" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_records_and_files_are_skipped_and_listed(logs, tmp_path, workers):
    write(logs / "day-0" / "3.log", 30, {"bad": "nan"}, 31)
    write(logs / "day-0" / "6.log", {"bad": "whole file"})
    write(logs / "day-1" / "4.log", 40, {"raise": "hole"})
    facts = bring([logs], tmp_path / "store", skip_bad=True, workers=workers)
    found = ids(tmp_path / "store")
    assert found[:4] == ["made-0", "made-30", "made-31", "made-10"]
    assert "made-40" in found
    assert [Path(bad["file"]).name for bad in facts["skipped"]] == ["3.log", "6.log", "4.log"]
    assert "KeyError" in facts["skipped"][2]["reason"]
    assert json.loads((tmp_path / "store" / "metadata.json").read_text())["skipped"] == facts["skipped"]


def test_the_second_of_two_scenarios_with_one_id_is_bad(logs, tmp_path):
    again = write(logs / "day-2" / "9.log", 90, 10)
    with pytest.raises(InvalidData, match=r"9\.log: its scenario 'made-10', number 2, is already there, from .*1\.log"):
        bring([logs], tmp_path / "store")
    facts = bring([logs], tmp_path / "store", skip_bad=True, resume=True)
    assert ids(tmp_path / "store").count("made-10") == 1
    assert [bad["file"] for bad in facts["skipped"]] == [str(again)]


def test_twice_in_one_file_is_said_with_both_numbers(tmp_path):
    write(tmp_path / "a.log", 1, 2, 1)
    with pytest.raises(InvalidData, match=r"'made-1', number 3, is already there, as number 1 of the same file"):
        bring([tmp_path / "a.log"], tmp_path / "store")


def test_stores_in_a_source_are_no_source(logs, tmp_path):
    """Ours, finished and not, are passed over: an import into its own source can be repeated and gone on with."""
    first = bring([logs], logs / "store")
    shutil.copytree(logs / "day-0", logs / "half.partial")
    assert bring([logs], tmp_path / "again")["scenarios"] == first["scenarios"]
    assert bring([logs], logs / "store", overwrite=True)["scenarios"] == first["scenarios"]


def test_linked_folders_are_searched_once(logs, tmp_path):
    outside = tmp_path / "outside"
    write(outside / "x.log", 100)
    (logs / "day-1" / "linked").symlink_to(outside, target_is_directory=True)
    (logs / "day-1" / "round").symlink_to(logs, target_is_directory=True)
    bring([logs], tmp_path / "store")
    found = ids(tmp_path / "store")
    assert "made-100" in found
    assert len(found) == len(set(found)) == 16


def test_a_file_with_something_bad_is_read_again_on_resuming(tmp_path, monkeypatch):
    """What it lacked may lie beside it now, as the map of an Argoverse scene."""
    write(tmp_path / "logs" / "a.log", 1)
    write(tmp_path / "logs" / "b.log", {"bad": "nan"}, 2)
    monkeypatch.setenv("MADE_LOGS_READ", str(tmp_path / "read"))
    with pytest.raises(RuntimeError, match="stop"):
        bring([tmp_path / "logs"], tmp_path / "store", skip_bad=True, report=raise_at(2))
    (tmp_path / "read").write_text("")
    facts = bring([tmp_path / "logs"], tmp_path / "store", skip_bad=True, resume=True)
    assert (tmp_path / "read").read_text().split() == ["b.log"]
    assert len(facts["skipped"]) == 1
    assert ids(tmp_path / "store") == ["made-1", "made-2"]


def raise_at(count):
    def report(done):
        if done.files == count:
            raise RuntimeError("stop")

    return report


def test_where_nothing_is_left_there_is_no_store(tmp_path):
    write(tmp_path / "a.log", {"bad": "nan"})
    with pytest.raises(InvalidData, match=r"none of 1 files .* nan"):
        bring([tmp_path / "a.log"], tmp_path / "store", skip_bad=True)
    assert not (tmp_path / "store.partial").exists(), "there is nothing to go on with"
    write(tmp_path / "a.log")
    with pytest.raises(InvalidData, match=r"none of 1 files .* no records"):
        bring([tmp_path / "a.log"], tmp_path / "store", overwrite=True)
    assert not (tmp_path / "store").exists()


def test_a_file_of_another_kind_is_named(logs, tmp_path):
    with pytest.raises(InvalidData, match=r"other is not in the format made: it looks like other$"):
        bring([logs / "day-0" / "other"], tmp_path / "store")
    with pytest.raises(InvalidData, match=r"nowhere is neither a file nor a folder"):
        bring([logs / "nowhere"], tmp_path / "store")
    with pytest.raises(InvalidData, match="no format 'fax'"):
        import_scenarios([logs], "fax", tmp_path / "store", formats=FORMATS)
    with pytest.raises(MissingPackage, match="the format gone cannot be read"):
        import_scenarios([logs], "gone", tmp_path / "store", formats={**FORMATS, "gone": "no_such_module"})
    with pytest.raises(InvalidData, match="name the files"):
        bring([], tmp_path / "store")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a").write_text("{}")
    with pytest.raises(InvalidData, match=r"holds nothing .* 1 files; they look like JSON of another kind"):
        bring([tmp_path / "texts"], tmp_path / "store")
    assert not (tmp_path / "store.partial").exists()


def test_damaged_files_of_a_folder_are_not_passed_over(logs, tmp_path):
    """Whose content does not show the format: known by their names, or as empty."""
    whole = (logs / "day-0" / "0.log").read_bytes()
    (logs / "day-0" / "cut.log").write_bytes(whole[:3])
    (logs / "day-1" / "flipped.LOG").write_bytes(bytes([whole[0] ^ 4]) + whole[1:])
    (logs / "day-2" / "empty").touch()
    for name in ("._0.log", ".gitkeep", "_SUCCESS"):
        (logs / name).write_bytes(b"\0" if name == "._0.log" else b"")
    (logs / "other.log").write_text("other logs\n")  # Of a format that is known, under whatever name.
    with pytest.raises(InvalidData, match=r"cut\.log: record 0: it does not begin .* \(--skip-bad"):
        bring([logs], tmp_path / "store")
    assert not (tmp_path / "store").exists()
    facts = bring([logs], tmp_path / "store", skip_bad=True, resume=True)
    assert [Path(bad["file"]).name for bad in facts["skipped"]] == ["cut.log", "flipped.LOG", "empty"]
    assert (facts["files"], facts["scenarios"]) == (8 + 3, 15)


def test_a_damaged_file_that_is_named_is_skipped_and_counted(logs, tmp_path):
    bad = tmp_path / "bad" / "b.log"
    bad.parent.mkdir()
    bad.write_bytes(b"nade logs\n")
    with pytest.raises(InvalidData, match=r"b\.log is not in the format made"):
        bring([logs, bad], tmp_path / "store")
    with pytest.raises(InvalidData, match=r"bad holds nothing in the format made.* \(.*b\.log seems to be damaged\)"):
        bring([logs, bad.parent], tmp_path / "store")
    for name, given in (("file", bad), ("folder", bad.parent)):
        facts = bring([logs, given], tmp_path / name, skip_bad=True)
        assert (facts["files"], facts["scenarios"]) == (9, 15)
        assert [skipped["file"] for skipped in facts["skipped"]] == [str(bad)]
    with pytest.raises(InvalidData, match=r"none of 1 files .*b\.log"):
        bring([bad], tmp_path / "store", skip_bad=True)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("name", "usual", "others"),
    [
        ("waymo", ["a.tfrecord", "training.tfrecord-00000-of-01000", "A.TFRECORD"], ["a.tfrecord.gz", "README"]),
        ("gpudrive", ["tfrecord-00000-of-01000_4.json"], ["a.json.gz", "json"]),
        ("commonroad", ["USA_US101-1_1_T-1.xml"], ["a.xosc"]),
        ("scenarionet", ["sd_nuscenes_a.pkl", "7.pkl"], ["dataset_summary.pkl", "dataset_mapping.pkl", "a.py"]),
        ("argoverse2", ["scenario_0a1e.parquet"], ["log_map_archive_0a1e.json"]),
    ],
)
def test_usual_names(name, usual, others):
    names = re.compile(readers.reader(name).NAMES)
    assert all(names.fullmatch(text.lower()) for text in usual)
    assert not any(names.fullmatch(text.lower()) for text in others)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"other logs\n", "other"),
        (b"PAR1....", "a Parquet table"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"  <?xml version='1.0'?>", "XML of another kind"),
        (b"\xef\xbb\xbf[1]", "JSON of another kind"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"hello", "text"),
        (bytes(range(256)), "an unknown binary file"),
    ],
)
def test_what_a_file_looks_like(head, what):
    assert readers.looks_like(head, FORMATS).startswith(what)


def test_a_changed_file_is_read_again(logs, tmp_path, monkeypatch):
    note = tmp_path / "read"
    monkeypatch.setenv("MADE_LOGS_READ", str(note))
    bad = write(logs / "day-2" / "5.log", 50, {"bad": "nan"})
    with pytest.raises(InvalidData, match="nan"):
        bring([logs], tmp_path / "store")
    assert len(note.read_text().split()) == 8
    note.unlink()
    write(bad, 50, 51, 52)
    bring([logs], tmp_path / "store", resume=True)
    assert note.read_text().split() == ["5.log"]
    monkeypatch.delenv("MADE_LOGS_READ")
    bring([logs], tmp_path / "whole")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


CHILD = """
import sys
from pathlib import Path
from made_logs import FORMATS
from mairl.scenarios.importing import import_scenarios

if __name__ == "__main__":
    import_scenarios(
        [Path(sys.argv[1])], "made", Path(sys.argv[2]), formats=FORMATS, workers=int(sys.argv[3]), resume=True
    )
"""


def finished_parts(partial: Path) -> int:
    try:
        return sum(name.endswith(".json") for name in os.listdir(partial / "parts"))
    except FileNotFoundError:  # Not there yet, or no longer.
        return 0


def children_of(group: int) -> list[int]:
    """Live processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for what is left of a killed process in /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path, monkeypatch, workers):
    logs, out, note = tmp_path / "logs", tmp_path / "store", tmp_path / "read"
    for k in range(12):
        write(logs / f"{k:02d}.log", {"seed": k, "agents": 3, "sleep": 0.15})
    bring([logs], tmp_path / "whole")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    environment = {**os.environ, "MADE_LOGS_READ": str(note)}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path])
    kills = 0
    while not out.exists():
        finished = finished_parts(tmp_path / "store.partial")
        child = subprocess.Popen(
            [sys.executable, script, logs, out, str(workers)], env=environment, start_new_session=True
        )
        # Each time a little further: some files more, then in the middle of one, or of putting the store together.
        while child.poll() is None and finished_parts(tmp_path / "store.partial") < finished + 4:
            time.sleep(0.005)
        time.sleep(0.05 * (kills % 4))
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.wait()
        assert kills < 20
        if not out.exists():
            with pytest.raises(InvalidData, match="unfinished"):
                store.open(out)
        deadline = time.monotonic() + 60
        while children_of(child.pid):
            assert time.monotonic() < deadline, "workers outlived their parent"
            time.sleep(0.05)
    assert kills >= 2
    assert contents(out) == contents(tmp_path / "whole")
    # Every file is read once, but for those that were being read when a kill came.
    assert len(note.read_text().split()) <= 12 + kills * workers
    assert set(note.read_text().split()) == {f"{k:02d}.log" for k in range(12)}


def test_killed_while_the_store_is_put_together(logs, tmp_path, monkeypatch):
    """At each of the last steps: what a kill there leaves behind is finished by going on."""
    bring([logs], tmp_path / "whole")
    out = tmp_path / "store"
    for step in ("write_rows", "finish", "put_in_place"):
        with monkeypatch.context() as patch:
            original = getattr(store, step)

            def killed(*args, step=step, original=original):
                if step == "write_rows" and "parts" in str(args[0]):
                    return original(*args)
                if step == "finish":
                    original(*args)
                raise KeyboardInterrupt

            patch.setattr(store, step, killed)
            with pytest.raises(KeyboardInterrupt):
                bring([logs], out, resume=True)
        assert not out.exists()
    bring([logs], out, resume=True)
    assert contents(out) == contents(tmp_path / "whole")
    assert not (tmp_path / "store.partial").exists()


def test_without_ray_its_install_command_is_named(tmp_path):
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed")
    with pytest.raises(MissingPackage, match="pip install ray"):
        list(spread(len, ["a"], ray=True))


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_ray_changes_nothing(logs, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    bring([logs], tmp_path / "one")
    bring([logs], tmp_path / "cluster", ray=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "cluster")


SAMPLES = {
    "waymo": ("womd_tfrecord/womd_scenario_input.tfrecord", 1),
    "gpudrive": ("womd_json", 12),
    "scenarionet": ("nuscenes_scenarionet", 6),
    "commonroad": ("ngsim_commonroad", 63),
    "argoverse2": ("argoverse2", 1),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_real_samples(name, tmp_path):
    if importlib.util.find_spec(readers.FORMATS[name]) is None:
        pytest.skip(f"{readers.FORMATS[name]} is not there")
    folder, count = SAMPLES[name]
    if DATA is None or not (DATA / folder).exists():
        pytest.skip("no sample data")
    facts = import_scenarios([DATA / folder], name, tmp_path / "store")
    found = store.open(tmp_path / "store")
    assert (len(found), facts["scenarios"], facts["skipped"]) == (count, count, [])
    files, rows = readers.find([DATA / folder], name), found.metadata.to_pylist()
    assert len(files) == count
    for k in range(count):
        (scenario,) = readers.reader(name).read(files[k])
        assert not isinstance(scenario, InvalidData)
        assert codec.encode(scenario).equals(codec.encode(found[k]))
        assert rows[k] == codec.metadata(scenario)
        assert rows[k]["source"] == name
    store.validate(tmp_path / "store")


ONE = {
    "waymo": "womd_tfrecord/womd_scenario_input.tfrecord",
    "gpudrive": "womd_json/tfrecord-00000-of-01000_4.json",
    "scenarionet": "nuscenes_scenarionet/sd_nuscenes_v1.0-mini_scene-0061.pkl",
    "commonroad": "ngsim_commonroad/USA_Peach-2_1_T-1.xml",
    "argoverse2": "argoverse2/{0}/scenario_{0}.parquet".format("0a1e6f0a-1817-4a98-b02e-db8c9327d151"),
}


@pytest.mark.parametrize("name", ONE)
def test_damaged_samples_of_a_folder_are_skipped_and_counted(name, tmp_path):
    if DATA is None or not (DATA / ONE[name]).exists():
        pytest.skip("no sample data")
    sample, logs = DATA / ONE[name], tmp_path / "logs"
    whole = sample.read_bytes()
    logs.mkdir()
    for file in sample.parent.iterdir() if name == "argoverse2" else [sample]:
        shutil.copyfile(file, logs / file.name)
    for k, data in enumerate((b"", whole[:3], whole[:20], b"[" + whole[1:])):
        (logs / f"zz-{k}{sample.suffix}").write_bytes(data)
    (logs / "README").write_text("about these logs")
    with pytest.raises(InvalidData, match=r"zz-0.*--skip-bad"):
        import_scenarios([logs], name, tmp_path / "store", workers=1)
    facts = import_scenarios([logs], name, tmp_path / "store", workers=1, skip_bad=True, resume=True)
    assert (facts["files"], facts["scenarios"]) == (5, 1)
    assert [Path(bad["file"]).stem for bad in facts["skipped"]] == [f"zz-{k}" for k in range(4)]


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("gpudrive", "license.json", '{"license": "CC"}'),
        ("gpudrive", "list.json", "[1, 2]"),
        ("commonroad", "catalog.xml", '<?xml version="1.0"?>\n<!-- none -->\n<Profiles version="1"/>'),
    ],
)
def test_whole_files_of_other_kinds_are_passed_over(tmp_path, name, file, text):
    """And cut ones of the same name are not: they may have been scenes."""
    (tmp_path / file).write_text(text)
    asked = readers.reader(name)
    assert asked.other(tmp_path / file)
    with pytest.raises(InvalidData, match=r"it has 1 files; they look like \w+ of another kind$"):
        readers.find([tmp_path], name)
    (tmp_path / file).write_text(text[:5] if name == "gpudrive" else "<?xml ")
    assert not asked.other(tmp_path / file)


def test_other_tables_are_no_argoverse_scenes(tmp_path):
    table = pa.table({"weather": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "weather.parquet")
    asked = readers.reader("argoverse2")
    assert asked.other(tmp_path / "weather.parquet")
    pq.write_table(pa.table({"track_id": ["AV"]}), tmp_path / "scenario_x.parquet")
    assert not asked.other(tmp_path / "scenario_x.parquet")
    assert readers.find([tmp_path], "argoverse2") == [tmp_path / "scenario_x.parquet"]


@pytest.mark.skipif(DATA is None, reason="no sample data")
@pytest.mark.parametrize(
    ("name", "files"), [("gpudrive", 12), ("commonroad", 63), ("scenarionet", 6), ("argoverse2", 1)]
)
def test_a_folder_of_many_formats_is_searched_for_one(name, files):
    assert len(readers.find([DATA], name)) == files
