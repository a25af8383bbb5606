"""Frames of several threads on one pair of channels: each thread of the tests that uses the solution has a lane.

On one lane the two sides speak in strict turns, and the pool's `relay` holds the candidate to it. The lanes do not wait
for each other.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from agent_rl.judging.proxied.proxy_messages import MalformedMessage, read_frame

MAX_LANES = 1 << 10


class Lanes:
    """Sends and receives frames. `send` and `receive` carry texts; `receive` returns None at the end.

    Whoever waits for a frame reads for all. `opened` is called with the number of a lane on which nothing has been
    heard yet, before its first frame can be had.
    """

    def __init__(
        self,
        send: "Callable[[str], None]",
        receive: "Callable[[], str | None]",
        opened: "Callable[[int], None] | None" = None,
    ) -> None:
        self._send = send
        self._receive = receive
        self._opened = opened
        self._sending = threading.Lock()
        self._news = threading.Condition()
        self._heard: dict[int, collections.deque[list[Any]]] = {}
        self._reading = False
        self._ended = False
        self.malformed: str | None = None
        """Why nothing more is read, if a frame was malformed."""

    def say(self, text: str) -> None:
        with self._sending:
            self._send(text)

    def hear(self, lane: int) -> "list[Any] | None":
        """The next frame on `lane`, without the lane; None once there are no more frames."""
        while True:
            with self._news:
                heard = self._heard.get(lane)
                if heard:
                    return heard.popleft()
                if self._ended:
                    return None
                if self._reading:
                    self._news.wait()
                    continue
                self._reading = True
            self.read()

    def read_on(self) -> None:
        """In a thread of its own: reads frames until there are no more, so that nobody has to wait for one."""
        with self._news:
            while self._reading:
                self._news.wait()
            self._reading = True
        while not self._ended:
            self.read(stay=True)

    def read(self, *, stay: bool = False) -> None:
        """One frame has been read, by the one thread that may read. `stay`: it goes on being that thread."""
        content: list[Any] | None = None
        try:
            text = self._receive()
            content = None if text is None else read_frame(text)
            if content is not None and not 0 <= content[0] < MAX_LANES:
                raise MalformedMessage("a frame on a lane that there is not")
        except MalformedMessage as error:
            content, self.malformed = None, str(error)
        finally:
            if content is not None and content[0] not in self._heard:
                self._heard[content[0]] = collections.deque()
                if self._opened is not None:
                    self._opened(content[0])
            with self._news:
                self._ended = content is None
                if content is not None:
                    self._heard[content[0]].append(content[1:])
                self._reading = stay
                self._news.notify_all()


class Speakers:
    """Which lane each thread of the tests speaks on, in the tests' process. `changing` is held while that changes."""

    def __init__(self, changing: Any) -> None:
        self.busy = 0
        """How many lanes wait for an answer."""
        self._changing = changing
        self._own = threading.local()
        self._own.lane, self._own.depth = 0, 0
        self._free: list[int] = []
        self._next = 1

    @property
    def lane(self) -> int:
        """The lane of this thread; 0 if it is the first one's, or none yet."""
        return getattr(self._own, "lane", 0)

    @contextlib.contextmanager
    def speaking(self) -> "Iterator[int]":
        """The lane of this thread, while a request of it is under way."""
        own = self._own
        if getattr(own, "lane", None) is None or (own.lane != 0 and own.depth == 0):
            with self._changing:
                if self._free:
                    own.lane = self._free.pop()
                else:
                    own.lane = self._next
                    self._next += 1
            own.depth = 0
        if own.depth == 0:
            with self._changing:
                self.busy += 1
        own.depth += 1
        lane = own.lane
        try:
            yield lane
        finally:
            own.depth -= 1
            if own.depth == 0:
                with self._changing:
                    self.busy -= 1
                    if lane:
                        self._free.append(lane)
