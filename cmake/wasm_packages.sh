#!/bin/bash
# What the runtime and its tests are built with, for WebAssembly, into the folder OUT: libraries compiled here out of Debian's source
# packages, as far as the runtime calls them, and headers of the packages that `make build` installs. The system's own packages and
# lists stay as they are.
set -euo pipefail
out=$(realpath -m "${1:?usage: wasm_packages.sh OUT}")
[ -e "$out/.built" ] && exit 0
rm -rf "$out" && mkdir -p "$out"/usr/{include,lib/pkgconfig,share/cmake}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work"/{parts,sources}
touch "$work/status"
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main" > "$work/sources.list"
options=(-qq -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/parts" -o "Dir::State::Lists=$work/lists"
         -o "Dir::State::Status=$work/status" -o "Dir::Cache=$work" -o "Dir::Cache::Archives=$work/archives" -o APT::Sandbox::User=)
apt-get "${options[@]}" update
(cd "$work/sources" && apt-get "${options[@]}" source utf8proc zlib libsodium)

# library NAME VERSION_OF FLAGS SOURCE...: lib/libNAME.a and its pkg-config file
library() {
  local name=$1 module=$2 objects=()
  local -a flags=($3)
  shift 3
  for source; do
    emcc -Os "${flags[@]}" -c "$source" -o "$work/$name-$(basename "$source").o"
    objects+=("$work/$name-$(basename "$source").o")
  done
  emar rcs "$out/usr/lib/lib$name.a" "${objects[@]}"
  printf 'prefix=/usr\nName: %s\nDescription: for WebAssembly\nVersion: 0\nLibs: -L${prefix}/lib -l%s\nCflags: -I${prefix}/include\n' \
    "$module" "$name" > "$out/usr/lib/pkgconfig/$module.pc"
}
cd "$work/sources"
utf8proc=$(echo utf8proc-*/) zlib=$(echo zlib-*/) sodium=$(echo libsodium-*/)src/libsodium
library utf8proc libutf8proc "-DUTF8PROC_STATIC" "$utf8proc/utf8proc.c"
library z zlib "-I$zlib" "$zlib"/{adler32,crc32,inffast,inflate,inftrees,zutil}.c
library sodium libsodium "-DCONFIGURED=1 -I$sodium/include -I$sodium/include/sodium -I$work" \
  "$sodium"/{crypto_hash/sha256/{hash_sha256,cp/hash_sha256_cp},sodium/utils}.c
cp "$utf8proc/utf8proc.h" "$zlib/zlib.h" "$zlib/zconf.h" "$out/usr/include"
cp -r "$sodium/include/sodium" "$out/usr/include"

# Headers alone, and GoogleTest, whose package carries its source.
cp -r /usr/include/{CLI,nlohmann,gtest} "$out/usr/include"
cp -r /usr/share/cmake/{CLI11,nlohmann_json} "$out/usr/share/cmake"
for part in gtest-all gtest_main; do
  em++ -O1 -std=c++17 -fwasm-exceptions -I"$out/usr/include" -I/usr/src/googletest/googletest -c "/usr/src/googletest/googletest/src/$part.cc" -o "$work/$part.o"
done
emar rcs "$out/usr/lib/libgtest.a" "$work/gtest-all.o"
emar rcs "$out/usr/lib/libgtest_main.a" "$work/gtest_main.o"
touch "$out/.built"
