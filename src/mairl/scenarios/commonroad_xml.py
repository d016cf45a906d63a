"""CommonRoad's XML, read safely: a tree of bounded depth without declarations, and its values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from mairl.core.errors import InvalidData

DEEPEST = 64
"""Elements inside one another; the format needs nine."""

LARGEST = 1 << 28
"""Bytes of a file: the tree takes some twenty times as many."""

FARTHEST = 1e9
"""Metres from the origin: more than any map projection gives."""

_CHUNK = 1 << 20


def tree(path: Path) -> Element:
    """The root element of a file.

    Document type declarations are refused, and with them every entity, so that nothing expands and nothing else is
    opened.

    Raises:
        InvalidData: no XML, cut, too large or too deep, or it declares a document type.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise InvalidData(f"it has {size} bytes, expected at most {LARGEST}: split it")
    builder, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise InvalidData(f"line {parser.CurrentLineNumber}: elements are more than {DEEPEST} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_) -> NoReturn:
        raise InvalidData(
            f"line {parser.CurrentLineNumber}: it declares a document type or entities, which the format does not "
            f"have: remove them"
        )

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                parser.Parse(chunk, False)
        parser.Parse(b"", True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:  # The latter two: an encoding that is not known.
        raise InvalidData(f"it is no whole XML file ({error}): fetch it again") from error


def child(element: Element, name: str) -> Element:
    """The element inside of that name.

    Raises:
        InvalidData: there is none.
    """
    found = element.find(name)
    if found is None:
        raise InvalidData(f"{element.tag} has no {name}")
    return found


def text(element: Element) -> str:
    """What stands in it, without spaces around."""
    return (element.text or "").strip()


def number(element: Element) -> float:
    """A finite number.

    Raises:
        InvalidData: it is none.
    """
    try:
        value = float(element.text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidData(f"{element.tag} is {text(element)[:40]!r}, expected a finite number")
    return value


def integer(element: Element) -> int:
    """A whole number that float64 holds.

    Raises:
        InvalidData: it is none.
    """
    value = number(element)
    if value != round(value) or abs(value) > 2**53:
        raise InvalidData(f"{element.tag} is {text(element)[:40]!r}, expected a whole number")
    return int(value)


def value(element: Element) -> float:
    """An exact value, or the middle of an interval.

    Raises:
        InvalidData: neither, or not finite.
    """
    exact = element.find("exact")
    if exact is not None:
        return number(exact)
    low, high = element.find("intervalStart"), element.find("intervalEnd")
    if low is None or high is None:
        raise InvalidData(f"{element.tag} has neither exact nor intervalStart and intervalEnd")
    return number(low) / 2 + number(high) / 2


def point(element: Element) -> tuple[float, float]:
    """x and y in metres; a z is not read."""
    x, y = number(child(element, "x")), number(child(element, "y"))
    if max(abs(x), abs(y)) > FARTHEST:
        raise InvalidData(f"{element.tag} is at {x:.6g}, {y:.6g}, expected metres of at most {FARTHEST:.6g}")
    return x, y


def points(element: Element) -> np.ndarray:
    """The points inside, `[point, 2]`."""
    return np.array([point(p) for p in element.findall("point")], np.float64).reshape(-1, 2)


def name(element: Element, attribute: str = "id") -> str:
    """An attribute that must be there and not be empty.

    Raises:
        InvalidData: it is not.
    """
    found = (element.get(attribute) or "").strip()
    if not found:
        raise InvalidData(f"{element.tag} has no attribute {attribute}")
    return found


def references(element: Element, tag: str) -> list[str]:
    """The ids that elements of that name refer to."""
    return [name(found, "ref") for found in element.findall(tag)]


def plain(element: Element) -> dict | list | str | float:
    """An element as JSON-able values: numbers where they are numbers, a list where a name comes more than once."""
    if not len(element) and not element.attrib:
        found = text(element)
        try:
            as_number = float(found)
        except ValueError:
            return found
        return as_number if math.isfinite(as_number) else found
    named: dict[str, list] = {}
    for inner in element:
        named.setdefault(inner.tag, []).append(plain(inner))
    result: dict = dict(element.attrib)
    for name, found in named.items():
        whole = [result[name], *found] if name in result else found
        result[name] = whole if len(whole) > 1 else whole[0]
    return result
