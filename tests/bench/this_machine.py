"""Which machine the runtime's table is of: its processor, what that can do, and how fast it reads memory."""

import os
import pathlib
import re
import statistics

import llama_peer

FLAGS = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512vbmi", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"]
BANDWIDTH_RUNS = 5


def described(bench):
    """The flags are those of FLAGS that it has; bytes and multiply-adds a second are of the threads that are measured with."""
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", info, re.MULTILINE)
    present = set(flags[1].split()) if flags else set()
    cache = pathlib.Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    runs = [bench.own.bench(bench.models.original("smollm2"), "-p", 0, "-n", 1, "--profile") for _ in range(BANDWIDTH_RUNS)]
    profiles = [run["rows"][0]["profile"] for run in runs]
    return {
        "cpu": name[1] if name else runs[0]["rows"][0]["cpu_info"],
        "processors": len(os.sched_getaffinity(0)),
        "threads": bench.threads,
        "flags": [flag for flag in FLAGS if flag in present],
        "isa": runs[0]["isa"],
        "third_level_cache": cache.read_text().strip() if cache.exists() else None,
        "read_bytes_per_s": statistics.median(one["read_bytes_per_s"] for one in profiles),
        "multiply_adds_per_s": statistics.median(one["multiply_adds_per_s"] or 0 for one in profiles),
        "instruction": profiles[0]["instruction"],
        "llama_cpp": llama_peer.release(),
    }


def sentence(machine):
    flags = ", ".join(machine["flags"]) or "no flags that are looked for"
    return (
        f"{machine['cpu']} ({flags}; attar-run's kernels: {machine['isa']}), {machine['processors']} processors, {machine['threads']} threads, "
        f"third-level cache {machine['third_level_cache'] or 'unknown'}. It reads {1e-9 * machine['read_bytes_per_s']:.1f} GB/s and makes "
        f"{1e-9 * machine['multiply_adds_per_s']:.0f} G int8 multiply-adds/s ({machine['instruction'] or 'no instruction known'}). "
        f"Peer: llama.cpp {machine['llama_cpp'] or 'is missing (make peers)'}."
    )
