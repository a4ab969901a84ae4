#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh environment without a network, and tests it there. PyPI is asked for maturin and pytest only,
# before that. PYTHON names the interpreter (3.9 or newer), STRANDLINE_PYTHON_DIR the folder for environments and the wheel.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python="${PYTHON:-python3}"
folder="${STRANDLINE_PYTHON_DIR:-${CARGO_TARGET_DIR:-../target}/python}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
limit_bytes=$((15 * 1024 * 1024))
limit_s=60
# Where other work shares the machine.
[ -z "${CI:-}" ] || limit_s=600

# What builds and what tests: from PyPI, kept between runs.
if ! "$folder/tools/bin/maturin" --version >/dev/null 2>&1; then
    "$python" -m venv "$folder/tools"
    "$folder/tools/bin/pip" install --quiet 'maturin>=1.7,<2'
fi
version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
house="$folder/house-$version"
if [ ! -e "$house/.complete" ]; then
    "$python" -m pip download --quiet --dest "$house" pytest mypy
    touch "$house/.complete"
fi

rm -rf "$folder/wheel" "$folder/fresh"
"$folder/tools/bin/maturin" build --release --locked --quiet --out "$folder/wheel"
wheel="$(echo "$folder"/wheel/*.whl)"
bytes="$(stat -c %s "$wheel")"
echo "wheel      ${wheel##*/}: $bytes bytes"
[ "$bytes" -le "$limit_bytes" ] || { echo "the wheel is larger than $limit_bytes bytes" >&2; exit 1; }

# From nothing to an answer, by the package and by the command, without a network.
begun="$(date +%s%N)"
"$python" -m venv "$folder/fresh"
"$folder/fresh/bin/pip" install --quiet --no-index --find-links "$folder/wheel" strandline
answer="$(cd / && "$folder/fresh/bin/python" -c 'import sys, strandline; print(strandline.replay(sys.argv[1]).ok)' "$OLDPWD/../traces/vit_infer.csv.gz")"
"$folder/fresh/bin/strandline" replay ../traces/vit_infer.csv.gz >/dev/null
ms=$((($(date +%s%N) - begun) / 1000000))
echo "install    $ms ms from an empty folder to an answer"
[ "$answer" = True ] || { echo "the first answer is $answer" >&2; exit 1; }
[ "$ms" -le $((limit_s * 1000)) ] || { echo "that is more than $limit_s s" >&2; exit 1; }

"$folder/fresh/bin/pip" install --quiet --no-index --find-links "$house" pytest mypy
# From the tests' folder: what is judged is what was installed, not the sources beside it.
cd tests
"$folder/fresh/bin/mypy" --cache-dir "$folder/mypy" --strict -p strandline
"$folder/fresh/bin/mypy" --cache-dir "$folder/mypy" --strict .
exec "$folder/fresh/bin/pytest" -p no:cacheprovider -q . "$@"
