#!/usr/bin/env bash
# The emulated device's own tests: correct programs give the expected results in every order of threads, and every planted
# fault is found in at least one of them. Prints a line for each.
#
#     test.sh OUT      OUT as build.sh made it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$1" && pwd)
cxx=${CXX:-g++}
orders=(0 1 2 3 4 5)
mkdir -p "$out/tests"

for program in programs answers faults; do
  binary=$out/tests/$program
  [ "$binary" -nt "$here/$program.cpp" ] && [ "$binary" -nt "$here/device.h" ] && continue
  "$cxx" -std=c++20 -O1 -Wall -Wextra -I"$here/.." "$here/$program.cpp" -o "$binary" \
    -L"$out/lib" -l:libcuda.so.1 -l:libcublas.so.13 -Wl,-rpath,"$out/lib"
done
export LD_LIBRARY_PATH=$out/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
ulimit -c 0
failed=0

# A program that finds a fault ends by a signal; what the shell says about that goes to /dev/null below.
run_hard() { # ORDER COMMAND...: everything on that helps to find faults
  EMU_ORDER=$1 EMU_LAZY=1 EMU_POISON=1 EMU_GUARD=1 "${@:2}"
}

while read -r name; do
  verdict=passes
  { EMU_ORDER=0 "$out/tests/programs" "$name" 2>"$out/tests/log"; } 2>/dev/null ||
    verdict="FAILS: $(head -n 1 "$out/tests/log")"
  for order in "${orders[@]}"; do
    { run_hard "$order" "$out/tests/programs" "$name" 2>"$out/tests/log"; } 2>/dev/null ||
      verdict="FAILS in order $order: $(head -n 1 "$out/tests/log")"
  done
  [ "$verdict" = passes ] || failed=1
  printf '%-42s %s\n' "$name" "$verdict"
done < <("$out/tests/programs")

verdict=passes
"$out/tests/answers" >"$out/tests/answers.tsv" 2>"$out/tests/log" || {
  failed=1
  verdict="FAILS: $(awk -F'\t' '$2 != $3' "$out/tests/answers.tsv" | head -n 1)"
}
printf '%-42s %s\n' "answers of the driver" "$verdict"

counters=$out/tests/counters.json
rm -f "$counters"
EMU_COUNTERS=$counters "$out/tests/programs" 'graph replays'
if grep -q '"launches": 3,' "$counters" && grep -q '"test_affine": {"calls": 3,' "$counters"; then verdict=passes; else
  verdict='FAILS: counters.json'
  failed=1
fi
printf '%-42s %s\n' "counters written at the end" "$verdict"

n_found=0
while IFS=$'\t' read -r name expected; do
  found=()
  memory=80G
  [ "$name" != 'out of memory' ] || memory=1M
  for order in "${orders[@]}"; do
    { EMU_MEMORY=$memory run_hard "$order" "$out/tests/faults" "$name" 2>"$out/tests/log"; } 2>/dev/null || true
    ! grep -qF "$expected" "$out/tests/log" || found+=("$order")
  done
  if [ "${#found[@]}" -gt 0 ]; then
    n_found=$((n_found + 1))
    printf '%-42s found in orders %s: %s\n' "$name" "${found[*]}" "$expected"
  else
    failed=1
    printf '%-42s NOT FOUND, expected: %s; got: %s\n' "$name" "$expected" "$(head -n 1 "$out/tests/log")"
  fi
done < <("$out/tests/faults")

echo "$n_found planted faults found"
exit "$failed"
