#!/usr/bin/env bash
# Packs dist/serval-<version>.tar.gz: dist.sh [DIRECTORY OF BUILT PROGRAMS]
#
# Without an argument the programs are built first (cargo build --release). The archive holds one directory that
# works wherever it is unpacked, and the same input gives the same bytes.
set -euo pipefail

ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
cd "$ROOT"

if [[ $# -gt 0 ]]; then
    PROGRAMS=$(readlink -f "$1")
else
    cargo build --release --bins >&2
    PROGRAMS=$ROOT/target/release
fi

VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
NAME=serval-$VERSION
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

mkdir -p "$WORK/$NAME/bin" "$WORK/$NAME/conf" "$WORK/$NAME/docs" dist
install -m 755 "$PROGRAMS/serval" "$PROGRAMS/serval-cli" scripts/zk*.sh "$WORK/$NAME/bin/"
# zoo.cfg is the user's own: an archive with one in it would overwrite it on the next upgrade.
install -m 644 conf/zoo_sample.cfg scripts/serval.service "$WORK/$NAME/conf/"
# Where the links in README.md find them.
install -m 644 README.md ARCHITECTURE.md LICENSE "$WORK/$NAME/"
install -m 644 docs/*.md "$WORK/$NAME/docs/"

# No git, or an archive of the sources: then the start of the epoch.
STAMP=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$STAMP" --directory "$WORK" "$NAME" |
    gzip -n >"dist/$NAME.tar.gz.part"
mv "dist/$NAME.tar.gz.part" "dist/$NAME.tar.gz"
echo "$ROOT/dist/$NAME.tar.gz"
