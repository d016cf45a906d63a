"""A machine for pickles that knows the opcodes for values and calls nothing that a file names.

Python's unpickler resolves names, calls them, and trusts sizes: limiting its `find_class` still leaves allocations
of a length that the file merely states, and tuples nested so deep that hashing them overflows the stack. Here a global
is a token until it is found in a fixed table of stand-ins, every length is checked against the bytes that are left,
and only plain values can be keys. Protocols 2 to 5 are known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from mairl.core.errors import InvalidData

MOST_STEPS = 10_000_000
"""Opcodes: each makes at most one object, so that memory stays near a gigabyte at worst."""


class Inert:
    """What stands in for a class that a pickle names: it keeps its arguments and state and does nothing."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.state: Any = None

    def set_state(self, state) -> None:
        """Keeps what the pickle would have set."""
        self.state = state


class _Global(tuple):
    """A module and a name, not yet looked up: nothing can be reached through it."""


class _Mark:
    """Where a run of items begins on the stack."""


_MARK = _Mark()
_FLOAT = struct.Struct(">d")


def plain(key):
    """A key or member of a set: nothing whose hash walks through other objects."""
    if key is None or type(key) in (str, int, float, bool, bytes):
        return key
    raise InvalidData(f"it has a key of type {type(key).__name__}, expected text or a number")


def _added(items: dict, pairs: list) -> None:
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        items[plain(key)] = value


class Machine:
    """The stack, the memo and the place in the bytes."""

    def __init__(self, data: bytes, allowed: Mapping[tuple[str, str], Callable[..., Any]]):
        self.data, self.at, self.allowed = data, 0, allowed
        self.stack: list = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Takes steps until the pickle's end; returns the value that stands on top."""
        data, stack, memo, float_at = self.data, self.stack, self.memo, _FLOAT.unpack_from
        for _ in range(MOST_STEPS):
            code = data[self.at]
            self.at += 1
            if code == 0x47:  # BINFLOAT, here for speed: maps in lists are mostly these
                stack.append(float_at(data, self.at)[0])
                self.at += 8
            elif code == 0x94:  # MEMOIZE, likewise
                memo[len(memo)] = stack[-1]
            elif code == 0x2E:  # STOP
                return stack.pop()
            else:
                step = _STEPS.get(code)
                if step is None:
                    raise InvalidData(
                        f"byte {self.at - 1} is {code:#04x}, which no plain pickle of protocols 2 to 5 has"
                    )
                step(self)
        raise InvalidData(f"it has more than {MOST_STEPS} values")

    def take(self, count: int) -> bytes:
        """The next bytes, which must be there."""
        stop = self.at + count
        if count < 0 or stop > len(self.data):
            raise InvalidData(
                f"it is cut or damaged: {count} bytes are asked for at byte {self.at} of {len(self.data)}"
            )
        taken = self.data[self.at : stop]
        self.at = stop
        return taken

    def size(self, width: int) -> int:
        """The next unsigned number of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        """The next line of text."""
        stop = self.data.index(b"\n", self.at)
        if stop - self.at > 200:
            raise InvalidData("it asks for a name of more than 200 letters")
        text = self.data[self.at : stop].decode("utf-8")
        self.at = stop + 1
        return text

    def since_mark(self) -> list:
        """What stands on the stack above the last mark, taken off with it."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise InvalidData("it is damaged: a run of items has no beginning")

    def top(self, kind: type) -> Any:
        """What stands on top, which must be of this kind."""
        if not isinstance(self.stack[-1], kind):
            raise InvalidData(f"it is damaged: it fills a {type(self.stack[-1]).__name__} like a {kind.__name__}")
        return self.stack[-1]

    def call(self, name, arguments) -> None:
        """Puts what the stand-in makes of the arguments on the stack."""
        if not isinstance(name, _Global) or not isinstance(arguments, tuple):
            raise InvalidData("it calls something that is no name")
        self.stack.append(self.allowed[name](*arguments))

    def ask(self, module, name) -> None:
        """Puts a name that is allowed on the stack, as a token."""
        if (module, name) not in self.allowed:
            shown = f"{module}.{name}"[:120] if isinstance(module, str) and isinstance(name, str) else "something"
            raise InvalidData(f"it asks for {shown}, which no recording needs: it is refused, and nothing was run")
        self.stack.append(_Global((module, name)))


