#!/usr/bin/env bash
# Makes a release for one target and tries it where nothing else is: an archive with the program, its manual pages and completions,
# and a Python wheel that carries the same program. Nothing is published.
#
#     scripts/release.sh [TARGET]    x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu; by default this machine's own
#
# Writes both into target/dist, with SHA256SUMS of all that is there. What is packed of a program has the same bytes however often it
# is packed: names are sorted, times are the commit's, nobody owns it. Zig links against an old glibc, so that the program starts on
# systems older than this one. Needs cargo, binutils, util-linux, and python3 with PyPI, from which maturin and zig come into
# target/release-tools; for another processor its standard library (rustup target add, or Debian's libstd-rust-dev of that
# architecture), and qemu-user, linked statically, and libc6-arm64-cross to try the program.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=${1:-$host}
oldest_glibc=2.17 # what rustc's own targets need, and every Linux since 2014 has
dist=$PWD/target/dist tools=$PWD/target/release-tools work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() { printf '\n== %s\n' "$*"; }
fail() { echo "release.sh: $*" >&2 && exit 1; }

# How to run a program of the target; by another processor's, an emulator.
case $target in
  "$host") emulator=() ;;
  aarch64-*-linux-gnu) emulator=("$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)" -L /usr/aarch64-linux-gnu) ;;
  *) fail "$target: expected this machine's own target, $host, or aarch64-unknown-linux-gnu" ;;
esac
[ "$target" = "$host" ] || [ -n "${emulator[0]}" ] || fail "no qemu-aarch64, without which nothing of $target can be tried"

# The names are those that `cargo binstall` will look for.
names=$(cargo metadata --format-version 1 --no-deps --locked | python3 -c '
import json, posixpath, re, sys

package = next(package for package in json.load(sys.stdin)["packages"] if package["name"] == "othink")
known = {"bin": "othink", "binary-ext": "", "name": "othink", "repo": "", "target": sys.argv[1], "version": package["version"]}
url, program = (re.sub(r"{ ([a-z-]+) }", lambda found: known[found[1]], package["metadata"]["binstall"][key]) for key in ("pkg-url", "bin-dir"))
print(package["version"], posixpath.basename(url), posixpath.dirname(program))' "$target")
read -r version archive folder <<<"$names"

stage "tools"
[ -x "$tools/bin/maturin" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install -q maturin==1.16.0 ziglang==0.17.0; }
[ -e "$(rustc --print target-libdir --target "$target")" ] || fail "no standard library for $target: rustup target add $target"

stage "the program and its wheel"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Folders of this machine are no part of a program.
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
PATH=$tools/bin:$PATH RUSTFLAGS="--remap-path-prefix=$registry=registry --remap-path-prefix=$PWD=." CARGO_PROFILE_RELEASE_STRIP=symbols \
  maturin build --release --locked --target "$target" --zig --compatibility "manylinux_${oldest_glibc/./_}" --out "$work/wheel"
wheel=$(basename "$work"/wheel/*.whl)
python3 -m zipfile -e "$work/wheel/$wheel" "$work/unpacked"
mkdir -p "$work/$folder" "$dist"
program=$work/$folder/othink
install -m 755 "$work/unpacked/othink-$version.data/scripts/othink" "$program"

needs=$(readelf -V "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "$target: $(stat -c %s "$program") bytes, needs ${needs/_/ } of at most $oldest_glibc, and $(readelf -d "$program" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | paste -sd ' ')"
[ "$(printf '%s\n' "GLIBC_$oldest_glibc" "$needs" | sort -V | tail -n 1)" = "GLIBC_$oldest_glibc" ] || fail "needs a newer glibc"

stage "the archive"
cp LICENSE README.md "$work/$folder/"
"${emulator[@]}" "$program" man "$work/$folder/man/man1" >/dev/null
mkdir "$work/$folder/completions"
for completion in bash:othink.bash zsh:_othink fish:othink.fish; do
  "${emulator[@]}" "$program" completions "${completion%:*}" >"$work/$folder/completions/${completion#*:}"
done
tar -C "$work" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" -c "$folder" |
  gzip -n -9 >"$dist/$archive"
cp "$work/wheel/$wheel" "$dist/"
(cd "$dist" && sha256sum -- *.tar.gz *.whl >SHA256SUMS && cat SHA256SUMS)

stage "the archive in an empty root: the program, what it is linked to, no network, no /proc, no shell"
root=$work/root
mkdir -p "$root/tmp" "$root/lib64"
tar -C "$root" -xzf "$dist/$archive"
case $target in
  "$host") ldd "$program" | grep -o '/[^ ]*' | sort -u | xargs cp -L --parents -t "$root" ;;
  *)
    cp "$(command -v "${emulator[0]}")" "$root/emulator"
    cp -rL "${emulator[2]}/lib" "$root/"
    ;;
esac
cp docs/images/report.png "$root/picture.png"
alone() { # WORDS: othink's command in the root, with nothing in its environment
  echo "\$ othink $*"
  env -i unshare --map-root-user --net --mount --pid --fork --root="$root" --wd=/tmp ${emulator[0]:+/emulator} "/$folder/othink" "$@"
}
alone --version
alone --version | grep -qx "target    $target" || fail "another target"
alone doctor
alone train --config quickstart.toml --set train.updates=2 --set eval.limit=20 --out run
alone eval --task synth-vc --model run/checkpoints/step-000002 --limit 20
alone infer --model tiny --image /picture.png --prompt "How many items are in the image?" --max-new-tokens 16

if [ "$target" = "$host" ]; then
  stage "the wheel in a fresh environment with an empty home"
  mkdir "$work/home"
  in_venv() { (cd "$work/home" && env -i HOME="$work/home" PATH="$work/venv/bin:/usr/bin:/bin" "$@"); }
  python3 -m venv "$work/venv"
  in_venv pip install -q --disable-pip-version-check --no-index "$dist/$wheel"
  in_venv othink --version
  in_venv othink train --config quickstart.toml --set train.updates=2 --set eval.limit=20
  cmp "$work/venv/bin/othink" "$program"
  in_venv pip uninstall -q -y othink
fi
