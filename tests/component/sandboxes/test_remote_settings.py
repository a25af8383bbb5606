"""How sandbox hosts are named in a configuration, where the token is and is not, and TLS by certificate files."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent_rl.cli import main
from agent_rl.cli.options import sandbox_overrides, sandbox_settings
from agent_rl.config import SandboxConfig, load_config
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.providers import check_sandbox_options, provider_options
from agent_rl.vocabulary import RunRequest, SandboxSpec
from agent_rl_sandboxes.remote_provider import RemoteOptions, RemoteProvider
from agent_rl_sandboxes.serving.host_server import server_tls
from tests.unit.sandboxes.hosting import ANSWERED, TOKEN, HeldProvider, hosting, remote, until

RUN = RunRequest("1")


def remote_at(url: str) -> dict[str, Any]:
    """The table `sandbox` with one host."""
    return {"provider": "remote", "remote": {"hosts": [url]}}


def test_a_token_is_never_in_a_configuration(tmp_path: Path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "run.toml").write_text(
        '[[environments]]\nenvironment = "code"\n[model]\npath = "m"\n[sandbox]\nprovider = "remote"\n'
        f'[sandbox.remote]\nhosts = ["https://one:8700", "https://two:8700"]\ntoken_file = "{tmp_path}/token"\n'
    )
    config = load_config(tmp_path / "run.toml")
    options = provider_options("remote", config.sandbox)
    assert isinstance(options, RemoteOptions)
    RemoteProvider(config.sandbox, options, environment={})
    assert options.hosts == ("https://one:8700", "https://two:8700")
    assert TOKEN not in config.to_toml()


def test_hosts_without_their_provider_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run.toml").write_text(
        '[[environments]]\nenvironment = "code"\n[model]\npath = "m"\n[sandbox.remote]\nhosts = ["https://one:8700"]\n'
    )
    assert main(["train", str(tmp_path / "run.toml"), "--dry-run"]) == 2
    says = "sandbox.remote: this table is given, and provider = 'auto' does not read it: set provider = 'remote'"
    assert says in capsys.readouterr().err
    says = r"sandbox\.remote\.hosts: the remote provider needs the URL of at least one host"
    with pytest.raises(ConfigError, match=says):
        check_sandbox_options(SandboxConfig(provider="remote"))


@pytest.mark.parametrize(
    "url",
    ["one:8700", "ftp://one", "https://", "https://one/path", "https://one?x=1", "https://one#x", "http://one:99999"],
)
def test_a_host_is_named_by_a_plain_url(url):
    with pytest.raises(ConfigError, match=r"sandbox\.remote\.hosts: (no URL: Port|expected http\(s\)://HOST:PORT)"):
        check_sandbox_options(SandboxConfig.model_validate(remote_at(url)))


def test_a_token_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="the token does not belong into the URL") as caught:
        check_sandbox_options(SandboxConfig.model_validate(remote_at("https://me:secret@one:8700")))
    assert "secret" not in str(caught.value)


def test_hosts_can_be_given_on_the_command_line():
    assert sandbox_settings(None) == {}
    assert sandbox_settings("docker") == {"provider": "docker"}
    hosts = ["https://one:8700", "https://two:8700"]
    told = {"provider": "remote", "remote": {"hosts": hosts}}
    assert sandbox_settings("https://one:8700, https://two:8700,") == told
    assert SandboxConfig.model_validate(sandbox_settings(",".join(hosts))).tables == {"remote": {"hosts": hosts}}
    assert sandbox_settings(",".join(hosts), "mine:1") == {**told, "image": "mine:1"}
    assert sandbox_overrides(None) == []
    assert sandbox_overrides("docker", "mine:1") == ['sandbox.image="mine:1"', 'sandbox.provider="docker"']
    assert sandbox_overrides(",".join(hosts)) == [
        'sandbox.provider="remote"',
        'sandbox.remote.hosts=["https://one:8700", "https://two:8700"]',
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--bind", "0.0.0.0:0"], "--bind: 0.0.0.0 can be reached from beyond this machine, so there must be a token"),
        (["--sandbox", "remote"], "--sandbox: a host serves its own sandboxes"),
        (["--set", "wrkers=1"], "wrkers: unknown key in --set (did you mean 'workers'?)"),
        (
            ["--sandbox", "docker", "--set", "docker.runtme=x"],
            "sandbox.docker.runtme: unknown key in [sandbox.docker] (did you mean 'runtime'?)",
        ),
        (["--set", "docker.runtime=x", "--set", "docker.runtime=y"], "--set: docker.runtime is given twice"),
        (["--set", "docker=1", "--set", "docker.runtime=y"], "--set: docker is given as a value and as a table"),
        (["--set", "remote.token_file=x"], "--sandbox: a host serves its own sandboxes"),
        (["--set", "image"], "--set: expected KEY=VALUE"),
        (["--set", "minimum_isolation=none"], "minimum_isolation: Input should be 'container', 'uid' or 'namespaces'"),
        (["--token-file", "no-such-file"], "--token-file: the token cannot be read from no-such-file"),
        (["--tls-key", "key.pem"], "--tls-cert: --tls-key needs --tls-cert"),
    ],
)
def test_mistakes_in_the_options_are_named(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AGENT_RL_SANDBOX_TOKEN", raising=False)
    assert main(["sandbox", "serve", *arguments]) == 2
    assert says in capsys.readouterr().err


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), and a certificate of 127.0.0.1 that it signed (cert.pem, key.pem)."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    openssl("req", *new_key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=host")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
    openssl("x509", "-req", "-in", "request.pem", *signed, "-out", "cert.pem")
    return folder


async def test_tls_is_by_certificate_files_and_an_unknown_authority_is_refused(certificates: Path):
    held = HeldProvider()
    held.go.set()
    tls = server_tls(certificates / "cert.pem", certificates / "key.pem")
    async with hosting(held, tls=tls) as host:
        assert host.url.startswith("https://")
        async with remote(host.url, ca_file=str(certificates / "ca.pem")) as provider:
            assert await provider.run(RUN) == ANSWERED
            sandbox = provider.sandbox(SandboxSpec())
            await sandbox.write_files({"file": b"x" * 3_000_000})
            assert await sandbox.read_file("file", max_bytes=1 << 22) == b"x" * 3_000_000
        with pytest.raises(SandboxError, match=r"certificate verify failed.*; .*sandbox\.remote\.ca_file"):
            await remote(host.url).start()
        with pytest.raises(SandboxError, match="no sandbox host can be used"):
            await remote(host.url.replace("https", "http")).start()


async def test_handshakes_that_are_not_finished_are_bounded(certificates: Path):
    """For 8 connections, and 2 to be told that these are taken: of 20 that never shake hands 10 are closed at once."""
    held = HeldProvider()
    held.go.set()
    tls = server_tls(certificates / "cert.pem", certificates / "key.pem")
    async with hosting(held, tls=tls, connections=8) as host:
        streams = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", host.port) for _ in range(20)))
        ends = [asyncio.create_task(asyncio.wait([asyncio.ensure_future(reader.read())])) for reader, _ in streams]
        await until(lambda: sum(end.done() for end in ends) == 10)
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*ends)
        async with remote(host.url, ca_file=str(certificates / "ca.pem")) as provider:
            assert await provider.run(RUN) == ANSWERED


async def test_a_connection_too_many_is_told_so_over_tls_too(certificates: Path):
    tls = server_tls(certificates / "cert.pem", certificates / "key.pem")
    trusting = ssl.create_default_context(cafile=certificates / "ca.pem")
    async with hosting(HeldProvider(), tls=tls, connections=2) as host:
        streams = [await asyncio.open_connection("127.0.0.1", host.port, ssl=trusting) for _ in range(3)]
        assert (await streams[2][0].read()).startswith(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n")
        for _, writer in streams:
            writer.close()


def test_certificates_that_cannot_be_used_are_a_mistake_of_the_users(certificates: Path):
    assert server_tls(None, None) is None
    with pytest.raises(ConfigError, match="--tls-key needs --tls-cert"):
        server_tls(None, certificates / "key.pem")
    for certificate, key in (("absent.pem", "key.pem"), ("cert.pem", "ca.key"), ("names", "key.pem")):
        with pytest.raises(ConfigError, match=r"--tls-cert: .* cannot be used"):
            server_tls(certificates / certificate, certificates / key)
    with pytest.raises(ConfigError, match=r"sandbox\.remote\.ca_file"):
        remote("https://one:8700", ca_file=str(certificates / "absent.pem"))
