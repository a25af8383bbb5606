"""Runs an agent's commands inside its sandbox: started once per episode, then takes requests on stdin.

Stdlib only, for the interpreter of any image (3.6 and later). Its source is passed on the command line (see
`episode_client.server_command`), or `episode_place` forks it, so nothing has to be copied in. It runs as the same user
as the commands, so they can kill it: its client must not trust its answers, and restarts it when it dies.

Messages, both ways: u32 header size, u32 payload size (big-endian), a JSON header, the payload.

    exec    {"op", "id", "command", "timeout", "environment"} + stdin
            -> {"id", "status", "exit_code", "seconds", "truncated", "stdout": size, "cpu", "waited"} + stdout + stderr
    cancel  {"op", "id"}  -> nothing; the command's tree is ended
    write   {"op", "id", "files": [[path, size, append], ...]} + contents  -> {"id"} or {"id", "error", "text"}
    read    {"op", "id", "path", "max_bytes"}  -> {"id"} + content, or {"id", "error", "text"}

The first message is {"id": 0} when the server is ready, or {"id": 0, "error": text} if it could not be started.
"""

import contextlib
import errno
import json
import os
import selectors
import signal
import stat
import struct
import time

from agent_rl_sandboxes.inside.episode_command import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, EpisodeCommand, prctl

HEAD = struct.Struct(">II")


class EpisodeServer:
    """The loop over incoming messages, the commands' pipes, deadlines and outgoing messages."""

    def __init__(self, workdir, output_bytes, limit):
        self.workdir = workdir
        self.limit = limit
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
        self.wake_at_deaths()
        while self.open:
            now = time.monotonic()
            for command in [c for c in self.commands.values() if c.deadline <= now]:
                command.end("timeout")
            waits = [c.deadline - time.monotonic() for c in self.commands.values()]
            for key, _ in self.selector.select(max(0.0, min(waits)) if waits else 10.0):
                # An earlier handler may have closed this descriptor, and a new one may have its number now.
                if self.selector.get_map().get(key.fd) == key:
                    owner, what = key.data
                    getattr(owner, what)(key.fd)
            self.reap()
        for command in list(self.commands.values()):
            command.kill()

    def wake_at_deaths(self):
        """The death of a child wakes the loop, which reaps it: a zombie counts towards the process limit."""
        deaths, tell = os.pipe()
        for descriptor in (deaths, tell):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(tell)
        self.selector.register(deaths, selectors.EVENT_READ, (self, "forget"))

    def forget(self, descriptor):
        """Reads the bytes that woke the loop."""
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, 1 << 16)

    def reap(self):
        """Ended keepers, and ended orphans of killed keepers, are reaped."""
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
                self.commands[header["id"]] = EpisodeCommand(self, header, payload)
            except OSError as error:
                answer = {"id": header["id"], "status": "crashed", "exit_code": None, "truncated": False}
                self.send(dict(answer, seconds=0.0, stdout=0, cpu=0.0, waited=0.0), str(error).encode())
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
            # Non-blocking: opening a named pipe must not hang.
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


def main(workdir, output_bytes, limit=None):
    """Serve until the client goes away. Each command's process calls `limit`, if given."""
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.makedirs(workdir, exist_ok=True)
    os.chdir(workdir)
    EpisodeServer(workdir, output_bytes, limit).serve()
