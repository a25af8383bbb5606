#!/usr/bin/env bash
# Creates the virtual environment $VENV-vllm (.venv-vllm) beside the project's, and installs vLLM in it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
if [[ ! -x $venv-vllm/bin/python ]]; then
    printf '==> creating the virtual environment %s-vllm\n' "$venv"
    # The interpreter that made the project's own.
    "$("$venv/bin/python" -c 'import sys; print(sys._base_executable)')" -m venv "$venv-vllm"
fi
"$venv-vllm/bin/python" scripts/install_vllm.py
