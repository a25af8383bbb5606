"""Functions and iterators of the tests, as the candidate sees them (tier `proxied`).

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import inspect
from collections.abc import Callable
from typing import Any


class CallbackIterator:
    """An iterator that belongs to the tests."""

    def __init__(self, advance: "Callable[[], Any]") -> None:
        self._advance = advance

    def __iter__(self) -> "CallbackIterator":
        return self

    def __next__(self) -> Any:
        return self._advance()


class Callbacks:
    """Makes the candidate's stand-ins. `call_back(number, operation, args, kwargs)` asks the tests."""

    def __init__(self, call_back: "Callable[..., Any]") -> None:
        self._call_back = call_back
        self._made: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._exceptions: dict[int, tuple[BaseException, int]] = {}

    def number_of(self, value: Any) -> "int | None":
        """The number of the tests' function for which `value` stands."""
        return self._numbers.get(id(value))

    def exception_of(self, error: BaseException) -> "int | None":
        """The number of the tests' exception for which `error` stands."""
        return self._exceptions.get(id(error), (None, None))[1]

    def raised(self, number: int, error: BaseException) -> None:
        """`error` stands for an exception of the tests."""
        self._exceptions[id(error)] = error, number

    def function(self, number: int, kind: str, name: str, doc: "str | None", signature: Any) -> Any:
        """The stand-in for the tests' function `number`."""
        if number not in self._made:
            made = self._new(number, kind, name, doc, signature)
            self._made[number] = made
            self._numbers[id(made)] = number
        return self._made[number]

    def _new(self, number: int, kind: str, name: str, doc: "str | None", signature: Any) -> Any:
        call_back = self._call_back
        if kind == "iterator":
            return CallbackIterator(lambda: call_back(number, "next", (), {}))
        if kind == "generator":

            def generator() -> Any:
                while True:
                    try:
                        value = call_back(number, "next", (), {})
                    except StopIteration as end:
                        return end.value
                    yield value

            return generator()
        if kind == "async":

            async def later(*args: Any, **kwargs: Any) -> Any:
                import asyncio

                running = asyncio.get_running_loop()
                return await running.run_in_executor(None, lambda: call_back(number, "call", args, kwargs))

            function: Any = later
        else:

            def now(*args: Any, **kwargs: Any) -> Any:
                return call_back(number, "call", args, kwargs)

            function = now
        function.__name__ = function.__qualname__ = name
        function.__module__, function.__doc__ = "tests", doc
        if signature is not None:
            function.__signature__ = inspect.Signature(
                [
                    inspect.Parameter(n, inspect._ParameterKind(k), default=plain if has else inspect.Parameter.empty)
                    for n, k, has, plain in signature
                ]
            )
        return function
