"""Lines 1 to 13: leaving before the tests are done, or never coming to an end."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import RIGHT, attack

EARLY_EXIT = [
    attack(1, "sys-exit-at-load", "import sys\nsys.exit(0)"),
    attack(1, "sys-exit-in-call", "import sys\ndef add(a, b):\n    sys.exit(0)"),
    attack(2, "os-exit-at-load", "import os\nos._exit(0)"),
    attack(3, "raise-system-exit", "raise SystemExit"),
    attack(3, "raise-system-exit-in-call", "def add(a, b):\n    raise SystemExit(0)"),
    attack(4, "os-exit-in-call", "import os\ndef add(a, b):\n    os._exit(0)"),
    attack(4, "os-exit-in-half-of-the-calls", """
        import os
        def add(a, b):
            if a > 2:
                os._exit(0)
            return a + b
    """),
    attack(5, "skip-test", "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('skipped')"),
    attack(6, "pytest-skip", "import pytest\npytest.skip('no', allow_module_level=True)"),
    attack(7, "pytest-exit", "import pytest\npytest.exit('ok', returncode=0)"),
    attack(7, "exceptions-named-like-pytests", """
        class Exit(BaseException):
            returncode = 0
        Exit.__module__ = "_pytest.outcomes"
        def add(a, b):
            raise Exit
    """),
    attack(8, "ignore-signals-and-spin", """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        def add(a, b):
            while True:
                pass
    """, "killed", "timeout"),
    attack(8, "spin-at-load", "while True:\n    pass", "killed", "timeout"),
    attack(9, "swallow-everything", """
        import time
        def add(a, b):
            while True:
                try:
                    time.sleep(0.01)
                except BaseException:
                    continue
    """, "killed", "timeout"),
    attack(10, "exit-in-del", """
        import sys
        class Exit:
            def __del__(self):
                sys.exit(0)
        kept = Exit()
        def add(a, b):
            Exit()
            return a + b
    """, "same"),
    attack(10, "exit-in-finalizers", """
        import atexit, sys, weakref
        class Thing:
            pass
        thing = Thing()
        weakref.finalize(thing, sys.exit, 0)
        atexit.register(sys.exit, 1)
        def add(a, b):
            return a + b
    """, "same"),
    attack(11, "kill-oneself", "import os\ndef add(a, b):\n    os.kill(os.getpid(), 9)"),
    attack(11, "terminate-oneself", "import os\nos.kill(os.getpid(), 15)"),
    attack(12, "excepthook", "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\n1 / 0"),
    attack(13, "abort", "import os\ndef add(a, b):\n    os.abort()"),
    attack(2, "exit-from-a-thread", """
        import os, threading
        def add(a, b):
            threading.Thread(target=os._exit, args=(0,)).start()
            threading.Event().wait()
    """),
    attack(2, "become-another-program", """
        import os
        def add(a, b):
            os.execv("/bin/true", ["true"])
    """),
    attack(3, "keyboard-interrupt-and-generator-exit", """
        def add(a, b):
            raise KeyboardInterrupt if a % 2 else GeneratorExit
    """),
    attack(3, "an-exception-that-is-no-exception", "def add(a, b):\n    raise type('E', (BaseException,), {})"),
    attack(3, "exit-with-a-code-that-raises", """
        class Code:
            def __str__(self):
                raise SystemExit(0)
            __int__ = __index__ = __repr__ = __str__
        def add(a, b):
            raise SystemExit(Code())
    """),
    attack(8, "catch-the-end-of-the-processor-time", """
        import resource, signal
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        def add(a, b):
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
            except (OSError, ValueError):
                pass
            while True:
                pass
    """, "killed", "timeout"),
    attack(8, "spin-where-no-signal-is-seen", """
        import re
        def add(a, b):
            return re.fullmatch("(a|a)*(a|a)*b", "a" * 64)
    """, "killed", "timeout"),
    attack(9, "an-endless-end", """
        import sys
        class Stream:
            def write(self, text):
                return len(text)
            def flush(self):
                while True:
                    pass
        sys.stdout = sys.stderr = Stream()
    """ + RIGHT.replace("\n", "\n        "), "killed", "timeout"),
    attack(9, "end-and-begin-again", """
        import sys
        def add(a, b):
            while True:
                try:
                    sys.exit(0)
                finally:
                    continue
    """, "killed", "timeout"),
    attack(10, "exit-handlers-that-never-end", """
        import atexit
        @atexit.register
        def stay():
            while True:
                pass
        def add(a, b):
            return a + b
    """, "same"),
    attack(10, "exit-in-a-collection", """
        import gc, os
        gc.callbacks.append(lambda phase, info: os._exit(0))
        def add(a, b):
            gc.collect()
            return a + b
    """),
    attack(11, "kill-the-own-group", "import os\ndef add(a, b):\n    os.killpg(0, 9)\n    return None"),
    attack(11, "stop-oneself", "import os, signal\ndef add(a, b):\n    os.kill(os.getpid(), signal.SIGSTOP)"),
    attack(12, "all-hooks", """
        import os, sys, threading
        sys.unraisablehook = threading.excepthook = sys.excepthook = sys.breakpointhook = lambda *a: os._exit(0)
        class Thing:
            def __del__(self):
                raise ValueError
        def add(a, b):
            Thing()
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
            breakpoint()
            return None
    """),
    attack(13, "illegal-instruction-and-friends", """
        import faulthandler, os, signal
        def add(a, b):
            for number in (signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS):
                os.kill(os.getpid(), number)
            faulthandler._sigsegv()
    """),
    attack(0, "an-exception-from-a-timer", """
        import signal
        def ring(*args):
            raise SystemExit(0)
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        def add(a, b):
            return a - b - 1
    """),
    attack(0, "no-frame-is-ever-left", """
        def add(a, b):
            def forever():
                try:
                    yield
                finally:
                    while True:
                        pass
            kept = forever()
            next(kept)
            kept.close()
            return a + b
    """, "killed", "timeout"),
]  # fmt: skip
