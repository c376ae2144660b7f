#!/usr/bin/env python3
"""Breaks every check of tidy.py once, and shows that lookalikes pass."""

import os
import shutil
import tempfile
import unittest

import tidy


class Tree:
    """A throw-away project tree."""

    def __init__(self, files):
        self.root = tempfile.mkdtemp(prefix="lckv-tidy-")
        for path, text in files.items():
            full = os.path.join(self.root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(full, 0o755)

    def __enter__(self):
        return self.root

    def __exit__(self, *_):
        shutil.rmtree(self.root)


def findings(check, files):
    with Tree(files) as root:
        return list(tidy.CHECKS[check](root))


class TidyTest(unittest.TestCase):
    def assert_clean(self, check, files):
        self.assertEqual(findings(check, files), [])

    def assert_one(self, check, files, expected):
        found = findings(check, files)
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])

    def test_include_directions(self):
        forbidden = [
            ("base/a.h", "engine/kv/page_layout.h"),
            ("engine/kv/a.h", "cache/image/manifest.h"),
            ("engine/kv/a.h", "services/common/metrics.h"),
            ("engine/kv/a.h", "rpc/channel.h"),
            ("engine/kv/a.h", "lckv/v1/cache.pb.h"),
            ("cache/store/a.h", "engine/kv/page_layout.h"),
            ("cache/store/a.h", "services/common/metrics.h"),
            ("rpc/a.h", "cache/client/cache_client.h"),
            ("services/gateway/a.h", "engine/tokenizer/tokenizer.h"),
            ("services/gateway/a.h", "cache/client/cache_client.h"),
            ("services/cache_node/a.h", "engine/kv/page_layout.h"),
            ("services/common/a.h", "services/worker/worker.h"),
            ("services/gateway/a.h", "opentelemetry/proto/trace/v1/trace.pb.h"),
            ("services/worker/a.h", "services/gateway/gateway.h"),
            ("services/cli/a.h", "tests/testing/golden.h"),
        ]
        for path, included in forbidden:
            with self.subTest(path=path, included=included):
                self.assert_one("includes", {path: f'#pragma once\n#include "{included}"\n'}, f"{path}:2:")

    def test_engine_builds_without_service_libraries(self):
        for library in ("grpcpp/channel.h", "google/protobuf/message.h", "prometheus/counter.h", "rocksdb/db.h"):
            with self.subTest(library=library):
                self.assert_one("includes", {"engine/a.cc": f"#include <{library}>\n"}, "engine/a.cc:1:")

    def test_a_new_service_needs_a_rule(self):
        self.assert_one("includes", {"services/new/a.h": ""}, "without a rule")

    def test_allowed_includes(self):
        self.assert_clean("includes", {
            "services/worker/a.cc": '#include "engine/runtime/engine.h"\n#include "cache/client/cache_client.h"\n',
            "services/cli/a.cc": '#include "engine/runtime/engine.h"\n#include "services/gateway/gateway.h"\n',
            "cache/client/a.cc": '#include "rpc/channel.h"\n#include <grpcpp/channel.h>\n',
            "engine/a.cc": '// #include "cache/a.h"\n#include "base/check.h"\n#include <vector>\n',
            "tests/a.cc": '#include "engine/a.h"\n#include "cache/a.h"\n',
            "base/a.cc": '#include "engineering.h"\n',
            "services/common/tracing/a.cc": '#include "opentelemetry/proto/trace/v1/trace.pb.h"\n',
        })

    def test_size(self):
        self.assert_clean("size", {"base/a.cc": "//\n" * 600, "base/b.cc": "x" * 100 + "\n"})
        self.assert_one("size", {"base/a.cc": "//\n" * 601}, "601 lines")
        self.assert_one("size", {"base/a.cc": "\n" + "x" * 101 + "\n"}, "base/a.cc:2: 101 columns")
        self.assert_clean("size", {"base/a.cc": "// " + "é" * 97 + "\n"})
        self.assert_clean("size", {"tests/golden/a.cc": "x" * 200})

    def test_pragma_once(self):
        self.assert_clean("headers", {"base/a.h": "// What it is.\n/* more */\n#pragma once\n"})
        self.assert_one("headers", {"base/a.h": "#include <vector>\n"}, "base/a.h:1:")
        self.assert_one("headers", {"base/a.h": "// #pragma once\nint a;\n"}, "base/a.h:1:")
        self.assert_one("headers", {"base/a.h": "#include <vector>\n#pragma once\n"}, "base/a.h:1:")

    def test_banned_code(self):
        self.assert_one("banned", {"base/a.cc": "int a;\nabsl::Mutex mu;\n"}, "base/a.cc:2:")
        self.assert_one("banned", {"base/a.cc": "std::string_view s;\n"}, "std::string_view")
        self.assert_clean("banned", {"base/a.cc": "// not absl::Mutex\nabsl::string_view s; std::string_viewer v;\n"
                                                  "/* std::string_view */ lckv::Mutex mu;\n"})

    def test_banned_text(self):
        for text in ("see /" + "work/x", "in /" + "root/.cache", "a ." + "library folder",
                     "pypi" + ".org", "deb" + ".debian.org", "TO" + "DO: later"):
            with self.subTest(text=text):
                self.assert_one("text", {"docs/a.md": f"first\n{text}\n"}, "docs/a.md:2:")
        self.assert_clean("text", {"docs/a.md": "frame" "/work" "/x /worker/ TODOS a.librarysomething mypypi.orgs\n"})

    def test_scripts(self):
        self.assert_one("scripts", {"scripts/a.sh": "if true; then\n"}, "scripts/a.sh:1:")
        self.assert_one("scripts", {".ci/run": "#!/usr/bin/env bash\nfi\n"}, ".ci/run:1:")
        self.assert_clean("scripts", {"scripts/a.sh": "echo a\n", "docs/run": "if\n"})

    @unittest.skipIf(shutil.which("clang-format") is None, "no clang-format")
    def test_format(self):
        style = "BasedOnStyle: Google\n"
        self.assert_clean("format", {".clang-format": style, "base/a.cc": "int a = 1;\n"})
        found = findings("format", {".clang-format": style, "base/a.cc": "int  a=1;\n"})
        self.assertTrue(found and "base/a.cc" in found[0], found)


if __name__ == "__main__":
    unittest.main()
