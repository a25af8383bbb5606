"""A Docker daemon of a test's own, which the test may end, starve and start again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path

import docker
import docker.errors

from agent_rl_sandboxes.docker_engine import Endpoint, client

START_SECONDS = 60.0


class Daemon:
    """A Docker daemon of the test's own, in a folder of its own; it touches no other daemon's data.

    Its containerd is started beside it, as a system does, and outlives it. Both have a network namespace of their own:
    a daemon without a bridge removes the one that it finds, which would be another daemon's.
    """

    def __init__(self, folder: Path, settings: str = "{}") -> None:
        """`settings`: what its daemon.json holds."""
        self.folder = folder
        self.settings = settings
        self.url = f"unix://{folder}/docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None
        address = folder / "containerd.sock"
        config = folder / "containerd.toml"
        # The plugins that are dropped would listen on ports, or look after other people's containers.
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        command = ["unshare", "--net", "containerd", "--config", str(config), "--address", str(address)]
        command += ["--root", str(folder / "containerd"), "--state", str(folder / "containerd-state")]
        self._containerd = self._start(command, "containerd.log")

    def start(self) -> None:
        """The daemon answers. Raises AssertionError with the end of its log where it does not."""
        folder = self.folder
        (folder / "daemon.json").write_text(self.settings)
        (folder / "docker.pid").unlink(missing_ok=True)
        command = ["unshare", "--net", "dockerd", "--host", self.url, "--config-file", str(folder / "daemon.json")]
        command += ["--containerd", str(folder / "containerd.sock"), "--pidfile", str(folder / "docker.pid")]
        command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
        command += ["--bridge=none", "--iptables=false"]
        self._daemon = self._start(command, "docker.log")
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.api().close()
                return
            except OSError:
                ended = self._daemon.poll() is not None or time.monotonic() > until
                assert not ended, (folder / "docker.log").read_text()[-2000:]
                time.sleep(0.1)

    def api(self) -> docker.APIClient:
        """A client. Raises OSError where nobody listens."""
        return client(Endpoint(f"http+unix://{self.folder}/docker.sock", "unix", f"{self.folder}/docker.sock"))

    def end(self, number: signal.Signals) -> None:
        if self._daemon is not None:
            self._daemon.send_signal(number)
            self._daemon.wait(60)
            self._daemon = None

    def clean(self) -> None:
        """The daemon, its containerd and whatever it still held are gone."""
        try:
            if self._daemon is None:
                self.start()
            api = self.api()
            for container in api.containers(all=True):
                with contextlib.suppress(docker.errors.APIError):  # it is just removing itself
                    api.remove_container(container["Id"], force=True)
            api.close()
        finally:
            self.end(signal.SIGTERM)
            self._containerd.terminate()
            self._containerd.wait(60)
            mounts = Path("/proc/self/mounts").read_text().splitlines()
            for point in sorted((line.split()[1] for line in mounts if str(self.folder) in line), reverse=True):
                subprocess.run(["umount", "-l", point], check=False)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
