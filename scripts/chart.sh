#!/usr/bin/env bash
# chart.sh [readme|files|golden…]: writes what is made for the chart from other files (tests/helm/generate.py says which); all
# without an argument.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$("$ROOT/scripts/python-env.sh")
exec "$python" -B "$ROOT/tests/helm/generate.py" "$@"
