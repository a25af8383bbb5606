"""By class, what the list has no line for: the interpreter under the harness, its hooks, its threads and its exit."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import FORGE, RIGHT, attack

INTERPRETER = [
    attack(0, "nothing-ends-the-process", FORGE + """
def nothing(*args):
    return None
def add(a, b):
    harness()["_exit"] = harness()["_flush"] = os._exit = nothing
    return None
"""),
    attack(0, "the-server-goes-on-in-the-run", FORGE + """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame is not None:
        frame.f_globals.update(_exit=lambda code: None, _send=lambda *args: None)
        frame = frame.f_back
    os._exit = lambda code: None
    raise SystemExit(0)
"""),
    attack(0, "the-harness-is-started-again", FORGE + """
import sys
frame = sys._getframe(1)
while "request" not in frame.f_locals or "execute" not in frame.f_globals:
    frame = frame.f_back
if not getattr(os, "again", False):
    os.again = True
    frame.f_globals["execute"]({**frame.f_locals["request"], "program": "add = lambda a, b: None"}, 3)
def add(a, b):
    return a + b
"""),
    attack(0, "calls-in-another-order-under-other-ids", FORGE + """
import sys
def add(a, b):
    frame = sys._getframe(1)
    while not isinstance(frame.f_locals.get("calls"), list):
        frame = frame.f_back
    calls = frame.f_locals["calls"]
    ids = [one for one, _ in calls]
    for call, one in zip(calls, ids[1:] + ids[:1]):
        call[0] = one
    return a + b
"""),
    attack(0, "an-exception-in-the-main-thread-from-another", """
        import ctypes, threading, time
        main = threading.main_thread().ident
        def interrupt():
            while True:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(SystemExit))
                time.sleep(0.0005)
        threading.Thread(target=interrupt, daemon=True).start()
        def add(a, b):
            while True:
                try:
                    return a - b - 1
                except BaseException:
                    continue
    """),
    attack(0, "a-fatal-error-of-the-interpreter", """
        import ctypes
        def add(a, b):
            ctypes.pythonapi.Py_FatalError(b"passed")
    """, "fails", "crashed"),
    attack(0, "tracebacks-on-the-result-channel", """
        import faulthandler
        def add(a, b):
            faulthandler.dump_traceback(file=3)
            return a + b
    """, "fails", "tampered"),
    attack(0, "standard-output-is-the-result-channel", """
        import os
        os.dup2(3, 1)
        print('{"passed":true}', flush=True)
        def add(a, b):
            return a + b
    """, "fails", "tampered"),
    attack(0, "results-go-to-a-file", """
        import os
        os.close(3)
        os.open("results", os.O_CREAT | os.O_RDWR)
        def add(a, b):
            return a + b
    """),
    attack(0, "a-result-channel-that-does-not-wait", FORGE + """
import fcntl
fcntl.fcntl(3, fcntl.F_SETFL, os.O_NONBLOCK)
fcntl.fcntl(3, 1031, 4096)
def add(a, b):
    return ["x" * 60_000, a + b]
"""),
    attack(0, "debris-of-the-collector", """
        import gc
        gc.set_threshold(1)
        gc.set_debug(gc.DEBUG_SAVEALL)
        class Loud:
            def __init__(self):
                self.itself = self
            def __del__(self):
                gc.garbage.append(self)
                raise SystemExit(0)
        def add(a, b):
            [Loud() for _ in range(50)]
            gc.collect()
            return a + b
    """, "same"),
    attack(0, "the-leader-leaves-its-threads-alone", """
        import ctypes, os, threading, time
        def stay():
            while True:
                time.sleep(0.01)
        def add(a, b):
            threading.Thread(target=stay, daemon=True).start()
            ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
    """, "killed", "timeout"),
    attack(0, "forks-in-threads-in-forks", """
        import os, threading
        def split(depth):
            if depth and os.fork() == 0:
                thread = threading.Thread(target=split, args=(depth - 1,))
                thread.start()
                thread.join()
                os._exit(0)
        split(4)
    """ + RIGHT.replace("\n", "\n        "), "same"),
    attack(0, "the-thread-register-points-nowhere", """
        import ctypes, os
        libc = ctypes.CDLL(None)
        def add(a, b):
            if os.uname().machine == "x86_64":
                libc.syscall(158, 0x1002, 0)  # arch_prctl(ARCH_SET_FS, 0)
            ctypes.string_at(0)
    """, "fails", "crashed"),
    attack(0, "limits-below-what-the-harness-needs", """
        import resource
        def add(a, b):
            for name in ("RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_STACK", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_MEMLOCK"):
                resource.setrlimit(getattr(resource, name), (0, 0))
            return [a, b] * 1000
    """),
]  # fmt: skip
