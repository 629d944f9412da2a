#!/usr/bin/env bash
# `exec` of true in a container that runs: corten, crun and runc, interleaved in one run; medians and ratios. As
# in bench/start.sh the order of each round is random, with a pause before each exec.
# Needs root, busybox-static; crun and runc where they are installed. usage: bench/exec.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-40}
# crun refuses a hybrid host: here all of them see v1 alone, in a mount namespace of the benchmark's own.
if [ -z "${BENCH_PRIVATE:-}" ]; then
  exec env BENCH_PRIVATE=1 unshare -m --propagation private bash "$PWD/bench/exec.sh" "$rounds"
fi
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
cargo build --release --quiet
corten=$PWD/target/x86_64-unknown-linux-gnu/release/corten
work=$(mktemp -d)
state=("--root" "$work/root" "--run-root" "$work/run")
others=()
cleanup() {
  "$corten" "${state[@]}" rm -f bench >/dev/null 2>&1 || true
  for name in "${others[@]}"; do "$name" --root "$work/$name" delete -f "bench-$name" || true; done
  rm -rf "$work"
}
trap cleanup EXIT
tree=$work/bundle/rootfs
mkdir -p "$tree"/{bin,etc,proc,sys,dev,tmp}
cp /bin/busybox "$tree/bin/busybox"
for name in true sh sleep; do ln -s busybox "$tree/bin/$name"; done
tar -C "$tree" -cf "$work/tree.tar" .
"$corten" "${state[@]}" import "$work/tree.tar" busybox >/dev/null
"$corten" "${state[@]}" run -d --name bench --network none busybox sleep 1000000 >/dev/null

names=(corten)
declare -A command=([corten]="$corten ${state[*]} exec bench /bin/true")
if command -v runc >/dev/null; then
  # The peers' containers: without a seccomp filter, as `runc spec` has none; corten's exec has one to install.
  (cd "$work/bundle" && runc spec &&
    sed -i 's/"terminal": true/"terminal": false/; s|"sh"|"/bin/sleep", "1000000"|' config.json)
  for name in crun runc; do
    command -v "$name" >/dev/null || continue
    "$name" --root "$work/$name" run -d -b "$work/bundle" "bench-$name" </dev/null >/dev/null 2>&1
    names+=("$name")
    others+=("$name")
    command[$name]="$name --root $work/$name exec bench-$name /bin/true"
  done
fi
pairs=()
for name in "${names[@]}"; do pairs+=("$name" "${command[$name]}"); done
python3 bench/measure.py "$rounds" wall,cpu "${pairs[@]}"
