"""The sources that are shipped into sandboxes run without this package and without any other."""

import inspect
import json
import subprocess
import sys

from agent_rl.judging import replay
from agent_rl.vocabulary import canonical, held_values, stand_ins
from agent_rl.vocabulary.canonical import encode
from agent_rl_sandboxes.inside import source_modules

PROGRAM = """
import json, sys
loader, modules, replay, text = json.load(sys.stdin)
exec(loader)
load(modules)
from agent_rl.vocabulary.canonical import decode, encode
from agent_rl.vocabulary.held_values import failure_of, held
space = {}
exec(replay, space)
print(encode([decode(text)]))

def check(candidate):
    assert list(candidate(1)) == [2]
    try:
        candidate(2)
    except LookupError:
        return
    raise AssertionError

print(space["replay"](check, {}, [((1,), {}, None, held(iter([2]))), ((2,), {}, failure_of(KeyError()), None)]))
"""


def test_the_files_stand_alone() -> None:
    modules = [(m.__name__, inspect.getsource(m)) for m in (stand_ins, canonical, held_values)]
    sent = json.dumps([inspect.getsource(source_modules), modules, inspect.getsource(replay), encode((1, 2.5))])
    command = [sys.executable, "-I", "-S", "-c", PROGRAM]
    done = subprocess.run(command, input=sent, capture_output=True, text=True)
    assert done.stdout == '[{"t":[1,2.5]}]\nTrue\n', done.stderr
