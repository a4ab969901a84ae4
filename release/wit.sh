#!/usr/bin/env bash
# Builds the WIT package as wkg builds it, publishes it to a registry on loopback, and uses it from there as somebody else would: the bytes are
# the same, and a package of their own that depends on it is resolved. Needs wkg (`cargo install --locked wkg`) and Debian's docker-registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder="$(mktemp -d)"
registry=
trap '[ -z "$registry" ] || kill "$registry" 2>/dev/null; rm -rf "$folder"' EXIT

version="$(sed -n 's/^package strandline:substrate@\(.*\);$/\1/p' wit/worlds.wit)"
wkg build --wit-dir wit --output "$folder/substrate.wasm"
# What wkg writes beside wkg.toml names the packages that ours depends on. There are none.
rm -f wkg.lock

# The system chooses the port; the registry says which it was.
cat >"$folder/registry.yml" <<YML
version: 0.1
log: { level: info, formatter: json }
storage: { filesystem: { rootdirectory: $folder/storage } }
http: { addr: "127.0.0.1:0" }
YML
docker-registry serve "$folder/registry.yml" >"$folder/registry.log" 2>&1 &
registry=$!
port=
for _ in $(seq 100); do
    port="$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$folder/registry.log" | head -n 1)"
    [ -z "$port" ] || break
    sleep 0.1
done
[ -n "$port" ] || { cat "$folder/registry.log" >&2; exit 1; }

cat >"$folder/config.toml" <<TOML
[namespace_registries]
strandline = "127.0.0.1:$port"
[registry."127.0.0.1:$port"]
type = "oci"
[registry."127.0.0.1:$port".oci]
protocol = "http"
TOML
export WKG_CONFIG_FILE="$folder/config.toml"
options=(--config "$folder/config.toml" --cache "$folder/cache")

wkg publish "${options[@]}" "$folder/substrate.wasm"
rm -rf "$folder/cache"
wkg get "${options[@]}" "strandline:substrate@$version" --output "$folder/fetched.wasm"
cmp "$folder/substrate.wasm" "$folder/fetched.wasm"

mkdir -p "$folder/mine/wit"
cat >"$folder/mine/wit/world.wit" <<WIT
package somebody:guest@0.1.0;

world mine {
    include strandline:substrate/guest@$version;
}
WIT
(cd "$folder/mine" && wkg fetch "${options[@]}")
find "$folder/mine/wit/deps" -name '*.wit' | grep -q . || { echo "nothing was fetched for a package that depends on ours" >&2; exit 1; }
echo "strandline:substrate@$version: built, published to a registry, fetched from it, and depended on"