Step = Callable[["Machine"], Any]
"""One opcode's work; what it returns is not used."""


def _push(value) -> Step:
    return lambda m: m.stack.append(value)


def _number(form: str) -> Step:
    layout = struct.Struct(form)
    return lambda m: m.stack.append(layout.unpack(m.take(layout.size))[0])


def _long(width: int) -> Step:
    def step(m: Machine) -> None:
        count = m.size(width)
        if count > 16:
            raise InvalidData(f"it holds a whole number of {count} bytes, expected at most 16")
        m.stack.append(int.from_bytes(m.take(count), "little", signed=True))

    return step


def _text(width: int, encoding: str = "utf-8") -> Step:
    return lambda m: m.stack.append(m.take(m.size(width)).decode(encoding, "surrogatepass"))


def _bytes(width: int) -> Step:
    return lambda m: m.stack.append(m.take(m.size(width)))


def _tuple(count: int) -> Step:
    def step(m: Machine) -> None:
        if len(m.stack) < count:
            raise InvalidData("it is damaged: a tuple lacks items")
        items = tuple(m.stack[-count:])
        del m.stack[-count:]
        m.stack.append(items)

    return step


def _append(m: Machine) -> None:
    item = m.stack.pop()
    m.top(list).append(item)


def _appends(m: Machine) -> None:
    items = m.since_mark()
    m.top(list).extend(items)


def _set_item(m: Machine) -> None:
    pair = m.stack[-2:]
    del m.stack[-2:]
    _added(m.top(dict), pair)


def _set_items(m: Machine) -> None:
    pairs = m.since_mark()
    _added(m.top(dict), pairs)


def _dict(m: Machine) -> None:
    items: dict = {}
    _added(items, m.since_mark())
    m.stack.append(items)


def _add_items(m: Machine) -> None:
    items = m.since_mark()
    m.top(set).update(plain(item) for item in items)


def _put(width: int) -> Step:
    """The memo is a dictionary, so that a large index costs nothing."""

    def step(m: Machine) -> None:
        m.memo[m.size(width)] = m.stack[-1]

    return step


def _get(width: int) -> Step:
    return lambda m: m.stack.append(m.memo[m.size(width)])


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise InvalidData("it asks for something that is no name")
    m.ask(module, name)


def _call(m: Machine) -> None:
    arguments, name = m.stack.pop(), m.stack.pop()
    m.call(name, arguments)


def _build(m: Machine) -> None:
    state = m.stack.pop()
    m.top(Inert).set_state(state)


_STEPS: dict[int, Step] = {
    0x80: lambda m: m.take(1),  # PROTO
    0x95: lambda m: m.take(8),  # FRAME: the bytes follow one another whatever its length
    ord("("): _push(_MARK),
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("N"): _push(None),
    0x88: _push(True),
    0x89: _push(False),
    ord("J"): _number("<i"),
    ord("K"): _number("<B"),
    ord("M"): _number("<H"),
    0x8A: _long(1),
    0x8B: _long(4),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("T"): _text(4, "latin1"),
    ord("U"): _text(1, "latin1"),
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    0x8E: _bytes(8),
    0x96: _bytes(8),  # BYTEARRAY8: nobody writes into it, so bytes do
    ord("]"): lambda m: m.stack.append([]),
    ord("l"): lambda m: m.stack.append(m.since_mark()),
    ord("a"): _append,
    ord("e"): _appends,
    ord(")"): _push(()),
    ord("t"): lambda m: m.stack.append(tuple(m.since_mark())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("}"): lambda m: m.stack.append({}),
    ord("d"): _dict,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: lambda m: m.stack.append(set()),
    0x90: _add_items,
    0x91: lambda m: m.stack.append({plain(item) for item in m.since_mark()}),
    ord("q"): _put(1),
    ord("r"): _put(4),
    ord("h"): _get(1),
    ord("j"): _get(4),
    ord("c"): lambda m: m.ask(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): _call,
    0x81: _call,  # NEWOBJ: stand-ins do not tell making from calling
    ord("b"): _build,
}
