#!/usr/bin/env bash
# pytest.sh ARGUMENT…: pytest in the environment of tests/requirements.txt, from any folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$("$ROOT/scripts/python-env.sh")
exec "$python" -B -m pytest -q -p no:cacheprovider "$@"
