"""Runs an agent's commands inside its sandbox: started once per episode, then told over stdin what to do.

Stdlib only, for the interpreter of any image (3.6 and later); its source is passed on the command line
(`python3 -I -c SOURCE WORKDIR OUTPUT_BYTES`), so nothing needs to be copied in. It runs as the same user as the
commands, which can therefore kill it: whoever talks to it must not believe it, and starts it again.

Messages, both ways: u32 header size, u32 payload size (big-endian), a JSON header, the payload.

    exec    {"op", "id", "command", "timeout", "environment"} + stdin
            -> {"id", "status", "exit_code", "seconds", "truncated", "stdout": size} + stdout + stderr
    cancel  {"op", "id"}  -> nothing; the command's tree is ended
    write   {"op", "id", "files": [[path, size, append], ...]} + contents  -> {"id"} or {"id", "error", "text"}
    read    {"op", "id", "path", "max_bytes"}  -> {"id"} + content, or {"id", "error", "text"}

Before anything is asked it says {"id": 0}: it is there.

Each command runs under a keeper: a process of its own that adopts every orphan below it, so that the whole tree can be
found, whatever sessions, groups or daemons it makes. The keeper lives until the last of them is gone.
"""

import contextlib
import ctypes
import errno
import json
import os
import selectors
import signal
import stat
import struct
import sys
import time

HEAD = struct.Struct(">II")
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
KILL_SECONDS = 1.0
CHUNK = 65536
MAX_DESCRIPTORS = 4096


def prctl(option, value):
    """Best effort: where it fails, only a protection of the server's from its own commands is missing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def oom_kills():
    """How many processes of this container the kernel has killed for want of memory; 0 where it does not say."""
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


def parents():
    """pid -> parent's pid, of every process in sight that is no zombie."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields and fields[0] not in (b"Z", b"X"):
            table[int(name)] = int(fields[1])
    return table


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


class Command:
    """One command under way: its keeper, its pipes, what it has printed."""

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
                keep(pipes, command, environment)
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
        """Act on what a pipe holds: the keeper's report, or output, of which too much ends the command."""
        number = self.reading[descriptor]
        data = self.take(descriptor)
        if number == 3 and data is not None:
            self.report += data
            if not data or b"\n" in self.report:
                self.end(None)
        elif self.truncated:
            self.end("output_limit")

    def take(self, descriptor):
        """What the pipe holds, also kept as output as far as there is room; None where it is empty, b"" at its end.

        After the command's end what its left-over processes print is thrown away.
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
        """The one answer to the command; `status` None where it ended by itself, and as it did."""
        if self.done:
            return
        exit_code = None
        if status is not None:
            self.kill()
        for descriptor, number in list(self.reading.items()):
            # What lies in the pipe already; not what a process left behind may yet print.
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
        header.update(seconds=time.monotonic() - self.started, stdout=len(out))
        self.server.send(header, out + err)

    def kill(self):
        """The command's tree is gone: stop, look again, kill. A stopped process cannot fork: the search converges."""
        until = time.monotonic() + KILL_SECONDS
        stopped = set()
        while time.monotonic() < until:
            found = self.tree()
            if not found - stopped:
                break
            signal_all(found - stopped, signal.SIGSTOP)
            stopped |= found
        while True:
            found = self.tree()
            if not found:
                return
            signal_all(found, signal.SIGKILL)
            self.server.reap()
            if time.monotonic() > until:
                # It forks faster than it can be walked. This is one step, and takes the other commands with it.
                signal_all([-1], signal.SIGKILL)
                return
            time.sleep(0.001)

    def tree(self):
        """The pids below the keeper, and of trees whose keeper was killed (they are the server's own children)."""
        table = parents()
        found = {pid for pid, parent in table.items() if parent == os.getpid()} - self.server.keepers
        grown = found | {self.keeper} & self.server.keepers
        while grown:
            grown = {pid for pid, parent in table.items() if parent in grown} - found
            found |= grown
        return found


def keep(pipes, command, environment):
    """The keeper: starts the command, adopts its orphans, reports the first one's end, stays until all are gone."""
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    (in_read, _), (_, out_write), (_, err_write), (_, report) = pipes
    child = os.fork()
    if child == 0:
        try:
            run(in_read, out_write, err_write, command, environment)
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


def run(in_read, out_write, err_write, command, environment):
    """The command itself: its own session, the first to go when memory runs out, no descriptor but three."""
    os.setsid()
    prctl(PR_SET_DUMPABLE, 1)  # else its own files in /proc are not its own
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
    try:
        os.execvpe(command[0], command, values)
    except (OSError, ValueError) as error:
        message = f"{command[0]}: {getattr(error, 'strerror', None) or error}\n"
        os.write(2, message.encode("utf-8", "surrogateescape"))
        os._exit(126 if getattr(error, "errno", 0) == errno.EACCES else 127)


