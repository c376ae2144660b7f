#!/usr/bin/env python3
"""The project's style as a test: `tidy.py CHECK --root DIR`, one check a run, listed in CHECKS.

Prints one line per finding ("file:line: what") and exits 1 if there is any; exits 77 (ctest: skipped) when the
tool that a check needs is not installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

SKIPPED = 77
MAX_LINES = 600
MAX_COLUMNS = 100

IGNORED_DIRS = {".git", ".cache", "build", "__pycache__"}
# Not ours to format or to measure: data made elsewhere.
DATA_DIRS = ("tests/golden/", "tests/data/")

CPP = (".h", ".cc", ".cu", ".cuh")

# Which of the project's own folders a folder may include; the longest matching key counts. "lckv", "google", "grpc"
# and "opentelemetry" are the generated protocol headers. services/worker is where engine and cache meet; the tool is
# the front end.
GENERATED = ("lckv", "google", "grpc")
MAY_INCLUDE = {
    "base": ("base",),
    "engine": ("base", "engine"),
    "rpc": ("base", "rpc") + GENERATED,
    "cache": ("base", "cache", "rpc") + GENERATED,
    "services/common": ("base", "rpc", "services/common") + GENERATED,
    "services/common/tracing": ("base", "rpc", "services/common", "opentelemetry") + GENERATED,
    "services/gateway": ("base", "rpc", "services/common", "services/gateway") + GENERATED,
    "services/cache_node": ("base", "rpc", "cache", "services/common", "services/cache_node") + GENERATED,
    "services/worker": ("base", "rpc", "engine", "cache", "services/common", "services/worker") + GENERATED,
    "services/cli": ("base", "rpc", "engine", "cache", "services") + GENERATED,
}
OWN_FOLDERS = ("base", "engine", "rpc", "cache", "services", "tests", "opentelemetry") + GENERATED
# base and engine build alone: none of the services' libraries.
SERVICE_LIBRARIES = ("grpc", "grpcpp", "google", "prometheus", "rocksdb")

BANNED_CODE = {
    r"\babsl::(?:Mutex|MutexLock|CondVar)\b": "use base/mutex.h",
    r"\bstd::string_view\b": "use absl::string_view",
    r"\busing namespace std\b": "name what you use",
}
# In any text file. Written so that this file does not match itself.
BANNED_TEXT = {
    r"(?<![\w.])/(?:work|farm|root)/[\w.]": "path of one machine",
    r"[.]library\b": "path of one machine",
    r"\b(?:deb|security)[.]debian[.]org\b": "registry host",
    r"\bpypi[.]org\b|\bpythonhosted[.]org\b": "registry host",
    r"\b(?:TOD[O]|FIXM[E]|XX[X])\b": "finish it or file it",
}


def project_files(root):
    for folder, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in IGNORED_DIRS)
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            if not path.startswith(DATA_DIRS):
                yield path


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def cpp_files(root):
    return [path for path in project_files(root) if path.endswith(CPP)]


def bash_files(root):
    found = []
    for path in project_files(root):
        if path.endswith(".sh"):
            found.append(path)
        elif "." not in os.path.basename(path):
            with open(os.path.join(root, path), "rb") as file:
                if re.match(rb"#!.*\bbash\b", file.readline()):
                    found.append(path)
    return found


def without_comments(code):
    """Comments become blanks (newlines stay), literals stay as they are."""
    token = r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        text = match.group(0)
        return re.sub(r"[^\n]", " ", text) if text.startswith("/") else text

    return re.sub(token, blank, code, flags=re.DOTALL)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def includes_of(code):
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', without_comments(code), re.MULTILINE):
        yield line_of(code, match.start()), match.group(1)


def is_under(path, folder):
    return path == folder or path.startswith(folder + "/")


def rule_of(path):
    keys = [key for key in MAY_INCLUDE if is_under(path, key)]
    return max(keys, key=len) if keys else None


def check_includes(root):
    for path in cpp_files(root):
        folder = rule_of(path)
        if folder is None:
            if is_under(path, "services"):
                yield f"{path}:1: a services folder without a rule in MAY_INCLUDE"
            continue
        allowed = MAY_INCLUDE[folder]
        for line, included in includes_of(read(root, path)):
            top = included.split("/")[0]
            own = top in OWN_FOLDERS and "/" in included
            if own and not any(is_under(included, prefix) for prefix in allowed):
                yield f"{path}:{line}: {folder} must not include {included}"
            elif folder in ("base", "engine") and top in SERVICE_LIBRARIES:
                yield f"{path}:{line}: {folder} builds without {top}"


def check_size(root):
    for path in project_files(root):
        if not path.endswith(CPP + (".py", ".sh", ".cmake")):
            continue
        lines = read(root, path).split("\n")
        if len(lines) - 1 > MAX_LINES:
            yield f"{path}:1: {len(lines) - 1} lines, at most {MAX_LINES}"
        if path.endswith(CPP):
            for number, line in enumerate(lines, 1):
                if len(line) > MAX_COLUMNS:
                    yield f"{path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}"


def check_headers(root):
    for path in cpp_files(root):
        if not path.endswith((".h", ".cuh")):
            continue
        code = without_comments(read(root, path)).lstrip()
        if not re.match(r"#pragma once\b", code):
            yield f"{path}:1: #pragma once must come before everything else"


def check_banned(root):
    for path in cpp_files(root):
        code = without_comments(read(root, path))
        for pattern, advice in BANNED_CODE.items():
            for match in re.finditer(pattern, code):
                yield f"{path}:{line_of(code, match.start())}: {match.group(0)}: {advice}"


def check_text(root):
    for path in project_files(root):
        try:
            text = read(root, path)
        except UnicodeDecodeError:
            continue
        for pattern, why in BANNED_TEXT.items():
            for match in re.finditer(pattern, text):
                yield f"{path}:{line_of(text, match.start())}: {match.group(0)}: {why}"


def check_format(root):
    tool = shutil.which("clang-format")
    if tool is None:
        print("clang-format is not installed: skipped")
        sys.exit(SKIPPED)
    files = cpp_files(root)
    result = subprocess.run([tool, "--dry-run", "-Werror", "--style=file"] + files, cwd=root, text=True,
                            stderr=subprocess.PIPE, check=False)
    for line in result.stderr.splitlines():
        if "error:" in line:
            yield line
    if result.returncode not in (0, 1):
        yield f"clang-format ended with {result.returncode}: {result.stderr.strip()}"


def check_scripts(root):
    for path in bash_files(root):
        result = subprocess.run(["bash", "-n", path], cwd=root, text=True, stderr=subprocess.PIPE, check=False)
        if result.returncode != 0:
            yield f"{path}:1: {result.stderr.strip()}"
        if not os.access(os.path.join(root, path), os.X_OK) and not path.endswith("lib.sh"):
            yield f"{path}:1: not executable"


CHECKS = {
    "includes": check_includes,
    "size": check_size,
    "headers": check_headers,
    "banned": check_banned,
    "text": check_text,
    "format": check_format,
    "scripts": check_scripts,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--root", required=True)
    arguments = parser.parse_args()
    findings = list(CHECKS[arguments.check](os.path.abspath(arguments.root)))
    for finding in findings:
        print(finding)
    print(f"{arguments.check}: {len(findings)} finding(s)")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
