"""Conditions on the columns of a table, as text: `num_agents > 20 and (source == "waymo" or not dt < 0.1)`.

Comparisons (also chained), `and`, `or`, `not`, parentheses, numbers, strings; `sdc_index is None` asks for what is not
known. Nothing else is understood, and nothing is ever executed.
"""

from __future__ import annotations

import ast

import pyarrow as pa
import pyarrow.compute as pc

from mairl.core.errors import InvalidData

LONGEST = 2000
"""Characters."""

_COMPARE = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


def condition(text: str, schema: pa.Schema) -> pc.Expression:
    """The condition as an Arrow expression. A comparison with what is not known (null) does not hold.

    Raises:
        InvalidData: the text is no such condition; says what is not understood and lists the columns.
    """
    try:
        if len(text) > LONGEST:
            raise _NotUnderstood(f"it has {len(text)} characters, at most {LONGEST} are read")
        return _translate(ast.parse(text.strip(), mode="eval").body, schema)
    except (_NotUnderstood, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, _NotUnderstood) else "it is no expression"
        shown = text if len(text) < 100 else text[:100] + "…"
        raise InvalidData(
            f'the condition {shown!r}: {reason}. Write for example "num_agents > 20 and num_steps == 91"; '
            f"the columns are {', '.join(schema.names)}"
        ) from error


class _NotUnderstood(Exception):
    pass


def _translate(node: ast.expr, schema: pa.Schema) -> pc.Expression:
    if isinstance(node, ast.BoolOp):
        whole, *others = [_translate(part, schema) for part in node.values]
        for part in others:
            whole = whole & part if isinstance(node.op, ast.And) else whole | part
        return whole
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_translate(node.operand, schema)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        whole, *others = [_compare(a, op, b, schema) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)]
        for part in others:
            whole = whole & part
        return whole
    raise _NotUnderstood(f"{ast.unparse(node)!r} is no comparison")


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, schema: pa.Schema) -> pc.Expression:
    shown = ast.unparse(ast.Compare(left, [op], [right]))
    if isinstance(right, ast.Constant) and right.value is None:
        if not isinstance(left, ast.Name) or not isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
            raise _NotUnderstood(f"{shown!r} does not ask whether a column is known")
        unknown = _operand(left, schema)[0].is_null()
        return unknown if isinstance(op, ast.Is | ast.Eq) else ~unknown
    if type(op) not in _COMPARE:
        raise _NotUnderstood(f"{shown!r} is not one of the comparisons < <= > >= == !=")
    if not isinstance(left, ast.Name) and not isinstance(right, ast.Name):
        raise _NotUnderstood(f"{shown!r} names no column")
    (a, a_text), (b, b_text) = _operand(left, schema), _operand(right, schema)
    if a_text != b_text:
        raise _NotUnderstood(f"{shown!r} compares text with a number")
    return pc.coalesce(_COMPARE[type(op)](a, b), pc.scalar(False))  # pyright: ignore[reportAttributeAccessIssue]


def _operand(node: ast.expr, schema: pa.Schema) -> tuple[pc.Expression, bool]:
    """The expression, and whether it is text."""
    if isinstance(node, ast.Name):
        if node.id not in schema.names:
            raise _NotUnderstood(f"there is no column {node.id!r}")
        return pc.field(node.id), pa.types.is_string(schema.field(node.id).type)
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, str) and sign == 1:
        return pc.scalar(value), True
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Beyond 64 bits Arrow has no integers; a float compares the same way there.
        return pc.scalar(sign * value if abs(value) < 2**63 else float(sign * value)), False
    raise _NotUnderstood(f"{ast.unparse(node)!r} is neither a column nor a number nor a string")
