"""A machine's sandboxes and warm workers over HTTP: `agent-rl sandbox serve`, and what its clients need to speak to it.

    host_protocol.py      paths, headers, kinds of errors: what both sides agree on
    host_json.py          vocabulary as JSON and back, checked field by field
    bearer_tokens.py      where the bearer token comes from
    host_app.py           the routes; its parts are request_bodies.py, host_limits.py, host_sessions.py, host_metrics.py
    host_server.py        binding, TLS, and an orderly end
    connection_limit.py   accepts connections for host_server.py
    serve_command.py      the command line

Programs, their inputs and files are sent to the host, and their output comes back. The judge is the client's: at tier
`values` no expected value is ever sent. Tests that must run near the program (tiers `proxied` and `in_process`) are
sent, as files. Whoever holds the token can run any program in this machine's sandboxes, and can use up their room. The
token gives no access to anything outside of the sandboxes.
"""
