"""A machine's sandboxes and warm workers over HTTP: `agent-rl sandbox serve`, and what its clients need to speak to it.

    protocol.py   paths, headers, kinds of errors: what both sides agree on
    wire.py       vocabulary as JSON and back, checked field by field
    tokens.py     where the bearer token comes from
    app.py        the routes;  limits.py, sessions.py, metrics.py, bodies.py are parts of it
    serve.py      binding, TLS, and an end in order;  door.py lets connections in

What crosses are programs, their inputs and files, and what came out. The judge is the client's: at tier `values` no
expected value ever crosses. Tests that must run near the program (tiers `proxied` and `in_process`) do, as files.
Whoever holds the token can run any program in this machine's sandboxes, and can fill them up; it is no way out of them.
"""
