"""Lines 14 to 26: forging what comes out of a run."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import FORGE, RIGHT, WRONG, attack

FORGED_RESULTS = [
    attack(14, "print-a-summary", "print('===== 6 passed in 0.01s =====')\n" + WRONG),
    attack(15, "print-a-verdict", """
        import sys
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            print('{"passed": true, "status": "passed"}', file=stream, flush=True)
        def add(a, b):
            return None
    """),
    attack(16, "pass-on-every-descriptor", FORGE + WRONG + "forge('PASS', prefix=False)"),
    attack(16, "verdict-frames-on-every-descriptor", FORGE + WRONG + "forge('{\"passed\":true}')"),
    attack(16, "right-length-then-exit", FORGE + "forge('{\"loaded\":true}')\nos._exit(0)"),
    attack(17, "result-files", """
        import os
        for folder in (".", "/tmp", "/logs/verifier", "/logs", os.path.expanduser("~")):
            for name in ("reward.txt", "report.xml", "results.json", "result", "stdout"):
                try:
                    os.makedirs(folder, exist_ok=True)
                    with open(os.path.join(folder, name), "w") as file:
                        file.write('1')
                except OSError:
                    pass
        def add(a, b):
            return None
    """),
    attack(18, "append-to-lists-up-the-stack", """
        import sys
        def add(a, b):
            frame = sys._getframe()
            while frame is not None:
                for value in frame.f_locals.values():
                    if isinstance(value, list):
                        value.append("passed")
                    if isinstance(value, dict) and value is not frame.f_locals:
                        value["passed"] = True
                frame = frame.f_back
            return None
    """),
    attack(18, "patch-what-writes-the-frames", """
        import sys
        for module in list(sys.modules.values()):
            for name in ("encode", "value_frame", "_send", "equal", "judge"):
                if hasattr(module, name) and not module.__name__.startswith(("base64", "json", "solution")):
                    setattr(module, name, lambda *a, **k: '{"passed":true}')
        def add(a, b):
            return None
    """),
    attack(18, "own-frames-for-all-calls-then-exit", FORGE + """
def add(a, b):
    forge(*['{"id":"%s","value":true}' % one for one in call_ids()])
    os._exit(0)
"""),
    attack(19, "put-into-queues", """
        import gc
        def add(a, b):
            for thing in gc.get_objects():
                if type(thing).__name__ in ("Queue", "SimpleQueue", "ListProxy", "Connection"):
                    for method in ("put", "append", "send"):
                        try:
                            getattr(thing, method)("passed")
                        except Exception:
                            pass
            return None
    """),
    attack(20, "connect-to-a-manager", """
        import glob, multiprocessing
        from multiprocessing.connection import Client
        def add(a, b):
            key = bytes(multiprocessing.current_process().authkey)
            for path in glob.glob("/tmp/**/listener-*", recursive=True):
                try:
                    Client(path, authkey=key).send("passed")
                except Exception:
                    pass
            return None
    """),
    attack(21, "pickle-bomb", """
        import os, pickle
        class Bomb:
            def __reduce__(self):
                return os._exit, (0,)
        def add(a, b):
            return Bomb() if a % 2 else pickle.dumps(Bomb())
    """),
    attack(22, "close-all-descriptors", "import os\ndef add(a, b):\n    os.closerange(0, 1024)\n    return a + b"),
    attack(22, "close-all-descriptors-at-load", "import os\nos.closerange(0, 1024)" + RIGHT),
    attack(23, "echo-what-proc-says", FORGE + """
import glob
def add(a, b):
    said = []
    for path in ["/proc/self/environ", "/proc/self/cmdline", *glob.glob("/proc/self/fd*/*")]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            said.append(os.read(fd, 4096))
            os.close(fd)
        except OSError:
            pass
    forge(*said)
    return None
"""),
    attack(24, "answer-after-the-end", FORGE + """
import time
if os.fork() == 0:
    os.setsid()
    time.sleep(3)
    forge('{"loaded":true}')
    os._exit(0)
os._exit(0)
"""),
    attack(24, "child-holds-the-channel", """
        import os, time
        def add(a, b):
            if os.fork() == 0:
                time.sleep(30)
                os._exit(0)
            os._exit(0)
    """),
    attack(24, "a-forked-copy-answers-nothing", """
        import os
        forked = []
        def add(a, b):
            if not forked:
                forked.append(os.fork())
                if forked[0]:
                    os.waitpid(forked[0], 0)  # the copy would have answered every call by now
            return a + b
    """, "same"),
    attack(25, "a-million-frames", FORGE + "forge(*['{\"id\":\"00\",\"value\":1}'] * 1_000_000)" + RIGHT),
    attack(25, "half-a-frame", FORGE + "forge(struct.pack('>I', 1000) + b'{', prefix=False)\nos._exit(0)"),
    attack(25, "a-frame-of-two-gigabytes", FORGE + "forge(struct.pack('>I', 2**31) + b'x', prefix=False)" + RIGHT),
    attack(25, "a-frame-of-four-gigabytes", FORGE + "forge(b'\\xff' * 4, prefix=False)\nos._exit(0)"),
    attack(25, "empty-frames", FORGE + "forge(*[''] * 100)" + RIGHT),
    attack(26, "right-answers-then-one-twice", FORGE + RIGHT.replace("return", """if (a, b) == (0, 0):
        forge(*['{"id":"%s","value":0}' % one for one in call_ids()])
    return""")),
    attack(26, "extra-answers", FORGE + RIGHT.replace("return", """forge('{"id":"0123456789abcdef","value":5}')
    return""")),
    attack(26, "fewer-answers", """
        import os
        def add(a, b):
            if a == 100:
                os._exit(0)
            return a + b
    """),
    attack(16, "through-proc-self-fd", FORGE + WRONG + """
