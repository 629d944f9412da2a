#!/usr/bin/env bash
# Makes crates/corten/start.order anew: the functions of `run --rm busybox true`, `run -d`, `exec`, `ps`, `stop` and
# `rm`, in the order of their first use, as the linker is to lay them (crates/corten/build.rs). Stepping takes a minute.
# To be run after a new compiler, and when much of the start has changed; bench/start.sh says what it is worth.
# Needs root, gcc, binutils, busybox-static.
set -euo pipefail
cd "$(dirname "$0")/.."
# By the profile of every release build: its settings are part of the names.
cargo rustc --release --quiet -p corten --bin corten --target-dir target/order -- -C strip=none
corten=$PWD/target/order/x86_64-unknown-linux-gnu/release/corten
work=$(mktemp -d)
state=(--root "$work/root" --run-root "$work/run")
trap '"$corten" "${state[@]}" rm -f box >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
mkdir -p "$work"/tree/{bin,etc,proc,sys,dev,tmp}
cp /bin/busybox "$work/tree/bin/busybox"
for name in true sh sleep; do ln -s busybox "$work/tree/bin/$name"; done
printf 'root:x:0:0::/root:/bin/sh\n' >"$work/tree/etc/passwd"
printf 'root:x:0:\n' >"$work/tree/etc/group"
tar -C "$work/tree" -cf "$work/tree.tar" .
"$corten" "${state[@]}" import "$work/tree.tar" busybox >/dev/null
"$corten" "${state[@]}" run --rm busybox true
gcc -O2 -o "$work/order" bench/order.c
read -r low size < <(readelf -SW "$corten" | sed -n 's/.* \.text *PROGBITS *\([0-9a-f]*\) [0-9a-f]* \([0-9a-f]*\) .*/\1 \2/p')
high=$(printf %x $((0x$low + 0x$size)))
step() { "$work/order" "$low" "$high" "$work/$1" "$corten" "${state[@]}" "${@:2}" >/dev/null; }
step 1 run --rm --network none busybox true
"$corten" "${state[@]}" run -d --name box busybox sleep 100000 >/dev/null
step 2 exec box true
step 3 ps
step 4 stop box
step 5 rm box
nm --defined-only "$corten" >"$work/symbols"
python3 - "$work" >crates/corten/start.order <<'PY'
import bisect, sys
work, symbols = sys.argv[1], []
for line in open(f'{work}/symbols'):
    address, kind, name = line.split(maxsplit=2)
    if kind in 'tTwWi':
        symbols.append((int(address, 16), name.strip()))
symbols.sort()
starts = [address for address, _ in symbols]
seen = {}
for number in range(1, 6):
    for line in open(f'{work}/{number}'):
        seen.setdefault(symbols[bisect.bisect_right(starts, int(line, 16)) - 1][1])
print('\n'.join(seen))
PY
wc -l crates/corten/start.order
