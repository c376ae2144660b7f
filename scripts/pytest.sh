#!/usr/bin/env bash
# pytest.sh ARGUMENT…: pytest in the environment of tests/requirements.txt, from any folder. tests/ is where it looks for
# packages: tests/harness is shared by all suites, each of which has its own modules beside its tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

python=$("$ROOT/scripts/python-env.sh")
export PYTHONPATH="$ROOT/tests${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -B -m pytest -q -p no:cacheprovider "$@"
