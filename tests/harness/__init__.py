"""What the test suites written in Python share. scripts/pytest.sh puts tests/ where Python looks for packages.

processes   programs that a test starts and ends: their logs, waiting for what they do
services    the services of lckv as processes of this machine, and turns of a conversation with them
metrics     what a service exposes, and what the registry says of it
tools       programs that answer and end by themselves
"""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("LCKV_BINARY") or ROOT / "build" / "release" / "bin" / "lckv").absolute()
MODEL = ROOT / "tests" / "data" / "models" / "bard-lckv-w2"
