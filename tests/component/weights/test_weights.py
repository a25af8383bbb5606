"""Weights through shared memory: what arrives, for how long, and that nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agent_rl.contracts import WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.weights import blobs
from agent_rl.weights.cuda_ipc import CudaSender, packed, unpacked
from agent_rl.weights.receive import receive
from agent_rl.weights.shared_memory import SharedMemoryReceiver, SharedMemorySender


def weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "matrix": torch.randn(3, 5),
        "half": torch.randn(7).bfloat16(),
        "counter": torch.tensor(seed),
        "empty": torch.zeros(0, 4),
        "transposed": torch.randn(4, 2).T,
    }


def test_what_is_sent_arrives() -> None:
    sender, receiver = SharedMemorySender("test"), SharedMemoryReceiver()
    sent = weights(1)
    manifest = sender.send(sent.items(), 5)
    assert manifest.version == 5
    assert [spec.name for spec in manifest.tensors] == list(sent)
    # 64 bytes of header, then 60, 14, 8, 0 and 32 bytes, each rounded up to 64
    assert [spec.offset for spec in manifest.tensors] == [64, 128, 192, 256, 256]
    assert manifest.nbytes == 320
    loaded = receiver.load(manifest)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in sent.items())
    assert all(loaded[name].dtype == tensor.dtype for name, tensor in sent.items())
    halves = receiver.load(sender.send(sent, 6, dtype=torch.bfloat16), dtype=torch.float32)
    assert torch.equal(halves["matrix"], sent["matrix"].bfloat16().float())
    assert halves["counter"].dtype == torch.int64
    sender.close()


def test_a_manifest_is_valid_until_the_publish_after_the_next() -> None:
    sender, receiver = SharedMemorySender("test"), SharedMemoryReceiver()
    first = sender.send(weights(1), 1)
    second = sender.send(weights(2), 2)
    assert receiver.load(first)["counter"] == 1
    sender.send(weights(3), 3)
    assert receiver.load(second)["counter"] == 2
    with pytest.raises(PolicyError, match=r"version 1 are no longer at hand: their blob holds version 3"):
        receiver.load(first)
    sender.close()
    with pytest.raises(PolicyError, match="the weights of version 2 cannot be read"):
        receiver.load(second)


def test_a_blob_grows_with_the_model() -> None:
    sender, receiver = SharedMemorySender("test"), SharedMemoryReceiver()
    sizes = [10, 10, 10_000, 10, 20_000]
    for version, size in enumerate(sizes):
        manifest = sender.send({"w": torch.full((size,), float(version))}, version)
        assert torch.equal(receiver.load(manifest)["w"], torch.full((size,), float(version)))
    sender.close()


def test_a_reader_cannot_spoil_a_blob() -> None:
    blob = blobs.Blob("test", 16)
    blob.memory[:4] = b"good"
    memory = blobs.open_blob(blob.name, 16)
    memory[:4] = b"evil"
    assert blobs.open_blob(blob.name, 16)[:4] == b"good"
    with pytest.raises(ValueError, match="fewer than 17 bytes"):
        blobs.open_blob(blob.name, 17)
    blob.close()
    blob.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a blob is a file, removed at the next start")
def test_the_blobs_of_a_killed_process_are_gone() -> None:
    program = """
from agent_rl.weights.blobs import Blob
import time
blob = Blob("test", 1 << 20)
print(blob.name, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        name = owner.stdout.readline().decode().strip()
        assert len(blobs.open_blob(name, 1 << 20)) == 1 << 20
        owner.kill()
    with pytest.raises(FileNotFoundError):
        blobs.open_blob(name, 1)


def test_files_of_dead_owners_are_reaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs.tempfile, "gettempdir", lambda: str(tmp_path))
    with subprocess.Popen(["true"]) as dead:
        pass
    left = tmp_path / f"agent-rl-{dead.pid}-weights-0-x.blob"
    ours = tmp_path / f"agent-rl-{os.getpid()}-weights-0-x.blob"
    other = tmp_path / "agent-rl-notes.blob"
    for file in (left, ours, other):
        file.write_bytes(b"")
    assert blobs.reap() == [str(left)]
    assert sorted(tmp_path.iterdir()) == sorted([ours, other])


async def test_weights_cross_processes() -> None:
    target = f"{Path(__file__).parent / 'weight_roles.py'}:Publisher"
    async with LocalLauncher() as runtime:
        role = await runtime.start("learner", target)
        manifests = [await role.call("publish", version) for version in (1, 2)]
        loaded = [SharedMemoryReceiver().load(manifest)["w"] for manifest in manifests]
        assert [w.tolist() for w in loaded] == [[1.0] * 4, [2.0] * 4]
    await asyncio.sleep(0)
    with pytest.raises(PolicyError, match="cannot be read"):
        SharedMemoryReceiver().load(manifests[1])


def test_a_handle_survives_its_way_as_json() -> None:
    shared = (0, b"\x00handle\xff", 1024, 0, b"counter", 3, b"event", True)
    assert unpacked(json.loads(json.dumps(packed(shared)))) == shared


def test_cuda_ipc_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="needs the tensors on a GPU, not on cpu"):
        CudaSender(torch.device("cpu"))


def test_a_gpu_that_cannot_be_seen_is_named() -> None:
    manifest = WeightManifest(3, json.dumps({"gpu": "GPU-far-away", "offset": 0, "storage": []}), 64, (), "cuda_ipc")
    with pytest.raises(PolicyError, match=r"version 3 lie on GPU GPU-far-away, which this process cannot see"):
        receive(manifest)


async def test_a_reader_in_another_process_gets_what_was_sent(tmp_path: Path) -> None:
    sender = SharedMemorySender("test")
    async with LocalLauncher(tmp_path) as runtime:
        role = await runtime.start("reader", f"{Path(__file__).parent / 'weight_roles.py'}:Reader")
        sent = weights(1)
        sums = await role.call("sums", sender.send(sent, 1))
        assert sums == {name: float(tensor.double().sum()) for name, tensor in sent.items()}
    sender.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
async def test_weights_go_from_gpu_to_gpu(tmp_path: Path) -> None:
    sender = CudaSender(torch.device("cuda", 0))
    async with LocalLauncher(tmp_path) as runtime:
        role = await runtime.start("reader", f"{Path(__file__).parent / 'weight_roles.py'}:Reader")
        for version in range(1, 5):
            sent = {name: tensor.cuda() for name, tensor in weights(version).items()}
            sums = await role.call("sums", sender.send(sent, version))
            assert sums == {name: float(tensor.double().sum()) for name, tensor in sent.items()}
    sender.close()
