"""TFRecord files: payloads one behind the other, each in a frame with two checksums.

A frame is the payload's length (u64, little-endian), the masked CRC-32C of those eight bytes, the payload, and the
masked CRC-32C of the payload. A record is anything; this module knows frames only.

The checksum is NumPy alone. A CRC is linear over GF(2), so a 32-bit word at place i of a message weighs as much as the
word `advance(word)` would weigh L words later, where `advance` is what L words of zeros do to the register. Folding the
front of a message onto its back this way halves it, for all words at once; the last few words are left to a loop.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mairl.core.errors import InvalidData

POLYNOMIAL = 0x82F63B78
"""Castagnoli's, bits reversed: the bit of the highest power comes first."""

CHUNK = 1 << 20
"""Bytes folded at a time, so that a large payload needs little memory beside itself."""

OVERHEAD = 16
"""Bytes of a frame beside its payload."""

SHORT = 64
"""Bytes up to which a loop is faster than folding."""


def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_BYTE = _byte_table()


def _looped(state: int, data: bytes) -> int:
    """The register after some bytes, one by one."""
    for byte in data:
        state = _BYTE[(state ^ byte) & 255] ^ state >> 8
    return state


@functools.cache
def _advance(k: int) -> np.ndarray:
    """What 2ᵏ words of zeros do to the register: one table for its lower and one for its upper half, `[2, 65536]`."""
    if k == 0:
        images = np.array([_looped(1 << bit, bytes(4)) for bit in range(32)], np.uint32)
    else:
        lower, upper = _advance(k - 1)
        once = np.concatenate([lower[1 << np.arange(16)], upper[1 << np.arange(16)]])
        images = lower[once & 0xFFFF] ^ upper[once >> 16]
    table = np.zeros((2, 1), np.uint32)
    for bit in range(16):  # The image of a sum is the sum of the images.
        table = np.concatenate([table, table ^ images[[[bit], [16 + bit]]]], axis=1)
    return table


def _folded(state: int, data: bytes | memoryview) -> int:
    """As `_looped`, for a few thousand bytes at once."""
    pad = -len(data) % 4
    flat = np.empty(pad + len(data), np.uint8)
    flat[:pad] = 0  # Zeros in front leave a register of zeros as it is.
    flat[pad:] = np.frombuffer(data, np.uint8)
    flat[pad : pad + 4] ^= np.frombuffer(struct.pack("<I", state), np.uint8)
    words = flat.view("<u4")
    while len(words) * 4 > SHORT:
        k = (len(words) - 1).bit_length() - 1
        lower, upper = _advance(k)
        front, words = words[: -(1 << k)], words[-(1 << k) :]
        halves = front.view("<u2").reshape(-1, 2)
        words[-len(front) :] ^= lower[halves[:, 0]] ^ upper[halves[:, 1]]
    return _looped(0, words.tobytes())


def crc32c(data: bytes) -> int:
    """The CRC-32C (Castagnoli) of some bytes, 0 to 2³² - 1."""
    state = 0xFFFFFFFF
    if len(data) <= SHORT:
        return _looped(state, data) ^ 0xFFFFFFFF
    view = memoryview(data)
    for start in range(0, len(view), CHUNK):
        piece = view[start : start + CHUNK]
        state = _folded(state, piece) if len(piece) > SHORT else _looped(state, bytes(piece))
    return state ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as frames hold it: turned right by 15 bits, plus a constant, modulo 2³²."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_frame(head: bytes) -> bool:
    """Whether some bytes begin with the length of a frame and its checksum; at least 12 bytes are needed."""
    return len(head) >= 12 and struct.pack("<I", masked_crc32c(head[:8])) == head[8:12]


def frame(payload: bytes) -> bytes:
    """A payload as it stands in a file: with its length, and the checksums of both."""
    length = struct.pack("<Q", len(payload))
    checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, payload)]
    return length + checks[0] + payload + checks[1]


def payloads(path: Path) -> Iterator[bytes | InvalidData]:
    """The payloads of a file in order; for each that cannot be had, an error that names file and record (from 0).

    After a payload whose checksum is wrong it goes on. After a wrong length, or where the file is cut, it ends: nothing
    tells where the next frame begins. It raises nothing.
    """
    record = 0
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                yield InvalidData(f"{path} is empty: fetch it again")
            while file.tell() < size:
                found = _payload(file, size)
                yield found if isinstance(found, bytes) else InvalidData(f"{path}, record {record}: {found[0]}")
                if isinstance(found, tuple) and found[1]:
                    return
                record += 1
    except (OSError, MemoryError) as error:
        yield InvalidData(f"{path}, record {record} cannot be read: {type(error).__name__}: {error}")


def _payload(file, size: int) -> bytes | tuple[str, bool]:
    """A payload, or what is wrong with it and whether it is the last thing that can be read."""
    start = file.tell()
    head = file.read(12)
    if len(head) < 12:
        return f"the file is cut after {len(head)} of the 12 bytes of its frame: fetch it again", True
    if not is_frame(head):
        return f"the checksum of its length is wrong at byte {start}: no TFRecord, or damaged; fetch it again", True
    (length,) = struct.unpack_from("<Q", head)
    there = size - file.tell() - 4
    if length > there:  # Asked before reading, so that no length can ask for more memory than the file has bytes.
        return f"the file is cut: the record has {length} bytes, {max(there, 0)} are there; fetch it again", True
    payload, tail = file.read(length), file.read(4)
    if len(payload) < length or len(tail) < 4:
        return "the file became shorter while it was read", True
    if struct.pack("<I", masked_crc32c(payload)) != tail:
        return f"the checksum of its {length} bytes is wrong: the file is damaged, fetch it again", False
    return payload
