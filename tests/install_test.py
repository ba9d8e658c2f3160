"""`cmake --install` into a prefix, as a distribution would: programs of C and C++ built outside the tree with pkg-config and with
find_package, the pages, the recipes, and what the programs ask of the C library."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "oracle"))
from conftest import ROOT, smollm2

GLIBC_FLOOR = (2, 34)  # Ubuntu 22.04 has 2.35, RHEL 9 has 2.34

C_PROGRAM = """
#include <attar/attar_runtime.h>
#include <stdio.h>
#include <string.h>

static int show(const char* text, size_t size_bytes, void* user) {
  (void)user;
  fwrite(text, 1, size_bytes, stdout);
  return 0;
}

int main(int argc, char** argv) {
  attar_model* model = attar_open(argc > 1 ? argv[1] : "", NULL);
  attar_session* session = attar_session_open(model);
  if (session == NULL) {
    fprintf(stderr, "%s\\n", attar_last_error());
    return 1;
  }
  attar_generate_options options;
  if (attar_init_generate_options(&options, sizeof options) != ATTAR_OK) return 1;
  options.max_tokens = 4;
  options.temperature = 0;
  options.on_text = show;
  attar_prompt prompt;
  memset(&prompt, 0, sizeof prompt);
  prompt.size_bytes = sizeof prompt;
  prompt.text = "The capital of France is";
  attar_generated generated;
  generated.size_bytes = sizeof generated;
  const int code = attar_generate(session, &prompt, &options, &generated);
  attar_session_free(session);
  attar_free(model);
  return code != ATTAR_OK || generated.stop_reason != ATTAR_STOP_MAX_TOKENS;
}
"""
CMAKE_LISTS = """
cmake_minimum_required(VERSION 3.20)
project(outside LANGUAGES C CXX)
find_package(attar 0.1 REQUIRED)
add_executable(from_c program.c)
target_link_libraries(from_c PRIVATE attar::runtime)
add_executable(from_cxx program.cpp)
target_link_libraries(from_cxx PRIVATE attar::runtime)
"""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", ROOT / "build", "--prefix", folder)
    return folder


def test_a_prefix_holds_what_a_package_has(prefix):
    found = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if not path.is_dir()}
    lib = next(path for path in found if path.endswith("/libattar_runtime.so")).rsplit("/", 1)[0]
    wanted = {
        "bin/attar",
        "bin/attar-run",
        f"{lib}/libattar_runtime.so",
        f"{lib}/libattar_runtime.so.1",
        f"{lib}/pkgconfig/attar_runtime.pc",
        f"{lib}/cmake/attar/attar-config.cmake",
        "include/attar/attar_runtime.h",
        "include/attar/attar_runtime.hpp",
        "share/attar/recipes/tiny.yaml",
        "share/attar/recipes/text/held_out.txt",
    }
    for program in ("attar", "attar-run"):
        wanted |= {
            f"share/man/man1/{program}.1",
            f"share/bash-completion/completions/{program}",
            f"share/zsh/site-functions/_{program}",
            f"share/fish/vendor_completions.d/{program}.fish",
        }
    assert wanted <= found, wanted - found
    assert not any(path.endswith((".py", ".a")) for path in found), "the wheel's files and our archives stay out"


def test_the_installed_programs_run(prefix, tmp_path):
    assert run(prefix / "bin/attar-run", "--version", cwd=tmp_path).startswith("attar-run ")
    listed = json.loads(run(prefix / "bin/attar", "recipes", "--json", cwd=tmp_path))["recipes"]
    assert str(prefix / "share/attar/recipes/tiny.yaml") in [recipe["path"] for recipe in listed]
    assert "attar run" in run(prefix / "bin/attar", "recipes", "show", "tiny", cwd=tmp_path)


def test_programs_outside_the_tree(prefix, tmp_path):
    (tmp_path / "program.c").write_text(C_PROGRAM)
    (tmp_path / "program.cpp").write_text(C_PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS)
    config = next(prefix.rglob("attar_runtime.pc")).parent
    environment = {**os.environ, "PKG_CONFIG_PATH": str(config), "LD_LIBRARY_PATH": str(config.parent)}
    flags = run("pkg-config", "--cflags", "--libs", "attar_runtime", env=environment).split()
    run("cc", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-std=c99", tmp_path / "program.c", "-o", tmp_path / "with_pkg_config", *flags)
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "build")
    said = {run(program, smollm2(), env=environment) for program in (tmp_path / "with_pkg_config", tmp_path / "build/from_c", tmp_path / "build/from_cxx")}
    assert len(said) == 1 and "Paris" in said.pop()


def flags_in_help(program, verb):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", run(program, verb, "--help")))


@pytest.mark.parametrize("name", ["attar", "attar-run"])
def test_pages_say_what_help_says(prefix, name):
    program = prefix / "bin" / name
    manual = (prefix / f"share/man/man1/{name}.1").read_text().replace("\\-", "-")
    completion = prefix / f"share/bash-completion/completions/{name}"
    verbs = re.findall(r"^  ([a-z]+) ", run(program, "--help").split("Subcommands:")[1].split("Examples:")[0], re.MULTILINE)
    assert len(verbs) >= 7
    for verb in verbs:
        assert f".SS {verb}" in manual
        script = f'source {completion}; COMP_WORDS=({name} {verb} --); COMP_CWORD=2; _{name.replace("-", "_")}; echo "${{COMPREPLY[@]}}"'
        offered = set(run("bash", "-c", script).split())
        listed = flags_in_help(program, verb)
        assert listed and listed <= offered, (verb, listed - offered)
        for flag in listed:
            assert flag in manual, (verb, flag)


def test_the_library_shows_what_its_header_declares(prefix):
    header = (prefix / "include/attar/attar_runtime.h").read_text()
    declared = set(re.findall(r"ATTAR_API [^;(]*?(attar_\w+)\(", header))
    number = re.search(r"#define ATTAR_API_VERSION (\d+)", header)[1]
    library = next(prefix.rglob("libattar_runtime.so"))
    assert f"SONAME               libattar_runtime.so.{number}\n" in run("objdump", "-p", library)
    shown = run("nm", "-D", "--defined-only", library).splitlines()
    assert {line.split()[-1] for line in shown if " A " not in line} == {f"{name}@@ATTAR_{number}" for name in declared}  # A: a version


@pytest.mark.parametrize("file", ["bin/attar-run", "libattar_runtime.so.1"])
def test_the_runtime_needs_no_newer_glibc(prefix, file):
    path = prefix / file if "/" in file else next(prefix.rglob(file))
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", path))
    assert set(needed) <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libpthread.so.0"}, needed
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", run("objdump", "-T", path))}
    assert versions and max(versions) <= GLIBC_FLOOR, max(versions)
