"""Stand-ins for objects of the candidate where the oracle solution gives none: any use fails the test (tier `proxied`).

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

from typing import Any

from agent_rl.judging.proxied.proxies import NUMBER, PATH, SESSION, Fielded, fields_of, items_of_proxy


class Unexpected(Fielded):
    """An object of the candidate where the oracle solution gives none: tests may only ignore it or hand it back."""

    def __init__(self, number: int, refuse: Any) -> None:
        fields_of(self).update({NUMBER: number, "refuse": refuse})

    def __getattribute__(self, name: str) -> Any:
        raise fields_of(self)["refuse"]()


class UnexpectedIterable(Fielded):
    """Like `Unexpected`, of a class that has `__iter__` and no length: it gives its items too, as in a loop."""

    def __init__(self, session: Any, number: int, path: str, refuse: Any) -> None:
        fields_of(self).update({SESSION: session, NUMBER: number, PATH: path, "refuse": refuse})

    def __getattribute__(self, name: str) -> Any:
        raise fields_of(self)["refuse"]()

    def __iter__(self) -> Any:
        return items_of_proxy(self)


def _refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise fields_of(self)["refuse"]()


_MEASURED = ("len", "iter", "length_hint")
"""What `list()` asks of an iterable."""
for _name in (
    *("eq", "ne", "lt", "le", "gt", "ge", "hash", "bool", "len", "iter", "next", "getitem", "setitem", "delitem"),
    *("contains", "call", "enter", "exit", "aenter", "aexit", "await", "aiter", "anext", "reversed", "dir", "str"),
    *("repr", "format", "bytes", "int", "float", "complex", "index", "round", "trunc", "floor", "ceil", "abs", "neg"),
    *("pos", "invert", "divmod", "rdivmod", "pow", "rpow", "ipow", "setattr", "delattr", "length_hint", "fspath"),
    *("copy", "deepcopy", "reduce_ex"),
):
    setattr(Unexpected, f"__{_name}__", _refuse)
    if _name not in _MEASURED:
        setattr(UnexpectedIterable, f"__{_name}__", _refuse)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and", "or", "xor", "lshift", "rshift"):
    for _prefix in ("", "r", "i"):
        setattr(Unexpected, f"__{_prefix}{_name}__", _refuse)
        setattr(UnexpectedIterable, f"__{_prefix}{_name}__", _refuse)
del _name, _prefix  # pyright: ignore[reportPossiblyUnbound]
