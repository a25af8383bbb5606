"""Whole programs that read the same numbers, and write their sum, in every way that people do."""

from __future__ import annotations

from tests.system.attacks.honest.program import Honest, whole_programs

CASES = (("3\n1 2 3\n", "6\n"), ("1\n-5\n", "-5\n"))

# fmt: off
_READS = {
    "input": "input()\nprint(sum(map(int, input().split())))",
    "input-with-a-prompt-left-empty": "n = int(input(''))\nprint(sum([int(x) for x in input('').split()][:n]))",
    "all-of-stdin": "import sys\nn, *xs = map(int, sys.stdin.read().split())\nprint(sum(xs))",
    "readline": "import sys\nsys.stdin.readline()\nprint(sum(map(int, sys.stdin.readline().split())))",
    "readline-as-input": "import sys\ninput = sys.stdin.readline\ninput()\nprint(sum(map(int, input().split())))",
    "stripped-readline-as-input": """
        import sys
        input = lambda: sys.stdin.readline().rstrip("\\r\\n")
        n = int(input())
        print(sum(int(x) for x in input().split()))
    """,
    "the-built-in-input-replaced": """
        import builtins, sys
        builtins.input = sys.stdin.readline
        input()
        print(sum(map(int, input().split())))
    """,
    "bytes-of-stdin": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split()[1:])))",
    "lines-of-bytes": """
        from sys import stdin
        read = stdin.buffer.readline
        read()
        print(sum(map(int, read().split())))
    """,
    "a-list-of-lines": "import sys\nlines = sys.stdin.readlines()\nprint(sum(map(int, lines[1].split())))",
    "a-loop-over-lines": """
        import sys
        total = 0
        for number, line in enumerate(sys.stdin):
            if number:
                total += sum(map(int, line.split()))
        print(total)
    """,
    "until-the-end-of-the-file": """
        lines = []
        try:
            while True:
                lines.append(input())
        except EOFError:
            pass
        print(sum(map(int, " ".join(lines[1:]).split())))
    """,
    "iter-with-a-sentinel": """
        import sys
        lines = list(iter(sys.stdin.readline, ""))
        print(sum(map(int, lines[1].split())))
    """,
    "a-generator-of-tokens": """
        import sys
        def tokens():
            for line in sys.stdin:
                yield from map(int, line.split())
        source = tokens()
        n = next(source)
        print(sum(next(source) for _ in range(n)))
    """,
    "fileinput": "import fileinput\nlines = list(fileinput.input())\nprint(sum(map(int, lines[1].split())))",
    "open-0": "f = open(0)\nf.readline()\nprint(sum(map(int, f.readline().split())))",
    "open-0-in-a-with": "with open(0) as f:\n    n, xs = f.read().splitlines()\nprint(sum(map(int, xs.split())))",
    "unpacked-open-0": "n, *xs = map(int, open(0).read().split())\nprint(sum(xs))",
    "open-0-unbuffered-bytes": "f = open(0, 'rb', buffering=0)\nprint(sum(map(int, f.readall().split()[1:])))",
    "os-read": "import os\nprint(sum(map(int, os.read(0, 1 << 20).split()[1:])))",
    "os-read-in-a-loop": """
        import os
        parts = []
        while part := os.read(0, 2):
            parts.append(part)
        print(sum(map(int, b"".join(parts).split()[1:])))
    """,
    "fast-io-of-contests": """
        import os, sys
        from io import BytesIO, IOBase
        class FastIO(IOBase):
            newlines = 0
            def __init__(self, file):
                self._fd = file.fileno()
                self.buffer = BytesIO()
                self.writable = "x" in file.mode or "r" not in file.mode
                self.write = self.buffer.write if self.writable else None
            def readline(self):
                while self.newlines == 0:
                    b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))
                    self.newlines = b.count(b"\\n") + (not b)
                    ptr = self.buffer.tell()
                    self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
                self.newlines -= 1
                return self.buffer.readline()
            def flush(self):
                if self.writable:
                    os.write(self._fd, self.buffer.getvalue())
                    self.buffer.truncate(0), self.buffer.seek(0)
        class IOWrapper(IOBase):
            def __init__(self, file):
                self.buffer = FastIO(file)
                self.flush = self.buffer.flush
                self.writable = self.buffer.writable
                self.write = lambda s: self.buffer.write(s.encode("ascii"))
                self.readline = lambda: self.buffer.readline().decode("ascii")
        sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
        input = lambda: sys.stdin.readline().rstrip("\\r\\n")
        input()
        print(sum(map(int, input().split())))
        sys.stdout.flush()
    """,
    "bytes-io-of-descriptor-0": """
        import io, os
        input = io.BytesIO(os.read(0, 1 << 16)).readline
        input()
        print(sum(map(int, input().split())))
    """,
    "fdopen": "import os\nf = os.fdopen(0)\nf.readline()\nprint(sum(map(int, f.readline().split())))",
    "fdopen-of-a-duplicate": "import os\nf = os.fdopen(os.dup(0), 'rb')\nprint(sum(map(int, f.read().split()[1:])))",
    "file-io": "import io\nprint(sum(map(int, io.FileIO(0).readall().split()[1:])))",
    "stdin-reopened":
        "import sys\nsys.stdin = open(0, encoding='ascii')\ninput()\nprint(sum(map(int, input().split())))",
    "stdin-wrapped": """
        import io, sys
        sys.stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="\\n")
        input()
        print(sum(map(int, input().split())))
    """,
    "stdin-detached": "import sys\nraw = sys.stdin.detach()\nprint(sum(map(int, raw.read().split()[1:])))",
    "stdin-reconfigured": """
        import sys
        sys.stdin.reconfigure(encoding="latin-1", errors="replace")
        input()
        print(sum(map(int, input().split())))
    """,
    "stdin-replaced-by-its-text": """
        import io, sys
        sys.stdin = io.StringIO(sys.stdin.read())
        input()
        print(sum(map(int, input().split())))
    """,
    "stdin-closed-after-reading": """
        import sys
        data = sys.stdin.read().split()
        sys.stdin.close()
        print(sum(map(int, data[1:])))
    """,
    "a-codec": """
        import codecs, sys
        reader = codecs.getreader("utf-8")(sys.stdin.buffer)
        print(sum(map(int, reader.read().split()[1:])))
    """,
    "dev-stdin": "with open('/dev/stdin') as f:\n    print(sum(map(int, f.read().split()[1:])))",
    "dev-fd-0": "print(sum(map(int, open('/dev/fd/0').read().split()[1:])))",
    "proc-self-fd-0": "print(sum(map(int, open('/proc/self/fd/0').read().split()[1:])))",
    "a-path-of-stdin": """
        from pathlib import Path
        print(sum(map(int, Path("/dev/stdin").read_text().split()[1:])))
    """,
    "dunder-stdin": "import sys\nprint(sum(map(int, sys.__stdin__.read().split()[1:])))",
    "select-before-reading": """
        import select, sys
        select.select([sys.stdin], [], [])
        print(sum(map(int, sys.stdin.read().split()[1:])))
    """,
    "poll-before-reading": """
        import os, select
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.poll()
        print(sum(map(int, os.read(0, 4096).split()[1:])))
    """,
    "one-character-at-a-time": """
        import sys
        text = ""
        while c := sys.stdin.read(1):
            text += c
        print(sum(map(int, text.split()[1:])))
    """,
    "csv": "import csv, sys\nrows = list(csv.reader(sys.stdin, delimiter=' '))\nprint(sum(map(int, rows[1])))",
    "json": """
        import json, sys
        print(sum(json.loads("[" + ",".join(sys.stdin.read().split()) + "]")[1:]))
    """,
    "regular-expressions": "import re, sys\nprint(sum(map(int, re.findall(r'-?\\d+', sys.stdin.read())[1:])))",
    "an-array": """
        import array, sys
        xs = array.array("q", map(int, sys.stdin.buffer.read().split()))
        print(sum(xs[1:]))
    """,
    "eval-of-input": "n = eval(input())\nprint(eval('+'.join(input().split())))",
    "a-command-interpreter": """
        import cmd, sys
        class Lines(cmd.Cmd):
            use_rawinput = False
            prompt = ""
            def default(self, line):
                self.last = line
            def do_EOF(self, line):
                print(sum(map(int, self.last.split())))
                return True
        Lines(stdin=sys.stdin).cmdloop()
    """,
    "cat": "import subprocess\nprint(sum(map(int, subprocess.check_output(['cat']).split()[1:])))",
    "a-shell-that-reads": """
        import subprocess
        script = "read n; read xs; t=0; for x in $xs; do t=$((t + x)); done; echo $t"
        subprocess.run(["sh", "-c", script], check=True)
    """,
    "a-python-that-reads": """
        import subprocess, sys
        code = "input(); print(sum(map(int, input().split())))"
        sys.exit(subprocess.run([sys.executable, "-c", code]).returncode)
    """,
    "a-thread-that-reads": """
        import threading
        def main():
            input()
            print(sum(map(int, input().split())))
        t = threading.Thread(target=main)
        t.start()
        t.join()
    """,
    "an-executor-that-reads": """
        import asyncio, sys
        async def main():
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, sys.stdin.readline)
            line = await loop.run_in_executor(None, sys.stdin.readline)
            print(sum(map(int, line.split())))
        asyncio.run(main())
    """,
    "a-fork-that-reads": """
        import os
        pid = os.fork()
        if pid == 0:
            print(sum(map(int, os.read(0, 4096).split()[1:])), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
    """,
}
_WRITES = {
    "write": "sys.stdout.write(str(total) + '\\n')",
    "write-of-bytes": "sys.stdout.buffer.write(b'%d\\n' % total)",
    "writelines": "sys.stdout.writelines([str(total), '\\n'])",
    "os-write": "import os\nos.write(1, str(total).encode())",
    "no-newline": "print(total, end='')",
    "flushed-digit-by-digit": "for c in str(total):\n    print(c, end='', flush=True)",
    "stdout-reopened": "sys.stdout = open(1, 'w')\nprint(total)",
    "stdout-by-fdopen": "import os\nsys.stdout = os.fdopen(1, 'w', 1 << 16)\nprint(total)",
    "stdout-by-fdopen-of-its-number": "import os\nsys.stdout = os.fdopen(sys.stdout.fileno(), 'w', 1)\nprint(total)",
    "stdout-wrapped": "import io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\nprint(total)",
    "stdout-detached": "raw = sys.stdout.detach()\nraw.write(str(total).encode())\nraw.flush()",
    "stdout-reconfigured": "sys.stdout.reconfigure(line_buffering=True, encoding='ascii')\nprint(total)",
    "stdout-closed-at-the-end": "print(total)\nsys.stdout.close()",
    "dunder-stdout": "print(total, file=sys.__stdout__)",
    "dev-stdout": "with open('/dev/stdout', 'w') as out:\n    print(total, file=out)",
    "a-duplicate-of-descriptor-1": "import os\nwith os.fdopen(os.dup(1), 'w') as out:\n    out.write(f'{total}')",
    "dup2-and-back": """
import os
kept = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
print("noise", flush=True)
os.dup2(kept, 1)
print(total)
""",
    "redirected-and-passed-on": """
import contextlib, io
held = io.StringIO()
with contextlib.redirect_stdout(held):
    print(total)
print(held.getvalue(), end="")
""",
    "a-buffer-written-at-exit": "import atexit\nout = []\natexit.register(lambda: print(*out))\nout.append(total)",
    "logging-to-stdout": """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
logging.info(total)
""",
    "logging-to-stderr-beside": """
import logging
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("x").warning("total %s", total)
print(total)
""",
    "echo": "import subprocess\nsubprocess.run(['echo', str(total)], check=True)",
    "os-system": "import os\nos.system(f'echo {total}')",
    "a-thread-that-goes-on-after-main": """
import threading, time
threading.Thread(target=lambda: (time.sleep(0.05), print(total))).start()
""",
    "a-timer": "import threading\nthreading.Timer(0.01, print, (total,)).start()",
    "pprint": "import pprint\npprint.pprint(total)",
    "much-to-stderr": "sys.stderr.write('debug\\n' * 2000)\nprint(total)",
    "a-class-with-del": "class Last:\n    def __del__(self):\n        print(total)\nlast = Last()\ndel last",
    "finally": "try:\n    sys.exit(0)\nfinally:\n    print(total)",
    "sys-exit": "print(total)\nsys.exit()",
    "sys-exit-0": "print(total)\nsys.exit(0)",
    "exit": "print(total)\nexit()",
    "quit-0": "print(total)\nquit(0)",
    "system-exit-false": "print(total)\nraise SystemExit(False)",
    "os-exit-after-a-flush": "import os\nprint(total, flush=True)\nos._exit(0)",
    "exec-of-echo": "import os\nos.execvp('echo', ['echo', str(total)])",
    "exec-of-python": "import os\nos.execv(sys.executable, [sys.executable, '-c', f'print({total})'])",
    "exit-in-a-nested-call": "def end(n):\n    return sys.exit() if n == 0 else end(n - 1)\nprint(total)\nend(50)",
    "exit-hook-and-exit": "import atexit\natexit.register(sys.stdout.flush)\nprint(total)\nsys.exit()",
    "a-swallowed-broken-exit": "try:\n    sys.exit(3)\nexcept SystemExit:\n    print(total)",
}
# fmt: on

WHOLE_INPUT: list[Honest] = [
    *whole_programs({f"reads-by-{name}": text for name, text in _READS.items()}, *CASES),
    *whole_programs(
        {
            f"writes-by-{name}": f"import sys\ntotal = sum(map(int, sys.stdin.read().split()[1:]))\n{text.lstrip()}"
            for name, text in _WRITES.items()
        },
        *CASES,
    ),
]
