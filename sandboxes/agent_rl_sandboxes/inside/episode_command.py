"""One command of an agent inside its sandbox: `EpisodeCommand`, which the episode server starts, watches and ends.

Each command runs under a keeper: its own process that adopts every orphan below it, so that the server finds the whole
tree, whatever sessions, groups or daemons the command makes. The keeper lives until all these processes have ended.

Stdlib only, for the interpreter of any image (3.6 and later).
"""

import contextlib
import ctypes
import errno
import os
import selectors
import signal
import time

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
KILL_SECONDS = 1.0
GONE_SECONDS = 0.5  # after KILL_SECONDS; the client waits longer than both for the command's answer
THREADS = 17  # index of the number of threads in /proc/PID/stat, counted after the name
CHUNK = 65536
MAX_DESCRIPTORS = 4096


def prctl(option, value):
    """prctl(2), best effort: if it fails, only one protection of the server from its own commands is missing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def oom_kills():
    """How many processes of this container the kernel has killed for lack of memory; 0 if it does not say."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path) as file:
                for line in file:
                    words = line.split()
                    if words[:1] == ["oom_kill"]:
                        return int(words[1])
        except (OSError, ValueError, IndexError):
            continue
    return 0


def processes():
    """pid -> (parent's pid, whether it is a zombie), for every visible process."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if len(fields) > THREADS:
            # A process whose first thread has ended is also shown as a zombie while its other threads run.
            dead = fields[0] in (b"Z", b"X") and int(fields[THREADS]) <= 1
            table[int(name)] = int(fields[1]), dead
    return table


def used(pids):
    """(processor seconds of the processes, seconds that the one that waited longest for a processor waited for it).

    The latter is None if the kernel does not say.
    """
    cpu, ran, waited = 0.0, 0, 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                cpu += sum(map(int, file.read().rpartition(b")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                    times = file.read().split()
                ran, waited = ran + int(times[0]), max(waited, int(times[1]))
        except (OSError, ValueError, IndexError):
            continue
    return cpu, waited / 1e9 if ran else None


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


class EpisodeCommand:
    """One running command: its keeper, its pipes, its output."""

    def __init__(self, server, header, stdin):
        self.server = server
        self.id = header["id"]
        self.started = time.monotonic()
        self.deadline = self.started + float(header["timeout"])
        self.stdin = memoryview(stdin)
        self.output = {1: bytearray(), 2: bytearray()}
        self.truncated = False
        self.oom = oom_kills()
        self.report = b""
        self.done = False
        self.start(header["command"], header.get("environment") or {})

    def start(self, command, environment):
        pipes = [os.pipe() for _ in range(4)]  # stdin, stdout, stderr, the keeper's report
        try:
            self.keeper = os.fork()
        except OSError:
            for descriptor in sum(pipes, ()):
                os.close(descriptor)
            raise
        if self.keeper == 0:
            try:
                keep(pipes, command, environment, self.server.limit)
            finally:
                os._exit(1)
        self.server.keepers.add(self.keeper)
        (in_read, self.in_write), (out_read, out_write), (err_read, err_write), (report_read, report_write) = pipes
        for descriptor in (in_read, out_write, err_write, report_write):
            os.close(descriptor)
        self.reading = {out_read: 1, err_read: 2, report_read: 3}
        for descriptor in self.reading:
            os.set_blocking(descriptor, False)
            self.server.selector.register(descriptor, selectors.EVENT_READ, (self, "read"))
        os.set_blocking(self.in_write, False)
        self.server.selector.register(self.in_write, selectors.EVENT_WRITE, (self, "write"))

    def close_stdin(self):
        if self.in_write >= 0:
            self.server.selector.unregister(self.in_write)
            os.close(self.in_write)
            self.in_write = -1

    def write(self, descriptor):
        try:
            sent = os.write(descriptor, self.stdin[:CHUNK]) if self.stdin else 0
        except BlockingIOError:
            return
        except OSError:
            sent = len(self.stdin)
        self.stdin = self.stdin[sent:]
        if not self.stdin:
            self.close_stdin()

    def read(self, descriptor):
        """Handle a pipe's content: the keeper's report, or output; too much output ends the command."""
        number = self.reading[descriptor]
        data = self.take(descriptor)
        if number == 3 and data is not None:
            self.report += data
            if not data or b"\n" in self.report:
                self.end(None)
        elif self.truncated:
            self.end("output_limit")

    def take(self, descriptor):
        """The pipe's content, also kept as output up to the limit; None if the pipe is empty, b"" at its end.

        After the command's end, the output of its leftover processes is discarded.
        """
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return None
        number = self.reading[descriptor]
        if not data:
            self.server.selector.unregister(descriptor)
            os.close(descriptor)
            del self.reading[descriptor]
        elif number != 3 and not self.done:
            kept = self.output[number]
            room = self.server.output_bytes - len(kept)
            kept += data[:room]
            self.truncated = self.truncated or len(data) > room
        return data

    def end(self, status):
        """Send the command's only answer. `status`: why the server ends it; None if it ended by itself."""
        if self.done:
            return
        exit_code, usage = None, (0.0, 0.0)
        if status is not None:
            if status == "timeout":
                usage = used(self.tree()[0])
            self.kill()
        for descriptor, number in list(self.reading.items()):
            # Only what is already in the pipe, not what a leftover process may print later.
            while number != 3 and not self.truncated and self.take(descriptor):
                pass
        if status is None and self.truncated:
            status = "output_limit"
            self.kill()
        if status is None:
            try:
                exit_code = int(self.report)
                status = "completed"
            except ValueError:  # the keeper was killed
                status = "crashed"
                self.kill()
        if status == "completed" and exit_code != 0 and oom_kills() > self.oom:
            status, exit_code = "out_of_memory", None
        self.done = True
        self.close_stdin()
        self.server.commands.pop(self.id, None)
        out, err = bytes(self.output[1]), bytes(self.output[2])
        header = {"id": self.id, "status": status, "exit_code": exit_code, "truncated": self.truncated}
        header.update(seconds=time.monotonic() - self.started, stdout=len(out), cpu=usage[0], waited=usage[1])
        self.server.send(header, out + err)

    def kill(self):
        """End the command's tree: stop all, search again, kill. A stopped process cannot fork, so the search converges.

        Also wait until its zombies are reaped: until then each counts towards the process limit.
        """
        until = time.monotonic() + KILL_SECONDS
        stopped = set()
        while time.monotonic() < until:
            new = self.tree()[0] - stopped
            if not new:
                break
            signal_all(new, signal.SIGSTOP)
            stopped |= new
        # If the command has stopped its keeper, resume it: it has to reap its children.
        signal_all({self.keeper} & self.server.keepers, signal.SIGCONT)
        killed = set()
        while True:
            living, dead = self.tree()
            if not living and not dead:
                return
            late = time.monotonic() - until
            # A tree that forks faster than the search is killed in one step, and all other commands with it. What was
            # killed and still lives waits for a processor: it needs time, not more signals.
            signal_all([-1] if living - killed and late > 0 else living, signal.SIGKILL)
            killed |= living
            if late > GONE_SECONDS:
                return
            time.sleep(0.001)
            self.server.reap()

    def tree(self):
        """(living, dead) pids below the keeper and in trees without a keeper, whose roots are the server's children."""
        table = processes()
        below = {}
        for pid, (parent, _) in table.items():
            below.setdefault(parent, []).append(pid)
        found = set(below.get(os.getpid(), ())) - self.server.keepers
        look = list(found | {self.keeper} & self.server.keepers)
        while look:
            children = set(below.get(look.pop(), ())) - found
            found |= children
            look += children
        dead = {pid for pid in found if table[pid][1]}
        return found - dead, dead


