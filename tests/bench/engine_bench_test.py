#!/usr/bin/env python3
"""Runs engine_bench with tiny shapes and checks its JSON: `engine_bench_test.py BINARY DEVICE`.

The figures of such a run mean nothing; that each is there and possible is what is tested.
"""

import json
import subprocess
import sys
import tempfile

SHARES = ("share_of_measured_roofline", "share_of_measured_bandwidth")
SHEET = ("share_of_sheet_roofline", "share_of_sheet_bandwidth", "share_of_sheet_peak")
WORK = ("bytes_per_second", "flops_per_second") + SHARES + SHEET
FIELDS = {
    "load": ("weight_bytes", "kv_memory_bytes", "kv_bytes_per_token", "load_seconds"),
    "decode": ("batch", "position", "step_seconds", "tokens_per_second", "bytes_per_token") + WORK,
    "encode": ("prompts", "prompt", "passes", "seconds", "tokens_per_second", "flops") + WORK,
    "pages": ("bytes", "page_bytes", "out_bytes_per_second", "in_bytes_per_second"),
    "batch": ("prompt", "generated", "batch", "encode_seconds", "decode_seconds", "seconds", "tokens_per_second"),
}
POINT = ("position", "step_seconds", "tokens_per_second", "share_of_sheet_roofline_kv_read_once") + WORK
EXPECTED = {("full", "load"): 1, ("full", "decode"): 1, ("full", "encode"): 2, ("full", "pages"): 1, ("full", "batch"): 1,
            ("w2", "load"): 1, ("w2", "decode"): 1, ("w2", "encode"): 2, ("w2", "pages"): 1, ("w2", "batch"): 2}

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def check_positive(entry, names, where):
    for name in names:
        value = entry.get(name)
        check(isinstance(value, (int, float)) and value > 0, f"{where}: {name} is {value}")


def run(binary, device, *flags):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [binary, "--device", device, "--shapes", "tiny", "--threads", "2", "--out", out.name, *flags]
        done = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)
        check(done.returncode == 0, f"{' '.join(flags)}: exit status {done.returncode}: {done.stdout}{done.stderr}")
        return json.load(open(out.name, encoding="utf-8")), done.stdout


def check_whole_run(binary, device):
    report, table = run(binary, device, "--sheet", "h100", "--commit", "abc123", "--budget", "100")
    check(report["commit"] == "abc123", "commit")
    check(report["failed"] == [] and report["skipped"] == [], f"{report['failed']} {report['skipped']}")
    check_positive(report["machine"], ("memory_bytes", "copy_bytes_per_second"), "machine")
    counts = {}
    for entry in report["cases"]:
        key = (entry["map"], entry["case"])
        counts[key] = counts.get(key, 0) + 1
        check_positive(entry, FIELDS[entry["case"]], str(key))
        check(entry.get("share_of_measured_peak") is None, f"{key}: a share of a product that was not measured")
        if entry["case"] != "batch":
            continue
        check("prompts timed" in entry["shortened"], "a batch does not say how it was shortened")
        check(len(entry["decode_points"]) == 3, f"{key}: {len(entry['decode_points'])} points")
        for point in entry["decode_points"]:
            check_positive(point, POINT, f"{key} point")
        tokens = entry["batch"] * entry["generated"]
        check(abs(entry["tokens_per_second"] * entry["seconds"] / tokens - 1) < 1e-6, f"{key}: rate")
        several_passes = entry["map"] == "w2" and entry["prompt"] > 9
        check((entry["sequential_encoding"] is not None) == several_passes, f"{key}: sequential encoding")
        check(entry["encode_policy"] == ("sequential" if entry["prompt"] == 5 else "passes"), f"{key}: policy")
    check(counts == EXPECTED, f"cases: {counts}")
    check([ratio["map"] for ratio in report["ratios"]] == ["w2"], f"ratios: {report['ratios']}")
    for word in ("| decode, batch 1 |", "| encode |", "| pages |", "| largest batch |", "tiny w2"):
        check(word in table, f"the table lacks {word}")


def check_no_time(binary, device):
    """What there is no time for is named, and is no failure."""
    report, table = run(binary, device, "--budget", "0.000001")
    check(report["cases"] == [], "cases without time")
    check(len(report["skipped"]) == 2, f"skipped: {report['skipped']}")
    check("* skipped: tiny full" in table, "the table does not name what was skipped")


def check_no_memory(binary, device):
    report, _ = run(binary, device, "--memory", "1kB")
    check(report["cases"] == [], "cases without memory")
    check(all("needed" in entry["reason"] for entry in report["skipped"]), f"skipped: {report['skipped']}")
    check(len(report["skipped"]) == 3, f"skipped: {report['skipped']}")


def main():
    binary, device = sys.argv[1:]
    check_whole_run(binary, device)
    check_no_time(binary, device)
    check_no_memory(binary, device)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
