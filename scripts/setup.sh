#!/usr/bin/env bash
# Creates the virtual environment $VENV (.venv) and installs the project in it. Does nothing where that is done already.
# Needs no root; what root has to install is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

say() { printf '==> %s\n' "$*"; }

stop() {
    printf '%s\n' "$@" >&2
    exit 3
}

# Prints the first Python that is new enough; ours may be named by PYTHON.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

create_venv() {
    local python=$1 options=()
    # A torch that the system has already is used rather than another one downloaded.
    if "$python" -c 'import torch' 2>/dev/null; then
        say "this system's Python has torch: the virtual environment will use it"
        options+=(--system-site-packages)
    fi
    say "creating the virtual environment $venv with $("$python" --version) ($python)"
    if ! "$python" -m venv "${options[@]}" "$venv" >"$log" 2>&1; then
        rm -rf "$venv"
        if "$python" -c 'import ensurepip' 2>/dev/null; then
            stop "the virtual environment could not be created:" "$(cat "$log")"
        fi
        stop "this Python cannot create virtual environments: ensurepip is missing. On Debian or Ubuntu, as root:" \
            "    apt-get update && apt-get install -y python3-venv" \
            "then call this again."
    fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [[ ! -x $venv/bin/python ]]; then
    python=$(find_python) || stop "Python 3.11 or later is needed, and none was found. On Debian 12 or Ubuntu 24.04, as root:" \
        "    apt-get update && apt-get install -y python3 python3-venv" \
        "or name one: PYTHON=/path/to/python3.12 make setup"
    create_venv "$python"
elif ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    stop "$venv holds a Python that is too old, or none that works: remove it (make clean) and call this again."
fi
"$venv/bin/python" scripts/install.py
