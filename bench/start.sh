#!/usr/bin/env bash
# Start latency: corten, the floor, crun and runc, interleaved in one run; medians and ratios. The order of
# each round is random, and a pause is before each start: whoever follows closely on a runtime that writes to
# a v1 cgroup.procs does not wait for the kernel's grace period that it would have had to wait for alone.
# What does not outlive a boot (--run-root, --root of crun and runc) is in memory, as /run is on most machines;
# with BENCH_LIVE=disk it is beside the store, as on a machine whose /run is on a disk.
# Needs root, gcc, busybox-static; crun and runc where they are installed. usage: bench/start.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-40}
# crun refuses a hybrid host: here all of them see v1 alone, in a mount namespace of the benchmark's own.
if [ -z "${BENCH_PRIVATE:-}" ]; then
  exec env BENCH_PRIVATE=1 unshare -m --propagation private bash "$PWD/bench/start.sh" "$rounds"
fi
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
cargo build --release --quiet
corten=$PWD/target/x86_64-unknown-linux-gnu/release/corten
work=$(mktemp -d)
live=$work/live
trap '! mountpoint -q "$live" || umount "$live"; rm -rf "$work"' EXIT
mkdir "$live"
[ "${BENCH_LIVE:-memory}" = disk ] || mount -t tmpfs tmpfs "$live"
tree=$work/bundle/rootfs
mkdir -p "$tree"/{bin,etc,proc,sys,dev,tmp} "$work/floor"
cp /bin/busybox "$tree/bin/busybox"
for name in true sh; do ln -s busybox "$tree/bin/$name"; done
tar -C "$tree" -cf "$work/tree.tar" .
"$corten" --root "$work/root" --run-root "$live/corten" import "$work/tree.tar" busybox >/dev/null
gcc -O2 -static -o "$work/floor.bin" bench/floor.c
layer=$(echo "$work"/root/layers/*/fs)

names=(corten floor)
declare -A command=(
  [corten]="$corten --root $work/root --run-root $live/corten run --rm --network none busybox true"
  [floor]="$work/floor.bin $layer $work/floor /bin/true"
)
if command -v runc >/dev/null; then
  (cd "$work/bundle" && runc spec && sed -i 's/"terminal": true/"terminal": false/; s|"sh"|"/bin/true"|' config.json)
  if command -v crun >/dev/null; then
    names+=(crun)
    command[crun]="crun --root $live/crun run -b $work/bundle bench-crun"
  fi
  names+=(runc)
  command[runc]="runc --root $live/runc run -b $work/bundle bench-runc"
fi
pairs=()
for name in "${names[@]}"; do pairs+=("$name" "${command[$name]}"); done
python3 bench/measure.py "$rounds" wall "${pairs[@]}"
