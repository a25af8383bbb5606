"""A run that exchanges messages with the pool while it runs: `RunRelay` passes bytes both ways as they arrive.

The bytes are not parsed. As with any run, they are in no memory that a child can read.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os
import select
from typing import Any

from agent_rl_sandboxes.inside import run_processes, run_usage
from agent_rl_sandboxes.inside.private_buffers import PrivateBuffer


class RunRelay:
    """The two directions of one run. `said` bytes of its result channel have been passed on."""

    def __init__(
        self,
        stream: Any,
        identifier: str,
        runner: run_processes.RunProcesses,
        child: run_processes.Child,
        request: memoryview,
        order: run_processes.Order,
    ) -> None:
        self._stream = stream
        self._identifier = identifier
        self._runner = runner
        self._child = child
        self._order = order
        self._waiting = PrivateBuffer(len(request) + (1 << 16))
        self._waiting.append(request)
        self._fed = 0
        self.said = 0

    def watch(self, usage: run_usage.RunUsage) -> str | None:
        """The reason to end the run now; None if its first process has ended by itself. Raises StreamClosed."""
        child, runner = self._child, self._runner
        buffers = {child.stdout: runner.stdout, child.stderr: runner.stderr}
        poll = select.poll()
        for descriptor in (child.pidfd, child.results, *buffers, self._stream.source):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        # The pool's first messages may have arrived with the request.
        if self._listen():
            return "cancelled"
        self._feed(poll)
        while True:
            reason = usage.over()
            if reason is not None:
                return reason
            for descriptor, _ in poll.poll(run_processes.wait_milliseconds(child, usage.pause())):
                if descriptor == child.pidfd:
                    return None
                if descriptor == self._stream.source:
                    self._stream.fill()
                    if self._listen():
                        return "cancelled"
                    self._feed(poll)
                elif descriptor == child.request:
                    self._feed(poll)
                elif descriptor == child.results:
                    if runner.results.read(descriptor, self._order.output + 1) == 0:
                        poll.unregister(descriptor)
                    if runner.results.size > self._order.output:
                        return "output_limit"
                    self._pass_on()
                elif buffers[descriptor].read(descriptor, self._order.output + 1) == 0:
                    poll.unregister(descriptor)
                elif buffers[descriptor].size > self._order.output:
                    return "output_limit"
            if child.pidfd < 0 and run_processes.has_ended(child.pid):
                return None

    def _listen(self) -> bool:
        """Whether the pool has cancelled the run; the pool's other messages are queued for the run."""
        ended = False
        while (frame := self._stream.arrived()) is not None:
            header, body = frame
            if header.get("id") != self._identifier:
                continue
            if header["op"] == "say":
                self._waiting.append(body)
            ended = ended or header["op"] == "cancel"
            del body, frame
        self._stream.rewind()
        return ended

    def _feed(self, poll: Any) -> None:
        """Queued bytes are written, as many as the run takes; if some are left, `poll` waits until it takes more."""
        try:
            while self._fed < self._waiting.size:
                self._fed += os.write(self._child.request, self._waiting.view(self._fed))
        except BlockingIOError:
            poll.register(self._child.request, select.POLLOUT)
            return
        except BrokenPipeError:
            pass
        self._waiting.reset(0)
        self._fed = 0
        try:
            poll.unregister(self._child.request)
        except KeyError:
            return

    def _pass_on(self) -> None:
        news = self._runner.results.view(self.said)
        if news:
            self.said += len(news)
            self._stream.send({"op": "said", "id": self._identifier}, news)
