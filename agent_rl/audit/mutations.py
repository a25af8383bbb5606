"""The mistakes of mutants: the possible wrong replacements of one node of a syntax tree.

Each mistake is a function from a node to (kind, replacement) pairs. A replacement is a new node. It may contain parts
of the old node, which is never changed in place. Nothing is run here.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

Change = tuple[str, ast.AST]
"""The kind of mistake, and the node that replaces the right one."""

_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_BINARY: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Mult),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv, ast.Mult),
    ast.Pow: (ast.Mult, ast.Add),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr, ast.BitXor),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitAnd, ast.BitOr),
    ast.MatMult: (ast.Mult,),
}
_NAMES = (
    ("min", "max"),
    ("all", "any"),
    ("upper", "lower"),
    ("isupper", "islower"),
    ("startswith", "endswith"),
    ("lstrip", "rstrip"),
    ("find", "rfind"),
    ("index", "rindex"),
    ("floor", "ceil"),
    ("union", "intersection"),
    ("keys", "values"),
    ("bisect_left", "bisect_right"),
)
_OTHER_NAME = {a: b for pair in _NAMES for a, b in (pair, pair[::-1])} | {"popleft": "pop", "appendleft": "append"}
_COMMUTATIVE = frozenset({"max", "min", "gcd", "lcm"})
_REMOVABLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Delete, ast.Break, ast.Continue)


def changes(node: ast.AST) -> Iterator[Change]:
    """All mistakes that can be made at `node`."""
    for kind, make in _OPERATORS.items():
        if isinstance(node, kind):
            for change in make:
                yield from change(node)


def _compare(node: ast.Compare) -> Iterator[Change]:
    for index, operator in enumerate(node.ops):
        for other in _COMPARE[type(operator)]:
            operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
            yield "comparison", ast.Compare(node.left, operators, node.comparators)


def _binary(node: ast.BinOp) -> Iterator[Change]:
    for other in _BINARY[type(node.op)]:
        yield "operator", ast.BinOp(node.left, other(), node.right)
    yield "operand dropped", node.left
    yield "operand dropped", node.right


def _augmented(node: ast.AugAssign) -> Iterator[Change]:
    for other in _BINARY[type(node.op)]:
        yield "operator", ast.AugAssign(node.target, other(), node.value)
    target = copy.deepcopy(node.target)
    yield "assignment", ast.Assign([target], node.value, lineno=node.lineno)


def _boolean(node: ast.BoolOp) -> Iterator[Change]:
    yield "and/or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for index in range(len(node.values)):
        rest = node.values[:index] + node.values[index + 1 :]
        yield "condition dropped", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _unary(node: ast.UnaryOp) -> Iterator[Change]:
    yield "sign or not dropped", node.operand


def _constant(node: ast.Constant) -> Iterator[Change]:
    value = node.value
    if value is True or value is False:
        yield "constant", ast.Constant(not value)
    elif isinstance(value, (int, float)):
        for other in dict.fromkeys((value + 1, value - 1, type(value)(0))):
            if other != value:
                yield "constant", ast.Constant(other)
    elif isinstance(value, str):
        yield "constant", ast.Constant("" if value else "x")
        if value:
            yield "constant", ast.Constant(value + "x")
    elif isinstance(value, bytes):
        yield "constant", ast.Constant(b"" if value else b"x")
    elif value is None:
        yield "constant", ast.Constant(0)


def _condition(node: ast.If | ast.While | ast.IfExp) -> Iterator[Change]:
    def with_test(test: ast.expr) -> ast.AST:
        if isinstance(node, ast.IfExp):
            return ast.IfExp(test, node.body, node.orelse)
        return type(node)(test, node.body, node.orelse)

    yield "condition negated", with_test(ast.UnaryOp(ast.Not(), node.test))
    if not isinstance(node, ast.While):
        yield "condition always true", with_test(ast.Constant(True))
    yield "condition always false", with_test(ast.Constant(False))


def _loop(node: ast.For) -> Iterator[Change]:
    first = ast.Subscript(
        ast.Call(ast.Name("list", ast.Load()), [node.iter], []), ast.Slice(ast.Constant(1)), ast.Load()
    )
    last = ast.Subscript(
        ast.Call(ast.Name("list", ast.Load()), [node.iter], []), ast.Slice(None, ast.Constant(-1)), ast.Load()
    )
    for kind, over in (("first round dropped", first), ("last round dropped", last)):
        yield kind, ast.For(node.target, over, node.body, node.orelse, lineno=node.lineno)


def _comprehension(node: ast.comprehension) -> Iterator[Change]:
    for index, test in enumerate(node.ifs):
        others = node.ifs[:index] + node.ifs[index + 1 :]
        yield "condition dropped", ast.comprehension(node.target, node.iter, others, node.is_async)
        negated = [*node.ifs[:index], ast.UnaryOp(ast.Not(), test), *node.ifs[index + 1 :]]
        yield "condition negated", ast.comprehension(node.target, node.iter, negated, node.is_async)


def _removed(node: ast.stmt) -> Iterator[Change]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield "statement removed", ast.Pass()


def _jump(node: ast.Break | ast.Continue) -> Iterator[Change]:
    yield "break/continue", ast.Continue() if isinstance(node, ast.Break) else ast.Break()


def _returned(node: ast.Return) -> Iterator[Change]:
    if node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None):
        return
    yield "return", ast.Return(ast.Constant(None))
    if isinstance(node.value, (ast.Compare, ast.BoolOp)):
        yield "return", ast.Return(ast.UnaryOp(ast.Not(), node.value))
    elif isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
        yield "return", ast.Return(ast.Tuple(node.value.elts[::-1], ast.Load()))


def _call(node: ast.Call) -> Iterator[Change]:
    plain = not any(isinstance(a, ast.Starred) for a in node.args)
    commutes = isinstance(node.func, ast.Name) and node.func.id in _COMMUTATIVE
    if plain and len(node.args) >= 2 and not commutes:
        yield "arguments swapped", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    if plain and len(node.args) >= 2:
        yield "argument dropped", ast.Call(node.func, node.args[:-1], node.keywords)
    for index in range(len(node.keywords)):
        keywords = node.keywords[:index] + node.keywords[index + 1 :]
        yield "argument dropped", ast.Call(node.func, node.args, keywords)
    if plain and node.args and isinstance(node.func, ast.Name) and node.func.id != "range":
        yield "call dropped", node.args[0]
    elif isinstance(node.func, ast.Attribute):
        yield "call dropped", node.func.value
    if isinstance(node.func, ast.Name) and node.func.id == "range" and plain:
        stop = 0 if len(node.args) == 1 else 1
        for sign in (ast.Add(), ast.Sub()):
            shifted = ast.BinOp(node.args[stop], sign, ast.Constant(1))
            yield "bound", ast.Call(node.func, [*node.args[:stop], shifted, *node.args[stop + 1 :]], node.keywords)


def _named(node: ast.Name | ast.Attribute) -> Iterator[Change]:
    if not isinstance(node.ctx, ast.Load):
        return
    if isinstance(node, ast.Name) and node.id in _OTHER_NAME:
        yield "function", ast.Name(_OTHER_NAME[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in _OTHER_NAME:
        yield "function", ast.Attribute(node.value, _OTHER_NAME[node.attr], node.ctx)


def _subscript(node: ast.Subscript) -> Iterator[Change]:
    if isinstance(node.slice, (ast.Slice, ast.Tuple, ast.Constant)):
        return  # slices and constants have mistakes of their own
    for sign in (ast.Add(), ast.Sub()):
        yield "index", ast.Subscript(node.value, ast.BinOp(node.slice, sign, ast.Constant(1)), node.ctx)


def _slice(node: ast.Slice) -> Iterator[Change]:
    for index, bound in enumerate((node.lower, node.upper, node.step)):
        if bound is None:
            continue
        others: list[ast.expr | None] = [None]
        if index < 2 and not isinstance(bound, ast.Constant):
            others += [ast.BinOp(bound, sign, ast.Constant(1)) for sign in (ast.Add(), ast.Sub())]
        for other in others:
            lower, upper, step = (other if i == index else b for i, b in enumerate((node.lower, node.upper, node.step)))
            yield "slice", ast.Slice(lower, upper, step)


def _elements(node: ast.List | ast.Set) -> Iterator[Change]:
    if isinstance(node, ast.List) and not isinstance(node.ctx, ast.Load):
        return
    for index in range(min(len(node.elts), 4)):
        rest = node.elts[:index] + node.elts[index + 1 :]
        if isinstance(node, ast.List):
            yield "element dropped", ast.List(rest, node.ctx)
        elif rest:
            yield "element dropped", ast.Set(rest)


_OPERATORS: dict[type[ast.AST] | tuple[type[ast.AST], ...], tuple[Callable[..., Iterator[Change]], ...]] = {
    ast.Compare: (_compare,),
    ast.BinOp: (_binary,),
    ast.AugAssign: (_augmented,),
    ast.BoolOp: (_boolean,),
    ast.UnaryOp: (_unary,),
    ast.Constant: (_constant,),
    (ast.If, ast.While, ast.IfExp): (_condition,),
    ast.For: (_loop,),
    ast.comprehension: (_comprehension,),
    _REMOVABLE: (_removed,),
    (ast.Break, ast.Continue): (_jump,),
    ast.Return: (_returned,),
    ast.Call: (_call,),
    (ast.Name, ast.Attribute): (_named,),
    ast.Subscript: (_subscript,),
    ast.Slice: (_slice,),
    (ast.List, ast.Set): (_elements,),
}
