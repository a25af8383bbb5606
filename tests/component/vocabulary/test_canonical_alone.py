"""The canonical form's source, as it is shipped into sandboxes."""

import subprocess
import sys

from agent_rl.vocabulary import canonical
from agent_rl.vocabulary.canonical import encode


def test_the_file_stands_alone() -> None:
    """The source runs by itself, without this package: it is shipped into sandboxes."""
    program = f"import sys; exec(sys.stdin.read()); print(encode([decode({encode((1, 2.5))!r})]))"
    with open(canonical.__file__) as file:
        done = subprocess.run([sys.executable, "-I", "-c", program], stdin=file, capture_output=True, text=True)
    assert done.stdout == '[{"t":[1,2.5]}]\n', done.stderr
