#!/usr/bin/env python3
"""From a model and a mix of conversations to workers, memory and disk: docs/sizing.md says how, `lckv plan` gives the model's part.

One line for each model and, for comparison, one for the full map of the models before it.
"""

import argparse
import json
import math
import pathlib
import subprocess

KIB, GIB, TIB = 1 << 10, 1 << 30, 1 << 40
DISK_FACTOR = 1.5  # what compaction needs beside the data
ROOT = pathlib.Path(__file__).resolve().parents[1]


def flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "build" / "release" / "bin" / "lckv")
    parser.add_argument("--model", action="append", required=True, help="config.json, directory or GGUF; repeat for each")
    parser.add_argument("--device", default="h100", help="as in lckv plan")
    parser.add_argument("--open", type=int, required=True, help="conversations that people hold at the busiest time")
    parser.add_argument("--kept", type=int, required=True, help="conversations that are kept, the open ones among them")
    parser.add_argument("--context", type=int, default=8192, help="tokens of a conversation")
    parser.add_argument("--prompt", type=int, default=200, help="input tokens of a turn")
    parser.add_argument("--generate", type=int, default=400, help="generated tokens of a turn")
    parser.add_argument("--turn-every", type=float, default=120, help="seconds between two turns of an open conversation")
    parser.add_argument("--return-within-hour", type=float, default=0.1, help="share of the kept ones that come back in an hour")
    parser.add_argument("--efficiency", type=float, default=0.4, help="share of the roofline that is reached")
    parser.add_argument("--utilisation", type=float, default=0.7, help="share of its time that a worker computes")
    return parser.parse_args()


def plan(options, model):
    command = [options.binary, "plan", "--model", model, "--device", options.device, "--context", str(options.context), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def size(options, name, figures):
    """The figures of one line, in the order of HEADER."""
    session = figures["session_bytes"]
    hot = figures["hot_sessions"]
    turns = options.open / options.turn_every
    busy = turns * (options.prompt / figures["encode"]["tokens_per_second"] +
                    options.generate / figures["decode_largest_batch"]["tokens_per_second"]) / options.efficiency
    by_memory = math.ceil(options.open / hot)
    by_speed = math.ceil(busy / options.utilisation)
    returning = options.kept * options.return_within_hour
    restored = returning / 3600 * session
    return [name, f"{figures['kv_bytes_per_token'] / KIB:,.0f} KiB", f"{session / GIB:.3f} GiB", f"{hot:,}", f"{by_memory:,}",
            f"{by_speed:,}", f"{max(by_memory, by_speed) + 1:,}", f"{returning * session / GIB:,.0f} GiB",
            f"{options.kept * session * DISK_FACTOR / TIB:,.1f} TiB", f"{restored * 8 / 1e9:.2f} Gbit/s"]


HEADER = ["model", "KV a token", "a session", "hot", "for memory", "for speed", "workers", "page memory", "disk", "restores"]


def main():
    options = flags()
    lines = [HEADER]
    full = []  # of the models just listed: once, where several maps have the same
    for model in options.model:
        answer = plan(options, model)
        line = size(options, "  full map", answer["full_map"]) if "full_map" in answer else []
        if full and line != full:
            lines.append(full)
        lines.append(size(options, pathlib.Path(model).stem, answer["plan"]))
        full = line
    lines += [full] if full else []
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("  ".join(cells))


if __name__ == "__main__":
    main()
