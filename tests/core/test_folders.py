"""A folder put in its place: whole, whatever was there before and wherever the work ends."""

import re

import pytest

from mairl.core import folders


class Killed(BaseException):
    pass


def made(path, text):
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(text)
    return path


def test_replaces_all_that_was_there(tmp_path):
    place = made(tmp_path / "place", "old")
    (place / "stale").write_text("")
    folders.put_in_place(made(tmp_path / "finished", "new"), place)
    assert [p.name for p in tmp_path.iterdir()] == ["place"]
    assert [p.name for p in place.rglob("*")] == ["inner", "file"]
    assert (place / "inner" / "file").read_text() == "new"


def test_a_copy_that_somebody_keeps_stays(tmp_path):
    place, kept = made(tmp_path / "place", "old"), made(tmp_path / "place.old", "kept")
    folders.put_in_place(made(tmp_path / "finished", "new"), place)
    assert (kept / "inner" / "file").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["place", "place.old"]


@pytest.mark.parametrize("die_at", range(3))
def test_ended_anywhere_it_leaves_one_of_them_whole(tmp_path, monkeypatch, die_at):
    """The renames: the old one aside, the new one in; then the old one is deleted."""
    place = made(tmp_path / "place", "old")
    finished = made(tmp_path / "finished", "new")
    calls = iter(range(100))

    def counted(original):
        def call(*args, **kwargs):
            if next(calls) == die_at:
                raise Killed
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "rename", counted(folders.os.rename))
        patch.setattr(folders.shutil, "rmtree", counted(folders.shutil.rmtree))
        with pytest.raises(Killed):
            folders.put_in_place(finished, place)
    aside = re.compile(r"place\.[0-9a-f]{32}\.old")
    found = {aside.sub("place.old", p.name): (p / "inner" / "file").read_text() for p in tmp_path.iterdir()}
    assert (
        found
        == (
            {"place": "old", "finished": "new"},
            {"place.old": "old", "finished": "new"},
            {"place.old": "old", "place": "new"},
        )[die_at]
    )
    if die_at < 2:
        folders.put_in_place(finished, place)
        assert (place / "inner" / "file").read_text() == "new"


def test_everything_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(folders, "sync", lambda path: seen.append((path.name, (tmp_path / "place").exists())))
    folders.put_in_place(made(tmp_path / "finished", "new"), tmp_path / "place")
    assert seen == [("inner", False), ("file", False), ("finished", False), (tmp_path.name, True)]


def test_digest(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert folders.digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
