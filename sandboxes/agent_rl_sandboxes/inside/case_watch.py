"""The server's side of a run with cases (case_processes.py): sends each case when its turn comes, and watches it.

Each case has the whole time and output of the run's limits, and so has loading the program. The end of a case is a
complete frame on the result channel; what the frame says is of no interest here. If the cases are to be kept apart,
the next case is sent after that, so that no time passes between them for the program to use. A case is not sent to a
run that has already used the time or output that one case may have: the program goes on in a new run. So a run takes at
most `WHOLE` times the time of one case, and at most twice its output, however many cases there are.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Callable

from agent_rl_sandboxes.inside import case_processes, run_processes, run_usage

WHOLE = 3
"""Loading takes at most the time of one case, and so do the cases before the last, and the last."""
_REST_SECONDS = 0.004
"""For so long the server does not look at what one process answers, unless that ends: most have ended by then, and each
look would interrupt both. What the process sends waits in its pipes; if they are full, the process waits."""
_LENGTH = struct.Struct(">I")
_LONGEST_FRAME = 1 << 26
"""Whatever says that it is longer is no frame. The run ends then, and the pool sees what has come."""


class CaseWatch:
    """Watches one run with cases."""

    def __init__(
        self,
        runner: run_processes.RunProcesses,
        child: run_processes.Child,
        body: memoryview,
        limits: run_processes.Order,
        stream: int,
        cancelled: Callable[[], bool],
        ahead: bool,
    ) -> None:
        """`body`: the request and each case, each with its length before it. `limits`: those of one case.

        `ahead`: whether the cases are sent at once, and again one by one if the run wants them apart.
        """
        self._runner, self._child, self._limits = runner, child, limits
        self._stream, self._cancelled = stream, cancelled
        self._body = body
        self._room = 2 * limits.output + 1
        self._next = self._part_after(0)
        """Where the next case begins, if they are sent one by one."""
        self._allowed = len(body) if ahead else self._next
        """How much of the body may be sent by now."""
        self._fed = 0
        self._ahead = ahead
        self._apart: bool | None = None
        """Whether the cases are kept apart, once that is known."""
        self._read = 0
        """How much of the result channel has been looked at: its mark, and complete frames."""
        self._loaded = time.monotonic()
        self._usage: run_usage.RunUsage | None = None
        self._garbled = False
        self._frames = 0
        """How many frames have come."""
        self.ends: list[tuple[int, int]] = []
        """For each frame, how much standard output and error there was when it came; empty if cases are not apart."""
        self.slowest = 0.0
        """The longest time until a frame."""

    @staticmethod
    def whole(limits: run_processes.Order) -> run_processes.Order:
        """The limits of the whole run, if `limits` are those of one case."""
        output = 2 * limits.output
        return run_processes.Order(limits.wall, limits.longest, limits.cpu, limits.memory, output, WHOLE, cases=True)

    @property
    def together(self) -> bool:
        """Whether one process answers several cases."""
        return self._apart is False

    @property
    def answered(self) -> int:
        """The number of cases that are over."""
        return max(0, self._frames - 1)

    def watch(self, usage: run_usage.RunUsage) -> str | None:
        """The reason to end the run now; None if its first process has ended by itself."""
        self._usage = usage
        child, runner = self._child, self._runner
        poll = select.poll()
        buffers = {child.results: runner.results, child.stdout: runner.stdout, child.stderr: runner.stderr}
        for descriptor in (child.pidfd, self._stream, *buffers):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        self._feed(poll)
        open_channels = set(buffers)
        rest_until: float | None = None
        while True:
            reason = usage.over()
            if reason is not None:
                return reason
            if rest_until is None and self.together and self._fed == len(self._body):
                rest_until = time.monotonic() + _REST_SECONDS
                for descriptor in open_channels:
                    poll.unregister(descriptor)
            elif rest_until and time.monotonic() >= rest_until:
                rest_until = 0.0
                for descriptor in open_channels:
                    poll.register(descriptor, select.POLLIN)
            pause = min(_REST_SECONDS, usage.pause()) if rest_until else usage.pause()
            for descriptor, _ in poll.poll(run_processes.wait_milliseconds(child, pause)):
                if descriptor == child.pidfd:
                    return None
                if descriptor == self._stream:
                    if self._cancelled():
                        return "cancelled"
                elif descriptor == child.request:
                    self._feed(poll)
                elif buffers[descriptor].read(descriptor, self._room) == 0:
                    poll.unregister(descriptor)
                    open_channels.discard(descriptor)
                elif descriptor == child.results and self._follow():
                    self._feed(poll)
                if self._garbled:
                    return "completed"
                if self._too_much():
                    return "output_limit"
            if child.pidfd < 0 and run_processes.has_ended(child.pid):
                return None

    def finish(self, outcome: run_processes.RunOutcome) -> slice:
        """The part of the result channel that holds frames; `outcome` says so if a case has exceeded its output.

        The run has ended, and its channels have been read to their end.
        """
        if self.together:
            self._last_answers()
        else:
            self._follow(ended=True)
        begin = int(self._apart is True)
        if self._garbled or not self._too_much():
            return slice(begin, None)
        if outcome.status == "completed":
            outcome.status = "output_limit"
        return slice(begin, self._read)

    def unfinished(self, outcome: run_processes.RunOutcome) -> bool:
        """Whether the cases without an answer have to be given to another run, for no fault of the program."""
        if not self.answered or outcome.anomalies:
            return False
        if outcome.status == "completed":
            return outcome.exit_code == case_processes.GO_ON_EXIT
        # The case may have had less than its due.
        return self.together and outcome.status != "cancelled"

    def _follow(self, ended: bool = False) -> bool:
        """Whether more of the body is to be sent. Looks at what is new on the result channel."""
        results = self._runner.results.view()
        if self._apart is None and len(results):
            self._apart = results[0] == case_processes.APART[0]
            self._read = int(self._apart)
            if not self._apart:
                self._allowed = len(self._body)
            elif self._ahead:
                # The run has thrown all cases away.
                self._allowed = self._fed = self._next
        while len(results) >= self._read + _LENGTH.size:
            length = _LENGTH.unpack_from(results, self._read)[0]
            self._garbled = length > _LONGEST_FRAME
            end = self._read + _LENGTH.size + length
            if len(results) < end or end - self._read > self._limits.output or (ended and self._too_much(end)):
                break
            self._read = end
            self._frame_has_come(ended)
        return self._allowed > self._fed

    def _last_answers(self) -> None:
        """What `_follow` does at the end, for answers that came together: how long each has taken is not known."""
        results, before = self._runner.results.view(), self._frames
        while len(results) >= self._read + _LENGTH.size:
            length = _LENGTH.unpack_from(results, self._read)[0]
            self._garbled = length > _LONGEST_FRAME
            end = self._read + _LENGTH.size + length
            if len(results) < end or end - self._read > self._limits.output or self._too_much(end):
                break
            self._read = end
            self._frames += 1
        if self._frames > before and self._usage is not None:
            self.slowest = max(self.slowest, self._usage.next_part(time.monotonic()))

    def _frame_has_come(self, ended: bool) -> None:
        runner, child = self._runner, self._child
        if not ended and not self.together:
            # Whatever the case has printed is in the pipes.
            for descriptor, buffer in ((child.stdout, runner.stdout), (child.stderr, runner.stderr)):
                while buffer.size < self._room and buffer.read(descriptor, self._room) > 0:
                    pass
            if self._too_much():
                return
        now = time.monotonic()
        if self._usage is not None:
            self.slowest = max(self.slowest, self._usage.next_part(now))
        self._frames += 1
        if not self.together:
            self.ends.append((runner.stdout.size, runner.stderr.size))
        if self._frames == 1:
            self._loaded = now
        if not self.together and not ended:
            self._send_next(now)

    def _send_next(self, now: float) -> None:
        """The next case may be sent, or none may be sent any more."""
        runner, limits = self._runner, self._limits
        used_up = max(runner.results.size, runner.stdout.size, runner.stderr.size) > limits.output
        if self.answered and (now - self._loaded > limits.wall or used_up):
            if self._child.request >= 0:
                os.close(self._child.request)
                self._child.request = -1
        else:
            self._next = self._part_after(self._next)
            self._allowed = self._next

    def _too_much(self, read: int | None = None) -> bool:
        """Whether the case under way has exceeded its output. `read`: where its frame ends, if it has come."""
        runner, most = self._runner, self._limits.output
        if self.together:
            # When a call of several printed something is not known.
            stdout = stderr = 0
        else:
            stdout, stderr = self.ends[-1] if self.ends else (0, 0)
        return (
            runner.results.size - (self._read if read is None else read) > most
            or runner.stdout.size - stdout > most
            or runner.stderr.size - stderr > most
        )

    def _part_after(self, at: int) -> int:
        """Where the part that begins at `at` ends."""
        if at >= len(self._body):
            return at
        return at + _LENGTH.size + int(_LENGTH.unpack_from(self._body, at)[0])

    def _feed(self, poll: select.poll) -> None:
        """What may be sent is sent, as far as the run takes it; if some is left, `poll` waits until it takes more."""
        request = self._child.request
        if request < 0:
            return
        try:
            while self._fed < self._allowed:
                self._fed += os.write(request, self._body[self._fed : self._allowed])
        except BlockingIOError:
            poll.register(request, select.POLLOUT)
            return
        except BrokenPipeError:
            self._fed = self._allowed
        try:
            poll.unregister(request)
        except KeyError:
            return
