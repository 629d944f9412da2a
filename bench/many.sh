#!/usr/bin/env bash
# A hundred containers started at once: corten and crun (bare bundles) in turns, in random order; containers a
# second, CPU time and the ratio of the medians. Fails if one does not exit with 0 or if anything is left.
# The store is below TMPDIR; what ext4 without a journal takes for inodes just freed can double corten's CPU time.
# Needs root, runc (it writes the bundle), crun, busybox-static. CORTEN names a binary, else one is built.
# usage: bench/many.sh [ROUNDS] [COUNT]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-9} count=${2:-100}
# crun refuses a hybrid host: here both see v1 alone, in a mount namespace of the benchmark's own.
if [ -z "${BENCH_PRIVATE:-}" ]; then
  exec env BENCH_PRIVATE=1 unshare -m --propagation private bash "$PWD/bench/many.sh" "$rounds" "$count"
fi
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
if [ -z "${CORTEN:-}" ]; then
  cargo build --release --quiet
  CORTEN=$PWD/target/x86_64-unknown-linux-gnu/release/corten
fi
work=$(mktemp -d)
parent=corten-bench-$$
cleanup() {
  ! mountpoint -q "$work/live" || umount "$work/live"
  rm -rf "$work"
  for dir in /sys/fs/cgroup/*/"$parent"; do [ ! -d "$dir" ] || rmdir "$dir"; done
}
trap cleanup EXIT
tree=$work/bundle/rootfs
mkdir -p "$tree"/{bin,etc,proc,sys,dev,tmp} "$work/live"
# What does not outlive a boot is in memory, as /run is on most machines.
mount -t tmpfs tmpfs "$work/live"
mkdir "$work/live/crun"
cp /bin/busybox "$tree/bin/busybox"
for name in true sh; do ln -s busybox "$tree/bin/$name"; done
tar -C "$tree" -cf "$work/tree.tar" .
"$CORTEN" --root "$work/root" --run-root "$work/live/corten" import "$work/tree.tar" busybox >/dev/null
(cd "$work/bundle" && runc spec && sed -i 's/"terminal": true/"terminal": false/; s|"sh"|"/bin/true"|' config.json)
PYTHONPATH=bench PYTHONDONTWRITEBYTECODE=1 python3 - "$rounds" "$count" "$CORTEN" "$work" "$parent" <<'PY'
import glob, statistics, subprocess, sys
import measure
rounds, count, corten, work, parent = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]

def command(name, number):
    if name == 'crun':
        return ['crun', '--root', f'{work}/live/crun', 'run', '-b', f'{work}/bundle', f'{parent}-{number}']
    return [corten, '--root', f'{work}/root', '--run-root', f'{work}/live/corten', 'run', '--rm', '--network', 'none',
            '--cgroup-parent', parent, 'busybox', 'true']

def left():
    places = 'root/containers', 'root/names', 'live/corten/ids', 'live/crun'
    found = [path for place in places for path in glob.glob(f'{work}/{place}/*')]
    kept = 'events', 'ids', 'swept'
    found += [path for path in glob.glob(f'{work}/live/corten/*') if path.rpartition('/')[2] not in kept]
    return found + glob.glob(f'/sys/fs/cgroup/*/{parent}/*/')

def start_all(name):
    started = [subprocess.Popen(command(name, n), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
               for n in range(count)]
    failed = sum(process.wait() != 0 for process in started)
    if failed: sys.exit(f'{name}: {failed} of {count} failed')

rate, whole, cpu = ({'corten': [], 'crun': []} for _ in range(3))
for name, measured in measure.turns(rounds, 1, sorted(rate)):
    returned, gone, spent = measure.cost(lambda: start_all(name))
    if left(): sys.exit(f'{name}: left behind: {left()[:5]}')
    if measured:
        rate[name].append(count * 1e3 / returned)
        whole[name].append(count * 1e3 / gone)
        cpu[name].append(spent / count)
print(f"{count} at once, {rounds} rounds; load before: {open('/proc/loadavg').read().split()[0]}")
print(f"{'':8}{'a second':>10}{'best':>8}{'all gone':>10}{'cpu ms each':>13}")
middle = statistics.median
for name in rate:
    print(f"{name:8}{middle(rate[name]):10.1f}{max(rate[name]):8.1f}{middle(whole[name]):10.1f}{middle(cpu[name]):13.2f}")
print(f"corten's rate is {middle(rate['corten']) / middle(rate['crun']):.2f} x crun's (target: 1.25), "
      f"until nothing is left {middle(whole['corten']) / middle(whole['crun']):.2f} x")
PY
