"""What takes how much of attar-run: links it once more with a map and adds the sections up by where they come from.

size_ledger.py [build]
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# room of runtime/ -> line of the ledger
ROOMS = {
    "cli": "verbs and flags, with CLI11",
    "kernels": "kernels, packing",
    "model": "pass, attention, cache",
    "judge": "score, verify, benchmark",
    "text": "generate, sampler",
    "grammar": "grammars, JSON Schema",
    "jinja": "chat templates",
    "tokenizer": "tokenizers",
    "blocks": "tensor types",
    "container": "GGUF, safetensors, JSON",
    "formats": "configurations, model files, texts",
    "base": "files, threads, errors",
}
LIBRARIES = {"libutf8proc": "utf8proc: Unicode tables", "libz": "zlib", "libsodium": "libsodium: SHA-256", "libstdc++": "C++ library", "libgcc": "unwinder"}
STREAMS = re.compile(r"locale|ios|stream|facet|codecvt|ctype|collate|money|monetary|numeric|time_members|messages|misc-inst|wlocale")


def archives():
    """archive of ours -> member -> line of the ledger; archives keep no folders."""
    lines = collections.defaultdict(dict)
    for source in (ROOT / "runtime").rglob("*.cpp"):
        room = next((part for part in reversed(source.relative_to(ROOT).parts[:-1]) if part in ROOMS), "")
        archive = {"cli": "libattar_cli", "base": "libattar_base"}.get(room, "libattar_formats" if "formats" in source.parts else "libattar_runtime")
        lines[archive][source.name + ".o"] = ROOMS.get(room, "start-up")
    return lines


def line_of(origin, ours):
    archive, _, member = pathlib.PurePosixPath(origin).name.partition(".a(")
    member = member.rstrip(")")
    if archive == "libstdc++" and STREAMS.search(member):
        return "C++ library: streams and locales"
    return ours.get(archive, {}).get(member) or LIBRARIES.get(archive) or next((line for name, line in LIBRARIES.items() if archive.startswith(name)), "start-up")


def link_with_map(build, folder):
    command = subprocess.run(["ninja", "-C", build, "-t", "commands", "attar-run"], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    command = re.sub(r"-o \S+", f"-o {folder}/attar-run -Wl,-Map={folder}/map", command)
    subprocess.run(command, shell=True, cwd=build, check=True, capture_output=True)
    subprocess.run(["strip", f"{folder}/attar-run"], check=True)
    return (folder / "map").read_text(), (folder / "attar-run").stat().st_size


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
    with tempfile.TemporaryDirectory() as folder:
        text, linked_bytes = link_with_map(build, pathlib.Path(folder))
    sizes, ours = collections.Counter(), archives()
    for size, origin, section in re.findall(r"^ +0x[0-9a-f]+ +(\d+) +\d+ +(\S+):\((\.\S+)\)$", text, re.MULTILINE):
        if not section.startswith((".debug", ".bss", ".tbss", ".comment", ".note")):
            sizes[line_of(origin, ours)] += int(size)
    sizes["unwind tables, symbols, relocations, padding"] = linked_bytes - sum(sizes.values())
    for name, size in sizes.most_common():
        print(f"| {name} | {size / 1000:,.0f} |")
    print(f"| together | {linked_bytes / 1000:,.0f} |")


if __name__ == "__main__":
    main()
