#!/usr/bin/env bash
# Unpacking a Debian layer of 200 MB: `corten import` of a .tar.gz and GNU tar with gzip, in turns, on a fresh
# ext4 in a loop file, on a tmpfs and on this machine's temporary directory; medians and ratios. corten also
# keeps the blob, hashes both forms and syncs; tar does none of it, and a third column says what it takes synced.
# Needs root, and debootstrap if no layer is given. CORTEN names a binary, else one is built.
# usage: bench/unpack.sh [LAYER.tar.gz] [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/.."
layer=${1:-$PWD/target/bench/debian.tar.gz} rounds=${2:-5}
if [ -z "${BENCH_PRIVATE:-}" ]; then
  exec env BENCH_PRIVATE=1 unshare -m --propagation private bash "$PWD/bench/unpack.sh" "$layer" "$rounds"
fi
if [ -z "${CORTEN:-}" ]; then
  cargo build --release --quiet
  CORTEN=$PWD/target/x86_64-unknown-linux-gnu/release/corten
fi
work=$(mktemp -d)
cleanup() {
  cd /
  for place in ext4 tmpfs; do ! mountpoint -q "$work/$place" || umount "$work/$place"; done
  rm -rf "$work"
}
trap cleanup EXIT
if [ ! -e "$layer" ]; then
  mkdir -p "${layer%/*}"
  debootstrap --variant=minbase bookworm "$work/debian" >"$work/debootstrap.log"
  tar -C "$work/debian" -cz --exclude=./dev/* --exclude=./proc/* . >"$layer.part"
  mv "$layer.part" "$layer"
  rm -rf "$work/debian"
fi
mkdir "$work"/{ext4,tmpfs,here}
truncate -s 4G "$work/ext4.img"
mkfs.ext4 -q "$work/ext4.img"
mount -o loop "$work/ext4.img" "$work/ext4"
mount -t tmpfs -o size=2G tmpfs "$work/tmpfs"
cat "$layer" >/dev/null
python3 - "$rounds" "$CORTEN" "$layer" "$work" <<'PY'
import os, random, shutil, statistics, subprocess, sys, time
rounds, corten, layer, work = int(sys.argv[1]), *sys.argv[2:]
print(f"{layer}: {os.path.getsize(layer) / 1e6:.0f} MB packed; "
      f"{rounds} rounds; load before: {open('/proc/loadavg').read().split()[0]}")
print(f"{'':8}{'corten s':>10}{'best':>7}{'tar s':>8}{'best':>7}{'synced':>8}   ratio (target: 2)")
for place in ('ext4', 'tmpfs', 'here'):
    spent = {'corten': [], 'tar': [], 'synced': []}
    for turn in range(rounds + 1):
        for name in random.sample(('corten', 'tar'), 2):
            to = f'{work}/{place}/{name}'
            os.mkdir(to)
            os.sync()
            start = time.perf_counter()
            if name == 'tar':
                subprocess.run(['tar', '-xzf', layer, '-C', to], check=True)
            else:
                subprocess.run([corten, '--root', f'{to}/root', '--run-root', f'{to}/run', 'import', layer, 'debian'],
                               check=True, stdout=subprocess.DEVNULL)
            end = time.perf_counter()
            if turn: spent[name].append(end - start)
            if name == 'tar':
                subprocess.run(['sync', '-f', to], check=True)
                if turn: spent['synced'].append(time.perf_counter() - start)
            shutil.rmtree(to)
    middle = {name: statistics.median(times) for name, times in spent.items()}
    print(f"{place:8}{middle['corten']:10.2f}{min(spent['corten']):7.2f}{middle['tar']:8.2f}{min(spent['tar']):7.2f}"
          f"{middle['synced']:8.2f}   {middle['tar'] / middle['corten']:.2f} x, synced {middle['synced'] / middle['corten']:.2f} x",
          flush=True)
PY
