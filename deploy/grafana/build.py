#!/usr/bin/env python3
"""Writes the dashboards beside it, or with --check says which of the files differ from what it would write.

Needs grafana-foundation-sdk as pinned in tests/requirements.txt: $(scripts/python-env.sh) deploy/grafana/build.py
"""

import argparse
import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from boards import BOARDS

FOLDER = pathlib.Path(__file__).resolve().parent


def render(make):
    """The dashboard's JSON text."""
    built = json.loads(json.dumps(make().build(), cls=JSONEncoder))
    return json.dumps(built, indent=1, sort_keys=True) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    wrong = []
    for name, make in BOARDS.items():
        path = FOLDER / f"{name}.json"
        text = render(make)
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            wrong.append(path.name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    known = {f"{name}.json" for name in BOARDS}
    wrong += [path.name for path in FOLDER.glob("*.json") if path.name not in known]
    for name in wrong:
        print(f"deploy/grafana/{name}: not what build.py writes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
