"""What the tests of rollouts share: a tokenizer trained here, chat templates, an environment, a verifier."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from agent_rl.algorithms.aggregations.token_scales import Constant
from agent_rl.contracts import (
    Agent,
    Aggregation,
    Batch,
    Environment,
    EnvironmentConfig,
    Sandbox,
    TrainingSample,
    Verifier,
)
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.pack import pack
from agent_rl.vocabulary import AnswerTests, Group, Submission, Task, Verdict
from agent_rl.vocabulary.task import Message

PLAIN = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

SYSTEM_INTO_FIRST_USER = """\
{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}\
{% set ns.system = m.content ~ '\n\n' %}{% elif m.role == 'user' %}<s>[INST] {{ ns.system ~ m.content }} [/INST]\
{% set ns.system = '' %}{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"""

SYSTEM_INTO_LAST_USER = """\
{% if messages[0].role == 'system' %}{% set system = messages[0].content ~ '\n\n' %}{% set rest = messages[1:] %}\
{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}\
{% for m in rest %}{% if m.role == 'user' %}<s>[INST] {{ (system if loop.last else '') ~ m.content }} [/INST]\
{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"""

THINKING_REMOVED = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' and '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\n') }}\
{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

TRIMMED = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

TOOLS = """\
{% if tools %}<|im_start|>system
Tools:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call them with <tool_call> and </tool_call>.<|im_end|>
{% endif %}{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

NO_STOP_TOKEN = """\
{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""

TEMPLATES = {
    "plain": PLAIN,
    "system into first user": SYSTEM_INTO_FIRST_USER,
    "system into last user": SYSTEM_INTO_LAST_USER,
    "thinking removed": THINKING_REMOVED,
    "trimmed": TRIMMED,
    "tools": TOOLS,
    "no stop token": NO_STOP_TOKEN,
}

_CORPUS = [
    "def add(first, second):\n    return first + second\n\nprint(add(1, 2))",
    "for item in items:\n    if item > 10:\n        total += item\n    else:\n        total -= 1\n",
    "Write a function that returns the sum of a list of numbers. The answer is wrong; please try again.",
    "user assistant system tool  naïve café über straße 日本語 → ∑ \t\t  \n\n\n",
    '{"name": "add", "arguments": {"first": 1, "second": 2}}',
]


@functools.cache
def trained_tokenizer() -> str:
    """The JSON of a byte-level BPE tokenizer of 600 tokens, trained on a few lines."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=["<|im_start|>", "<|im_end|>", "<s>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_CORPUS * 20, trainer)
    markup = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in markup])
    return tokenizer.to_str()


def chat(template: str, **variables: Any) -> ChatTokenizer:
    """A ChatTokenizer of the trained tokenizer and `template`; `<eos>` and the template's own token stop."""
    tokenizer = Tokenizer.from_str(trained_tokenizer())
    eos = tokenizer.token_to_id("<eos>")
    assert eos is not None
    return ChatTokenizer(tokenizer, template, variables=variables, stop_token_ids=(eos,))


def passed() -> Verdict:
    return Verdict(True, "passed", "values", None)


class AnswerVerifier(Verifier):
    """Passes what contains the task's answer, and remembers what it was asked."""

    def __init__(self) -> None:
        self.judged: list[Submission] = []
        self.accepted: list[Verdict] = []

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        self.judged.append(submission)
        assert isinstance(task.tests, AnswerTests)
        right = task.tests.answer in submission.text
        return Verdict(right, "passed" if right else "failed", task.tier, None)

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        self.accepted.append(verdict)
        return verdict

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        return await self.judge(task, submission)

    async def prepare(self, task: Task) -> Task:
        return task


Rollout = Callable[[Task, Agent, Sandbox], Awaitable[Submission | Verdict]]


class FunctionEnvironment(Environment):
    """An environment whose rollout is a function."""

    def __init__(self, rollout: Rollout, verifier: Verifier | None = None) -> None:
        super().__init__(EnvironmentConfig(), verifier or AnswerVerifier())
        self._rollout = rollout

    async def load(self, split: str) -> Sequence[Task]:
        return []

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission | Verdict:
        return await self._rollout(task, agent, sandbox)


def make_task(number: int = 0, text: str = "Say 42.", answer: str = "42") -> Task:
    return Task(id=f"task/{number}", prompt=(Message.user(text),), tests=AnswerTests(answer), oracle=answer)


def packed(
    groups: Sequence[Group],
    advantages: Sequence[Sequence[float]],
    *,
    step: int = 1,
    aggregation: Aggregation | None = None,
    **options: Any,
) -> Batch:
    """The batch of `groups`, in which each trajectory has one advantage."""
    samples = [
        [TrainingSample(t, a) for t, a in zip(g.trajectories, own, strict=True)]
        for g, own in zip(groups, advantages, strict=True)
    ]
    return pack(samples, aggregation or Constant(), step=step, **options)
