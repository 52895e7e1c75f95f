#!/usr/bin/env bash
# GRPO and SFT steps of the real worker on this machine's GPU, measured: scripts/gpu_check.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi
fi
PYTHONPATH="$PWD" exec "$PYTHON" scripts/gpu_check.py "$@"
