"""Pickles read as data: what is plain comes back, what is hostile is refused before it does anything."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest

from mairl.core.errors import InvalidData
from mairl.data.restricted_pickle import CONTAINERS, NUMPY, Array, loads

ALLOWED = {**NUMPY, **CONTAINERS}

PLAIN = {
    "array": np.arange(6.0).reshape(2, 3),
    "column-major": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(6, dtype=">i4"),
    "flags": np.array([True, False]),
    "words": np.array(["ab", "c"]),
    "objects": np.array(["a", None], object),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.float32(1.5),
    "no bytes": b"",
    "numbers": [-5, 2**70, 0.25, 300, 70_000, True, None],
    "containers": ({1, 2}, frozenset(["x"]), b"xy", (), (1,), [[], {}]),
    "default": collections.defaultdict(int, {"a": 1}),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back(protocol):
    found = loads(pickle.dumps(PLAIN, protocol=protocol), ALLOWED)
    assert list(found) == list(PLAIN)
    for name, value in PLAIN.items():
        if isinstance(value, np.ndarray):
            assert isinstance(found[name], Array)
            np.testing.assert_array_equal(found[name].items, value)
            assert found[name].items.shape == value.shape
        else:
            assert found[name] == value


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_arrays_of_both_numpys_are_known(module):
    data = pickle.dumps(np.arange(3), protocol=3)
    core = next(name for name in (b"numpy._core.", b"numpy.core.") if name in data)
    found = loads(data.replace(core, module.encode() + b"."), ALLOWED)
    np.testing.assert_array_equal(found.items, np.arange(3))


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_calls_are_refused_and_not_made(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for hostile in (
        Calls(os.system, "touch was-here"),
        Calls(eval, "open('was-here', 'w')"),
        Calls(os.mkdir, "was-here"),
        Calls(getattr, {}, "keys"),
    ):
        with pytest.raises(InvalidData, match="no recording needs"):
            loads(pickle.dumps({"a": [hostile]}, protocol=protocol), ALLOWED)
    assert not list(tmp_path.iterdir())


def numbers(count):
    return struct.pack("<I", count)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut or damaged"),
        (b"\x80\x04", "cut or damaged"),
        (b"\x80\x04N", "cut or damaged"),
        (b"\x80\x04\x8d" + b"\xff" * 7 + b"\x3f.", "bytes are asked for"),
        (b"\x80\x05\x96" + b"\x00" * 5 + b"\x01\x00\x00.", "bytes are asked for"),
        (b"\x80\x04B" + numbers(2**31) + b".", "bytes are asked for"),
        (b"\x80\x04\x8b" + numbers(100) + b"\x01" * 100 + b".", "whole number of 100 bytes"),
        (b"\x80\x04u.", "no beginning"),
        (b"\x80\x04Na.", "cut or damaged"),
        (b"\x80\x04NNa.", "fills a NoneType"),
        (b"\x80\x04}Nb.", "fills a dict"),
        (b"\x80\x04NNR.", "no name"),
        (b"\x80\x04\x82\x01.", "0x82"),
        (b"P1\n.", "0x50"),
        (b"cos\nsystem\n.", "os.system"),
        (b"cbuiltins\neval\n.", "builtins.eval"),
        (b"\x80\x04}(" + b")" * 2 + b"u.", "key of type tuple"),
    ],
)
def test_damage_and_lies_about_sizes_end_in_one_error(data, said):
    with pytest.raises(InvalidData, match=said):
        loads(data, ALLOWED)


def test_a_tuple_nested_deep_is_no_key():
    with pytest.raises(InvalidData, match="key of type tuple"):
        loads(b"\x80\x04})" + b"\x85" * 300_000 + b"Ns.", ALLOWED)


def test_a_large_memo_index_allocates_nothing():
    assert loads(b"\x80\x04Kar\xff\xff\xff\xff0j\xff\xff\xff\xff.", ALLOWED) == 97


@pytest.mark.parametrize(
    ("shape", "code", "items"),
    [
        ((10**12,), "f8", b""),
        ((2**30, 0), "f8", b""),
        ((2,), "f8", b"1" * 15),
        ((-1,), "f8", b""),
        ((1,), "V8", b"1" * 8),
    ],
)
def test_arrays_must_have_the_bytes_that_they_claim(shape, code, items):
    # _frombuffer(items, dtype(code), shape, "C")
    head = b"\x80\x04\x8c\x12numpy.core.numeric\x8c\x0b_frombuffer\x93("
    body = pickle.dumps(items, protocol=3)[2:-1] + b"cnumpy\ndtype\n" + pickle.dumps((code,), protocol=3)[2:-1] + b"R"
    with pytest.raises(InvalidData, match="array"):
        loads(head + body + pickle.dumps(shape, protocol=3)[2:-1] + b"U\x01CtR.", ALLOWED)


def test_too_large_a_file_is_not_begun():
    with pytest.raises(InvalidData, match="expected at most 10"):
        loads(b"x" * 11, ALLOWED, largest=10)


def test_any_damage_ends_in_an_error_or_a_value():
    rng = np.random.default_rng(0)
    for protocol in (2, 4, 5):
        whole = pickle.dumps(PLAIN, protocol=protocol)
        for _ in range(400):
            data = bytearray(whole[: int(rng.integers(1, len(whole)))] if rng.random() < 0.2 else whole)
            for _ in range(int(rng.integers(1, 5))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
            try:
                loads(bytes(data), ALLOWED)
            except InvalidData:
                continue
