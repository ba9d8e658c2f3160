#!/bin/bash
# What the runtime and its tests are built with, for arm64, unpacked into the folder OUT: Debian's packages of that architecture. The
# system's own packages and lists stay as they are.
set -euo pipefail
out=${1:?usage: aarch64_packages.sh OUT}
packages=(libcli11-dev libgtest-dev libpcre2-dev libsodium-dev libutf8proc-dev nlohmann-json3-dev zlib1g-dev)
[ -e "$out/.unpacked" ] && exit 0
rm -rf "$out" && mkdir -p "$out"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists,archives}/partial
touch "$state/status"
options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::Lists=$state/lists" -o "Dir::State::Status=$state/status"
         -o "Dir::Cache=$state" -o "Dir::Cache::Archives=$state/archives" -o APT::Sandbox::User=)
apt-get "${options[@]}" update
(cd "$state/archives" && apt-get "${options[@]}" download "${packages[@]}")
for package in "$state"/archives/*.deb; do dpkg-deb -x "$package" "$out"; done
touch "$out/.unpacked"
