#!/usr/bin/env bash
# Prepares a sandbox: builds the Docker image where a daemon answers, else checks that the local sandbox works.
# Exit 3, with what to do about it, where neither can work. Needs no root of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
agent_rl=${VENV:-.venv}/bin/agent-rl
log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf '==> %s\n' "$*"; }

# The last line of what went wrong, for a person.
reason() { grep -v '^[[:space:]]*$' "$log" | tail -n "${1:-1}"; }

build() {
    timeout 1200 "$agent_rl" sandbox build "$@" 2>&1 | tee "$log"
    return "${PIPESTATUS[0]}"
}

daemon_answers() {
    "${VENV:-.venv}/bin/python" - >"$log" 2>&1 <<'PROBE'
from agent_rl_sandboxes.docker_engine import Endpoint, client

client(Endpoint.find()).ping()
PROBE
}

if daemon_answers; then
    say "a Docker daemon answers: preparing the image"
    if build; then
        exit 0
    fi
    if command -v mmdebstrap >/dev/null; then
        say "the image could not be built from a registry: building it from Debian packages"
        if build --bootstrap; then
            exit 0
        fi
    else
        say "without an image registry the image can be built from Debian packages; as root: apt-get install -y mmdebstrap"
    fi
    say "Docker cannot be used: $(reason)"
else
    say "no Docker daemon answers here: $(reason)"
fi

say "checking the local sandbox"
if "$agent_rl" sandbox doctor >"$log" 2>&1; then
    say "$(reason)"
else
    cat "$log" >&2
    printf '%s\n' "Neither Docker nor the local sandbox can run a program here: see above for what to fix." >&2
    exit 3
fi
