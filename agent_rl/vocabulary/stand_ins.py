"""What stands for a value that has no canonical form of its own, on either side of a sandbox's border.

`held_values` makes these of what a program returns or raises, `canonical` writes and reads them. Their comparison runs
only Python's own code, like that of the plain values that they hold.

This file is self-contained (standard library only, Python 3.9): its source also runs inside the sandboxes.
"""

from collections.abc import Collection
from typing import Any


class Record:
    """A dataclass instance by its class's name and its fields, in order: ((name, value), ...).

    `ignored` names the fields that do not count in a comparison (`compare=False`); only what both sides ignore is.
    """

    __slots__ = ("fields", "ignored", "name")

    def __init__(self, name: str, fields: "tuple[tuple[str, Any], ...]", ignored: "tuple[str, ...]" = ()) -> None:
        self.name = name
        self.fields = fields
        self.ignored = ignored

    def compared(self, ignored: "Collection[str]") -> "tuple[tuple[str, Any], ...]":
        """The fields without `ignored` ones."""
        return tuple(field for field in self.fields if field[0] not in ignored) if ignored else self.fields

    def __eq__(self, other: object) -> bool:
        if type(other) is not Record or self.name != other.name:
            return False
        ignored = [name for name in self.ignored if name in other.ignored]
        return self.compared(ignored) == other.compared(ignored)

    def __hash__(self) -> int:
        return hash((self.name, self.compared(self.ignored)))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.fields)})"


class Derived:
    """An instance of a subclass of a built-in type: its class's name, and what the built-in part of it holds.

    It equals what that part equals: the subclass's own methods do not count.
    """

    __slots__ = ("content", "name")

    def __init__(self, name: str, content: Any) -> None:
        self.name = name
        self.content = content

    def __eq__(self, other: object) -> bool:
        return bool(self.content == (other.content if type(other) is Derived else other))

    def __hash__(self) -> int:
        return hash(self.content)

    def __repr__(self) -> str:
        return f"{self.name}({self.content!r})"


class EnumMember:
    """A member of an enumeration that is no built-in value: by its class's name and its own (of a Flag: its number)."""

    __slots__ = ("member", "name")

    def __init__(self, name: str, member: "str | int") -> None:
        self.name = name
        self.member = member

    def __eq__(self, other: object) -> bool:
        return type(other) is EnumMember and (self.name, self.member) == (other.name, other.member)

    def __hash__(self) -> int:
        return hash((self.name, self.member))

    def __repr__(self) -> str:
        return f"{self.name}.{self.member}"


class Items:
    """What an object gave when it was iterated over: an iterator, a view of a dict, or an iterable of its own class.

    kind: generator, iterator, keys, values, items, or iterable (sized: it has a length too; sequence: and an index);
    failure: what it raised at the end. Two of them are equal only as objects; but the keys and items of a dict equal
    the set of the same elements.
    """

    __slots__ = ("content", "failure", "kind")
    KINDS = ("generator", "iterator", "keys", "values", "items", "iterable", "sized", "sequence")

    def __init__(self, kind: str, content: "list[Any]", failure: "HeldException | None" = None) -> None:
        self.kind = kind
        self.content = content
        self.failure = failure

    def __eq__(self, other: object) -> bool:
        if self is other or self.kind not in ("keys", "items"):
            return self is other
        other = other.content if type(other) is Derived else other
        if type(other) is Items and other.kind in ("keys", "items"):
            other = set(other.content)
        return type(other) in (set, frozenset) and set(self.content) == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.content!r}>"


class HeldException:
    """An exception: the name of its class, those of its classes that it may be raised as, and what it holds.

    kinds: in the order of the class's mro, "KeyError" for one of `builtins`, "json.decoder:JSONDecodeError" for one of
    another module; args: None if they cannot be held; attributes: (name, value) of those that can.
    """

    __slots__ = ("args", "attributes", "cause", "kinds", "name", "text")

    def __init__(
        self,
        name: str,
        kinds: "tuple[str, ...]",
        text: str,
        args: "tuple[Any, ...] | None" = None,
        attributes: "tuple[tuple[str, Any], ...]" = (),
        cause: "HeldException | None" = None,
    ) -> None:
        self.name = name
        self.kinds = kinds
        self.text = text
        self.args = args
        self.attributes = attributes
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"

    def __repr__(self) -> str:
        return f"{self.name}({self.text!r})"
