#!/usr/bin/env bash
# Builds everything that a release consists of, from a commit, into a folder: crates, wheel, C libraries, npm packages, WIT package and
# component; a bill of materials for each; and SHA256SUMS. Two runs of one commit, with the same Rust, are to give the same bytes (not tried yet).
#
#   release/build.sh [--no-checks] [OUT]     OUT: target/release-VERSION unless it is given
#
# --no-checks leaves out what judges the commit and does not build: cargo deny, cargo semver-checks, the registry on loopback.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

checks=1
[ "${1:-}" != --no-checks ] || { checks=0; shift; }
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)"
target="${CARGO_TARGET_DIR:-$PWD/target}"
out="${1:-$target/release-$version}"
rm -rf "$out"
mkdir -p "$out/sbom"
out="$(cd "$out" && pwd)"

# What is needed beyond the test steps' packages.
absent=()
need() { "${@:2}" >/dev/null 2>&1 || absent+=("$1"); }
need "cargo install --locked cargo-cyclonedx" cargo cyclonedx --version
need "cargo install --locked wkg" wkg --version
if [ "$checks" = 1 ]; then
    need "cargo install --locked cargo-deny" cargo deny --version
    need "cargo install --locked cargo-semver-checks" cargo semver-checks --version
    need "apt-get install docker-registry" docker-registry --version
fi
if [ "${#absent[@]}" -gt 0 ]; then
    printf 'missing; to install: %s\n' "${absent[@]}" >&2
    exit 2
fi
if [ -n "$(git status --porcelain)" ]; then
    echo "the checkout has changes that no commit holds: a release is built from a commit" >&2
    exit 2
fi

# Nothing in what is built says when or where it was built.
SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
export SOURCE_DATE_EPOCH CARGO_INCREMENTAL=0
RUSTFLAGS="--remap-path-prefix=$PWD=/strandline --remap-path-prefix=$target=/target --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
export RUSTFLAGS
archive() { # NAME FOLDER: a tar archive of the folder
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -C "$2/.." -cf - "${2##*/}" | gzip -n -9 >"$out/$1"
}

if [ "$checks" = 1 ]; then
    # Advisories come from a database on the network; the rest needs none.
    for workspace in . host-fleet; do
        cargo deny --manifest-path "$workspace/Cargo.toml" check licenses bans sources
        cargo deny --manifest-path "$workspace/Cargo.toml" check advisories || [ "${STRANDLINE_OFFLINE:-}" = 1 ]
    done
    last="$(git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null || true)"
    if [ -n "$last" ]; then
        cargo semver-checks --workspace --baseline-rev "$last"
    else
        echo "no release before this one: nothing to compare the public interfaces with"
    fi
    release/wit.sh
fi

echo "crates"
env -u RUSTFLAGS cargo publish --workspace --dry-run --locked
cp "$target"/package/*-"$version".crate "$out/"

echo "wheel"
python="${PYTHON:-python3}"
tools="$target/python/tools"
[ -x "$tools/bin/maturin" ] || { "$python" -m venv "$tools" && "$tools/bin/pip" install --quiet 'maturin>=1.7,<2'; }
(cd python && "$tools/bin/maturin" build --release --locked --quiet --out "$out")

echo "C interface"
cargo build --release --locked --quiet -p strandline-capi
c="$target/archive/strandline-c-$version"
rm -rf "$c" && mkdir -p "$c"
cp "$target"/release/libstrandline_c.{so,a} capi/include/strandline.h capi/README.md LICENSE-MIT LICENSE-APACHE "$c/"
strip --strip-debug "$c"/libstrandline_c.{so,a}
archive "strandline-c-$version-$(uname -m).tar.gz" "$c"

echo "npm packages and component"
env -u RUSTFLAGS cargo xtask web --build
(cd web-demo && node tools/package.mjs && npm pack --silent --pack-destination "$out" ./package ./component)
wkg build --wit-dir wit --output "$out/strandline-substrate-$version.wit.wasm"
rm -f wkg.lock

echo "bills of materials"
cargo cyclonedx --quiet --format json --override-filename sbom --all-features
for manifest in */sbom.json; do
    mv "$manifest" "$out/sbom/${manifest%/sbom.json}.cdx.json"
done
find . -name sbom.json -not -path './target/*' -delete
# What is bundled into the viewer comes from the page's lock file.
(cd web-demo && npm sbom --sbom-format cyclonedx) >"$out/sbom/npm.cdx.json"

(cd "$out" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
echo "strandline $version: $(wc -l <"$out/SHA256SUMS") files in $out"
