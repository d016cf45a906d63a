"""TFRecord frames: the checksum's published values, whole files, and every kind of damage."""

import random
import struct

import pytest

from mairl.core.errors import InvalidData
from mairl.scenarios import tfrecord
from mairl.scenarios.tfrecord import crc32c, is_frame, masked_crc32c, payloads


def framed(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, payload)]
    return length + sums[0] + payload + sums[1]


def slow_crc32c(data: bytes) -> int:
    """By the definition: one bit at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720, B.4, and the usual check value.
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_checksum_has_its_published_values(data, expected):
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [1, 63, 64, 65, 66, 67, 68, 127, 128, 129, 255, 1000, 4099])
def test_checksum_is_the_definition_at_every_size(size):
    data = random.Random(size).randbytes(size)
    assert crc32c(data) == slow_crc32c(data)


@pytest.mark.parametrize("size", [512, 513, 575, 576, 577, 1100])
def test_checksum_does_not_depend_on_the_pieces(monkeypatch, size):
    data = random.Random(size).randbytes(size)
    expected = slow_crc32c(data)
    monkeypatch.setattr(tfrecord, "CHUNK", 512)
    assert crc32c(data) == expected


def test_mask_turns_and_adds():
    crc = crc32c(b"123456789")
    turned = int(f"{crc:032b}"[-15:] + f"{crc:032b}"[:-15], 2)
    assert masked_crc32c(b"123456789") == (turned + 0xA282EAD8) % 2**32


def test_payloads_come_back_in_order(tmp_path):
    file = tmp_path / "whole.tfrecord"
    parts = [b"", b"a", random.Random(0).randbytes(3000), b"end"]
    file.write_bytes(b"".join(map(framed, parts)))
    assert list(payloads(file)) == parts
    assert is_frame(file.read_bytes()[:4096])


def test_a_wrong_payload_is_named_and_the_next_one_read(tmp_path):
    file = tmp_path / "damaged.tfrecord"
    frames = [framed(b"first"), framed(b"second"), framed(b"third")]
    middle = bytearray(frames[1])
    middle[14] ^= 4
    file.write_bytes(frames[0] + middle + frames[2])
    first, second, third = payloads(file)
    assert (first, third) == (b"first", b"third")
    assert isinstance(second, InvalidData)
    assert f"{file}, record 1: the checksum of its 6 bytes" in str(second)


def test_every_flipped_bit_is_found(tmp_path):
    file = tmp_path / "flipped.tfrecord"
    whole = framed(b"before") + framed(random.Random(1).randbytes(90)) + framed(b"after")
    start, end = len(framed(b"before")), len(whole) - len(framed(b"after"))
    for place in range(start, end):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        found = list(payloads(file))
        assert found[0] == b"before"
        assert isinstance(found[1], InvalidData), place
        assert "record 1" in str(found[1])
        # A wrong length hides where the next frame begins; a wrong payload does not.
        assert found[2:] == ([] if place < start + 12 else [b"after"])


def test_every_cut_is_found(tmp_path):
    file = tmp_path / "cut.tfrecord"
    first = framed(b"whole")
    whole = first + framed(bytes(40))
    for size in range(1, len(whole)):
        file.write_bytes(whole[:size])
        *before, last = payloads(file)
        if size == len(first):
            assert (before, last) == ([], b"whole")
            continue
        assert before == [b"whole"] * (size > len(first))
        assert isinstance(last, InvalidData)
        assert f"record {len(before)}: the file is cut" in str(last)


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path):
    file = tmp_path / "huge.tfrecord"
    length = struct.pack("<Q", 2**63)
    file.write_bytes(length + struct.pack("<I", masked_crc32c(length)) + bytes(100))
    (error,) = payloads(file)
    assert f"the record has {2**63} bytes, 96 are there" in str(error)


@pytest.mark.parametrize("make", ["missing", "folder", "empty", "text"])
def test_what_is_no_file_of_frames_is_one_error(tmp_path, make):
    file = tmp_path / make
    if make == "folder":
        file.mkdir()
    elif make != "missing":
        file.write_bytes(b"" if make == "empty" else b"a line of text, and another\n")
    (error,) = payloads(file)
    assert isinstance(error, InvalidData)
    assert str(file) in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("head", [b"", b"{", bytes(11), bytes(12), b"PK\x03\x04" + bytes(60), framed(b"x")[:11]])
def test_other_heads_are_no_frames(head):
    assert not is_frame(head)
