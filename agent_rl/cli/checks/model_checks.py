"""Checks of a run's starting model: what it is, its size, and whether template and tokenizer fit together."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from agent_rl.cache import cache_folder
from agent_rl.cli.checks.check_result import DoctorCheck
from agent_rl.common_prefix import common_prefix
from agent_rl.config import Model, RunConfig, ScratchModel
from agent_rl.contracts import Generation
from agent_rl.errors import ConfigError
from agent_rl.evaluation.policy_spec import ModelSource, resolve_policy
from agent_rl.loop.starting_model import cache_key, prepare_model
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.conversation import Conversation
from agent_rl.rollouts.tool_calls import as_text, syntax_of
from agent_rl.vocabulary import Message, ToolCall

_PROGRAM = 'def add(first, second):\n    return first + second  # "naïve", 1234.5 → ∑\n'
"""A reply with characters that are hard for tokenizers: indentation, digits, quotes, accents, symbols."""


def model(config: RunConfig) -> DoctorCheck:
    """Checks that the model is available, with a chat template and stop tokens."""
    if config.model.path is None:
        scratch = config.model.scratch
        assert scratch is not None
        warm = "fine-tuned on demonstrations (SFT)" if config.model.sft else "without SFT: it knows nothing"
        detail = f"a new {scratch.architecture} of width {scratch.width} and {scratch.layers} layers, {warm}"
        return DoctorCheck("model", "good" if config.model.sft else "noted", detail)
    source = resolve_policy(config.model.path)
    if not isinstance(source, ModelSource):
        return DoctorCheck("model", "failed", f"model.path = {config.model.path!r} is not a model")
    tokenizer = ChatTokenizer.load(source.folder, config.model.chat_template, config.model.template_variables)
    if not (list(source.folder.glob("*.safetensors")) or list(source.folder.glob("*.bin"))):
        return DoctorCheck("model", "failed", f"{source.folder} holds no weights (*.safetensors)")
    stops = "one stop token" if len(tokenizer.stop_token_ids) == 1 else f"{len(tokenizer.stop_token_ids)} stop tokens"
    if not tokenizer.stop_token_ids:
        return DoctorCheck(
            "model", "failed", "neither the model nor its chat template says with which token a turn stops"
        )
    return DoctorCheck(
        "model", "good", f"{source.folder}, {tokenizer.vocabulary_size} tokens, a chat template, {stops}"
    )


def parameter_count(settings: Model) -> int | None:
    """The model's number of parameters, from its safetensors' headers or its shape; None if neither is available."""
    if settings.path is None:
        assert settings.scratch is not None
        return scratch_parameters(settings.scratch)
    source = resolve_policy(settings.path)
    assert isinstance(source, ModelSource)
    files = sorted(source.folder.glob("*.safetensors"))
    try:
        return sum(map(_tensor_elements, files)) or None
    except (OSError, ValueError, KeyError, struct.error):
        return None


def scratch_parameters(shape: ScratchModel) -> int:
    """The parameters of a new model, its tokenizer as large as allowed.

    Embeddings (tied) V w; per layer: queries and output 2 w^2, keys and values 2 w h k, the three matrices of the
    feed-forward part 3 w f, two norms 2 w (and 2 h for those of Qwen3's heads); a last norm w. Heads are h wide, and k
    of them have keys and values.
    """
    width, head = shape.width, shape.width // shape.heads
    layer = 2 * width**2 + 2 * width * head * shape.kv_heads + 3 * width * shape.ffn_width + 2 * width
    layer += 2 * head if shape.architecture == "qwen3" else 0
    return shape.vocabulary * width + shape.layers * layer + width


def _tensor_elements(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header: 8 bytes of length, then JSON."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


@dataclass(frozen=True, slots=True)
class StartingModel:
    """A folder with a model of the run's shape. `note` says so if it is not the model that the run starts from."""

    folder: Path
    note: str


async def starting_model(config: RunConfig, scratch: Path) -> StartingModel:
    """The run's starting model if it is available; if SFT would have to run first, the model before SFT.

    SFT takes minutes and changes no shape, dtype or kernel, so the results of the checks hold after it too. A model
    that has to be made is made in the folder `scratch`. Raises ConfigError or LearnerError if it cannot be made.
    """
    warm = config.model.sft
    if warm is None and config.model.path is not None:
        return StartingModel(prepare_model(config, scratch), "")
    cached = cache_folder() / f"model-{cache_key(config)}"
    if cached.is_dir():
        return StartingModel(cached, "")
    cold = config.model_copy(update={"model": config.model.model_copy(update={"sft": None})})
    folder = await asyncio.to_thread(prepare_model, cold, scratch, lambda text: None)
    if warm is None:
        return StartingModel(folder, "")
    return StartingModel(
        folder,
        f"on the model before SFT, whose {warm.steps} steps of {warm.batch_size} conversations "
        "`agent-rl train` takes first",
    )


def chat_template(config: RunConfig, folder: Path) -> DoctorCheck:
    """Checks that a conversation's text is unchanged by encoding and decoding, and that each turn's tokens continue
    those of the previous turn."""
    tokenizer = ChatTokenizer.load(folder, config.model.chat_template, config.model.template_variables)
    call = Message.assistant(as_text([ToolCall("add", {"first": 1, "second": 2})], syntax_of(tokenizer.template)))
    result: Message = Message("tool", "3", tool_call_id="call00000", name="add")
    messages = [Message.user("Write add.")]
    if tokenizer.accepts("system"):
        messages.insert(0, Message.system("You write Python."))
    messages.append(Message.assistant(_PROGRAM))
    said = [message.role for message in messages]
    if tokenizer.accepts("tool"):
        messages += [Message.user("Call add."), call, result, Message.assistant("It is 3.")]
        said += ["call", "tool"]
    messages.append(Message.user("Now sub."))
    rendered = tokenizer.render(messages)
    lost = _lost(tokenizer, rendered)
    if lost is not None:
        return lost
    forks = [what for what, reply, answer in _turns(tokenizer, call, result) if _forks(tokenizer, reply, answer)]
    detail = f"{len(rendered)} characters ({', '.join(said)}) survive as {len(tokenizer.encode(rendered))} tokens"
    if forks:
        return DoctorCheck(
            "chat template",
            "noted",
            f"{detail}; it rewrites history after {', after '.join(forks)}: there trajectories fork, and prompts are "
            "computed anew",
        )
    return DoctorCheck("chat template", "good", f"{detail}; each turn goes on from the tokens of the last")


def _lost(tokenizer: ChatTokenizer, rendered: str) -> DoctorCheck | None:
    """The failed check if decoding the tokens of `rendered` does not give `rendered` again; else None."""
    before, after = tokenizer.plain(rendered), tokenizer.decode_all(tokenizer.encode(rendered))
    if before == after:
        return None
    at = common_prefix(before, after)
    difference = f"{before[at : at + 20]!r} became {after[at : at + 20]!r}"
    if "".join(before.split()) == "".join(after.split()):
        return DoctorCheck("chat template", "noted", f"the tokenizer changes white space: {difference}")
    return DoctorCheck(
        "chat template", "failed", f"the tokenizer does not give back the text that it was given: {difference}"
    )


def _turns(tokenizer: ChatTokenizer, call: Message, result: Message) -> list[tuple[str, str, Message]]:
    """(name of the reply, its text, the message after it) for each kind of reply that the template supports."""
    turns = [("a reply", _PROGRAM, Message.user("Now sub."))]
    if "</think>" in tokenizer.template:
        turns.append(("thinking", f"<think>\nEasy.\n</think>\n\n{_PROGRAM}", Message.user("Now sub.")))
    if tokenizer.accepts("tool"):
        turns.append(("a tool's result", call.content, result))
    return turns


def _forks(tokenizer: ChatTokenizer, reply: str, answer: Message) -> bool:
    """Whether the prompt after `reply` and `answer` does not begin with the first prompt and the sampled reply."""
    if not tokenizer.stop_token_ids:
        raise ConfigError("no stop token is known: a turn would never end", key="model.chat_template")
    conversation = Conversation(tokenizer)
    conversation.send(conversation.plan([Message.user("Write add.")]))
    ids = (*tokenizer.encode(tokenizer.guarded_reply(reply)), tokenizer.stop_token_ids[0])
    conversation.receive(Generation(ids, (0.0,) * len(ids), (0,) * len(ids), "stop"))
    return conversation.plan([answer]).forks