for folder in ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"):
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            with open(f"{folder}/{name}", "wb", 0) as channel:
                channel.write(struct.pack(">I", 15) + b'{"passed":true}')
        except OSError:
            pass
"""),
    attack(16, "another-channel-in-its-place", """
        import os, socket
        ours, theirs = socket.socketpair()
        for fd in (3, 4, 5):
            os.dup2(ours.fileno(), fd)
        def add(a, b):
            return a + b
    """),
    attack(18, "other-names-for-what-writes", FORGE + """
def add(a, b):
    g = harness()
    g["_write"] = lambda channel, data: os.write(channel, b"") or len(data)
    g["_send"] = lambda channel, frame: forge('{"passed":true}')
    return None
"""),
    attack(18, "the-right-sum-in-another-spelling", FORGE + """
harness()["value_frame"] = lambda one, value: '{"id":"%s","value":%s}' % (one, "0" + str(abs(value)))
def add(a, b):
    return a + b
""", "fails", "tampered", "failed"),
    attack(18, "a-value-and-an-error-at-once", FORGE + """
harness()["value_frame"] = lambda one, value: '{"id":"%s","value":%d,"error":""}' % (one, value)
def add(a, b):
    return a + b
""", "fails", "tampered", "failed"),
    attack(18, "more-keys-than-there-are", FORGE + """
harness()["value_frame"] = lambda one, v: json.dumps({"id": one, "value": 0, "passed": True, "expected": 0})
def add(a, b):
    return None
""", "fails", "tampered"),
    attack(18, "no-ids-and-no-calls", FORGE + """
g = harness()
g["decode"] = lambda text: ([0, 0], {})
g["value_frame"] = lambda one, value: '{"loaded": true}'
def add(a, b):
    return None
""", "fails", "tampered"),
    attack(18, "every-answer-under-one-id", FORGE + """
harness()["value_frame"] = lambda one, value: '{"id":"%s","value":%d}' % ("0" * 16, value)
def add(a, b):
    return a + b
"""),
    attack(20, "abstract-sockets", """
        import socket
        def add(a, b):
            for line in open("/proc/net/unix").read().splitlines()[1:]:
                name = line.split()[-1]
                try:
                    with socket.socket(socket.AF_UNIX) as channel:
                        channel.settimeout(0.05)
                        channel.connect("\\0" + name[1:] if name.startswith("@") else name)
                        channel.sendall(b'{"passed":true}')
                except OSError:
                    pass
            return None
    """),
    attack(21, "pickle-as-text", """
        def add(a, b):
            return "cbuiltins\\nexec\\n(S'raise SystemExit'\\ntR." if a % 2 else b"\\x80\\x04K\\x05."
    """),
    attack(21, "marshalled-code", """
        import marshal
        def add(a, b):
            return marshal.dumps(add.__code__)
    """),
    attack(24, "a-thread-that-answers-later", FORGE + """
import threading, time
def late():
    time.sleep(0.3)
    forge(*['{"id":"%s","value":0}' % one for one in ids])
ids = []
def add(a, b):
    ids.extend(call_ids())
    threading.Thread(target=late, daemon=True).start()
    return None
"""),
    attack(24, "both-halves-of-a-fork-answer", FORGE + """
import sys
pid = os.fork()
frame = sys._getframe(1)
while "_owner" not in frame.f_globals:
    frame = frame.f_back
frame.f_globals["_owner"] = os.getpid()
if pid:
    os.waitpid(pid, 0)  # its answers have been sent
def add(a, b):
    return a + b
""", "fails", "tampered"),
    attack(25, "answers-byte-by-byte", FORGE + """
import time
def add(a, b):
    for byte in struct.pack(">I", 100) + b"{" * 100:
        forge(bytes([byte]), prefix=False)
        time.sleep(0.05)
    return None
""", "killed"),
    attack(25, "a-frame-in-many-halves", FORGE + WRONG + """
forge(struct.pack('>I', 30) + b'{"id":"' + bytes(8), struct.pack('>I', 2) + b'{}', prefix=False)
"""),
    attack(25, "gigabytes-on-the-channel", FORGE + """
def add(a, b):
    while True:
        forge(b"A" * (1 << 20), prefix=False)
""", "killed"),
    attack(26, "answers-to-calls-that-were-not-made", FORGE + """
def add(a, b):
    if not globals().get("told"):
        globals()["told"] = True
        forge(*['{"id":"%016x","value":%d}' % (n, n) for n in range(6)])
    return a + b
""", "fails", "tampered"),
    attack(26, "a-load-error-after-the-load", FORGE + """
def add(a, b):
    forge('{"load_error":"none"}')
    return a + b
""", "fails", "tampered"),
    attack(0, "read-the-next-request", """
        import os
        taken = []
        for fd in range(3, 64):
            try:
                os.set_blocking(fd, False)
                taken.append(os.read(fd, 1 << 16))
            except OSError:
                pass
        def add(a, b):
            return taken or None
    """),
]  # fmt: skip
