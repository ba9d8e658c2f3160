#!/usr/bin/env bash
# Runs fuzz targets one after the other: tests/fuzz/run.sh SECONDS [TARGET ...]   (all of them without a name)
# The corpus grows in build-fuzz/corpus; an input that fails lies in build-fuzz/findings, and the exit status is 1.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=build-fuzz
seconds=${1:?seconds a target}
shift
[ $# -gt 0 ] || set -- $(cd "$build/bin" && ls -- *_fuzz | sed 's/_fuzz$//')
status=0
for target in "$@"; do
  corpus=$build/corpus/$target findings=$build/findings/$target log=$build/findings/$target.log
  mkdir -p "$corpus" "$findings"
  words=() dictionary=tests/fuzz/${target%%_*}.dict
  [ ! -f "$dictionary" ] || words=(-dict="$dictionary")
  "$build/bin/${target}_fuzz" "$corpus" "tests/fuzz/corpus/$target" "${words[@]}" -artifact_prefix="$findings/" -max_total_time="$seconds" \
    -timeout=20 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 >"$log" 2>&1 || status=1
  printf '%-14s %s executions, %s inputs in the corpus, %s findings\n' "$target" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(ls "$corpus" | wc -l)" "$(ls "$findings" | wc -l)"
done
exit $status