def keep(pipes, command, environment, limit):
    """The keeper: starts the command, adopts its orphans, reports the command's exit code, stays until all ended."""
    os.setsid()
    signal.set_wakeup_fd(-1)  # the descriptor belongs to the server
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    (in_read, _), (_, out_write), (_, err_write), (_, report) = pipes
    child = os.fork()
    if child == 0:
        try:
            run(in_read, out_write, err_write, command, environment, limit)
        finally:
            os._exit(127)
    os.closerange(0, report)
    os.closerange(report + 1, MAX_DESCRIPTORS)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(0)
        if pid == child:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            os.write(report, b"%d\n" % code)
            os.close(report)


def run(in_read, out_write, err_write, command, environment, limit):
    """The command itself: in its own session, first to be killed when memory runs out, with only descriptors 0 to 2."""
    os.setsid()
    prctl(PR_SET_DUMPABLE, 1)  # else its files in /proc would belong to root
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(in_read, 0)
    os.dup2(out_write, 1)
    os.dup2(err_write, 2)
    os.closerange(3, MAX_DESCRIPTORS)
    values = dict(os.environ)
    values.update(environment)
    if limit is not None:
        limit()
    try:
        os.execvpe(command[0], command, values)
    except (OSError, ValueError) as error:
        message = f"{command[0]}: {getattr(error, 'strerror', None) or error}\n"
        os.write(2, message.encode("utf-8", "surrogateescape"))
        os._exit(126 if getattr(error, "errno", 0) == errno.EACCES else 127)
