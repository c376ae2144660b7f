#!/usr/bin/env bash
# demo.sh [--model lckv|smollm2|both] [--chat]: installs packages, builds, fetches the models, then shows conversations
# that outlive the processes that hold them (scripts/demo.py). --chat: opens a chat instead.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
"$ROOT/scripts/build.sh" release lckv
smollm2=$("$ROOT/scripts/get-models.sh")
exec python3 -B "$ROOT/scripts/demo.py" --binary "$ROOT/build/release/bin/lckv" --folder "$ROOT/build/demo" \
  --lckv-model "$ROOT/tests/data/models/bard-lckv-w2" --smollm2-model "$smollm2" "$@"