class Server:
    """The loop: messages in, commands' pipes, deadlines, messages out."""

    def __init__(self, workdir, output_bytes):
        self.workdir = workdir
        self.output_bytes = output_bytes
        self.selector = selectors.DefaultSelector()
        self.commands = {}
        self.keepers = set()
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.open = True

    def serve(self):
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self.send({"id": 0})
        self.selector.register(0, selectors.EVENT_READ, (self, "receive"))
        while self.open:
            now = time.monotonic()
            for command in [c for c in self.commands.values() if c.deadline <= now]:
                command.end("timeout")
            waits = [c.deadline - time.monotonic() for c in self.commands.values()]
            for key, _ in self.selector.select(max(0.0, min(waits)) if waits else 10.0):
                # A handler before this one may have closed the descriptor, and another may have its number now.
                if self.selector.get_map().get(key.fd) == key:
                    owner, what = key.data
                    getattr(owner, what)(key.fd)
            self.reap()
        for command in list(self.commands.values()):
            command.kill()

    def reap(self):
        """Keepers that ended, and orphans of killed keepers, leave no zombie."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.keepers.discard(pid)

    def receive(self, descriptor):
        try:
            data = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self.open = False
            return
        self.inbox += data
        while len(self.inbox) >= HEAD.size:
            header_size, payload_size = HEAD.unpack_from(self.inbox)
            end = HEAD.size + header_size + payload_size
            if len(self.inbox) < end:
                return
            header = json.loads(bytes(self.inbox[HEAD.size : HEAD.size + header_size]).decode())
            payload = bytes(self.inbox[HEAD.size + header_size : end])
            del self.inbox[:end]
            self.handle(header, payload)

    def handle(self, header, payload):
        operation = header["op"]
        if operation == "exec":
            try:
                self.commands[header["id"]] = Command(self, header, payload)
            except OSError as error:
                answer = {"id": header["id"], "status": "crashed", "exit_code": None, "truncated": False}
                self.send(dict(answer, seconds=0.0, stdout=0), str(error).encode())
        elif operation == "cancel":
            command = self.commands.get(header["id"])
            if command is not None:
                command.end("timeout")
        elif operation == "write":
            self.answer(header, self.write_files, header["files"], payload)
        elif operation == "read":
            self.answer(header, self.read_file, header["path"], header["max_bytes"])

    def answer(self, header, function, *arguments):
        try:
            self.send({"id": header["id"]}, function(*arguments) or b"")
        except OSError as error:
            self.send({"id": header["id"], "error": error.errno or errno.EIO, "text": error.strerror or str(error)})

    def folder(self, parts, create):
        """An open descriptor of the folder `parts` below the working directory; no symbolic link is followed."""
        at = os.open(self.workdir, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts:
            if create:
                try:
                    os.mkdir(part, 0o755, dir_fd=at)
                except FileExistsError:
                    pass
                except OSError:
                    os.close(at)
                    raise
            try:
                if stat.S_ISLNK(os.stat(part, dir_fd=at, follow_symlinks=False).st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            finally:
                os.close(at)
            at = inner
        return at

    def write_files(self, files, payload):
        offset = 0
        for path, size, append in files:
            *parents_, name = path.split("/")
            at = self.folder(parents_, True)
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
                flags |= os.O_APPEND if append else os.O_TRUNC
                descriptor = os.open(name, flags, 0o644, dir_fd=at)
            finally:
                os.close(at)
            with os.fdopen(descriptor, "wb") as file:
                file.write(payload[offset : offset + size])
            offset += size

    def read_file(self, path, max_bytes):
        *parents_, name = path.split("/")
        at = self.folder(parents_, False)
        try:
            # Not blocking: opening a named pipe must not hang.
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        finally:
            os.close(at)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.ENOENT, "not a regular file")
            return file.read(max_bytes)

    def send(self, header, payload=b""):
        text = json.dumps(header).encode()
        waiting = bool(self.outbox)
        self.outbox += HEAD.pack(len(text), len(payload)) + text + payload
        if not waiting:
            self.flush(1)

    def flush(self, descriptor):
        try:
            sent = os.write(descriptor, self.outbox)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.open = False
            return
        del self.outbox[:sent]
        registered = descriptor in self.selector.get_map()
        if self.outbox and not registered:
            self.selector.register(descriptor, selectors.EVENT_WRITE, (self, "flush"))
        elif not self.outbox and registered:
            self.selector.unregister(descriptor)


def main():
    workdir, output_bytes = sys.argv[1], int(sys.argv[2])
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.makedirs(workdir, exist_ok=True)
    os.chdir(workdir)
    Server(workdir, output_bytes).serve()


if __name__ == "__main__":
    main()
