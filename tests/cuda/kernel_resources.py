#!/usr/bin/env python3
"""What every CUDA kernel takes of a multiprocessor, as a table that is kept in docs/cuda-kernels.md.

kernel_resources.py --root DIR [--update]: compiles the kernels for each architecture and reads registers, shared
memory, stack and spills from the compiler's report. Fails on any spill or stack frame, and when the table is not
the committed one (--update writes it). Another nvcc allocates otherwise: then only spills and stack are judged.
Exits 77 (ctest: skipped) where there is no nvcc.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Per multiprocessor: shared memory (bytes) that its blocks can share, and what each block costs beside its own
# (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
ARCHITECTURES = {"sm_80": 164 * 1024, "sm_90": 228 * 1024}
RESERVED_SHARED = 1024
REGISTERS = 65536
REGISTER_UNIT = 256  # registers are allocated to a warp in such pieces
MAX_WARPS = 64
MAX_BLOCKS = 32
TABLE = "docs/cuda-kernels.md"
DTYPES = ("f32", "f16", "bf16", "q8_0", "q4_1", "i8", "fp8")  # by number, for the names of kernels

COMPILING = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
ENTRY = re.compile(r"\.entry (\w+)\(.*?\.maxntid (\d+)", re.DOTALL)


def round_up(value, unit):
    return (value + unit - 1) // unit * unit


def occupancy(arch, threads, registers, shared):
    """Share of a multiprocessor's warps that can be resident; without dynamic shared memory."""
    warps = round_up(threads, 32) // 32
    blocks = min(MAX_BLOCKS, MAX_WARPS // warps, REGISTERS // (round_up(registers * 32, REGISTER_UNIT) * warps),
                 ARCHITECTURES[arch] // (shared + RESERVED_SHARED))
    return blocks * warps / MAX_WARPS


def demangled(names):
    """Names without namespaces; a template's arguments stay."""
    out = subprocess.run(["c++filt", *names], check=True, capture_output=True, text=True).stdout
    out = re.sub(r"\(lckv::DType\)(\d+)", lambda match: DTYPES[int(match.group(1))], out)
    plain = re.sub(r"\(anonymous namespace\)|\((?:int|bool)\)", "", out)
    return [re.search(r"(\w+(?:<[^>]*>)?)\(", line).group(1) for line in plain.splitlines()]


def compile_kernels(nvcc, root, source, arch):
    """One dict a kernel of `source`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++17", "-O3", f"-arch={arch}", f"-I{root}", "-Xptxas", "-v", "-cubin", "--keep", "--keep-dir",
                   folder, "-o", os.path.join(folder, "out.cubin"), source]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(run.stderr)
        stem = os.path.splitext(os.path.basename(source))[0]
        with open(os.path.join(folder, stem + ".ptx"), encoding="utf-8") as file:
            threads = dict(ENTRY.findall(file.read()))
    kernels = []
    for part in re.split(r"(?=ptxas info\s*: Compiling entry function)", run.stderr):
        head = COMPILING.search(part)
        if not head:
            continue
        stack, stores, loads = map(int, STACK.search(part).groups())
        shared = SHARED.search(part)
        kernels.append({"symbol": head.group(1), "arch": arch, "threads": int(threads[head.group(1)]),
                        "registers": int(USED.search(part).group(1)), "shared": int(shared.group(1)) if shared else 0,
                        "stack": stack, "spills": stores + loads})
    for kernel, name in zip(kernels, demangled([k["symbol"] for k in kernels])):
        kernel["name"] = name
    return kernels


def render(version, kernels):
    lines = ["# CUDA kernels", "",
             "What each kernel takes, from the compiler's report; written by `tests/cuda/kernel_resources.py --update`. Occupancy counts",
             "registers, threads and static shared memory: attention adds dynamic shared memory by model (`SharedLayout`; on tensor",
             "cores `kMmaSharedBytes`, 512 * (head_dim + 8) bytes, which allow 2 blocks on sm_80 and 3 on sm_90 for 128).", "",
             f"nvcc {version}", "", "| kernel | architecture | threads | registers | shared bytes | occupancy |",
             "| --- | --- | --- | --- | --- | --- |"]
    for k in sorted(kernels, key=lambda kernel: (kernel["name"], kernel["arch"])):
        share = occupancy(k["arch"], k["threads"], k["registers"], k["shared"])
        lines.append(f"| {k['name']} | {k['arch']} | {k['threads']} | {k['registers']} | {k['shared']} | {share:.0%} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True)
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not os.path.exists(nvcc):
        print("no nvcc")
        return 77
    version = re.search(r"V(\d+\.\d+)", subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True).stdout).group(1)
    folder = os.path.join(args.root, "engine/ops/cuda")
    sources = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".cu"))
    kernels = [k for source in sources for arch in ARCHITECTURES for k in compile_kernels(nvcc, args.root, source, arch)]
    bad = [k for k in kernels if k["stack"] or k["spills"]]
    for k in bad:
        print(f"{k['name']} {k['arch']}: {k['stack']} bytes of stack, {k['spills']} bytes spilled")
    table = render(version, kernels)
    path = os.path.join(args.root, TABLE)
    if args.update:
        with open(path, "w", encoding="utf-8") as file:
            file.write(table)
    with open(path, encoding="utf-8") as file:
        committed = file.read()
    same_compiler = f"nvcc {version}\n" in committed
    if same_compiler and committed != table:
        print(f"{TABLE} is not what the compiler says (run with --update):\n{table}")
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
