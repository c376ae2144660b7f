#!/usr/bin/env python3
"""The tables of docs/configuration.md: `config_docs.py --binary LCKV [--update]`.

Each table stands between "<!-- keys of SERVICE -->" and "<!-- end -->" and is what `lckv SERVICE --help-config` prints.
Exits 1 when the document is not what the binary says; --update writes it.
"""

import argparse
import pathlib
import re
import subprocess
import sys

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
TABLE = re.compile(r"(<!-- keys of ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def key_table(binary, service):
    return subprocess.run([binary, service, "--help-config"], check=True, stdout=subprocess.PIPE, text=True).stdout


def generated(binary, document):
    """`document` with the tables of `binary`."""
    return TABLE.sub(lambda match: match[1] + key_table(binary, match[2]) + match[4], document)


def services(document):
    return [match[2] for match in TABLE.finditer(document)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    document = DOCUMENT.read_text(encoding="utf-8")
    wanted = generated(arguments.binary, document)
    if arguments.update:
        DOCUMENT.write_text(wanted, encoding="utf-8")
    elif wanted != document:
        sys.exit(f"{DOCUMENT} is not what {arguments.binary} says: run with --update")


if __name__ == "__main__":
    main()
