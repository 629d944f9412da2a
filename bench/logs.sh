#!/usr/bin/env bash
# `corten logs` of a log of 1 GB (of text) against cat of the same text, both into a pipe; the median of ROUNDS,
# interleaved, and the peak of memory. Needs root and busybox-static; CORTEN names a binary, else one is built.
# usage: bench/logs.sh [ROUNDS] [LINE_BYTES]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-7} width=${2:-120}
[ -n "${CORTEN:-}" ] || cargo build --release --quiet
corten=${CORTEN:-$PWD/target/x86_64-unknown-linux-gnu/release/corten}
work=$(mktemp -d)
trap '"$corten" --root "$work/root" --run-root "$work/run" rm -f big >/dev/null 2>&1; rm -rf "$work"' EXIT
mkdir -p "$work/tree/bin" && cp /bin/busybox "$work/tree/bin/busybox" && ln -s busybox "$work/tree/bin/true"
tar -C "$work/tree" -cf "$work/tree.tar" .
"$corten" --root "$work/root" --run-root "$work/run" import "$work/tree.tar" busybox >/dev/null
"$corten" --root "$work/root" --run-root "$work/run" run --name big busybox true
python3 - "$rounds" "$width" "$corten" "$work" <<'PY'
import glob, os, statistics, subprocess, sys, time
rounds, width, corten, work = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
log, text = glob.glob(work + "/root/containers/*/log.json")[0], work + "/text"
size = 1_000_000_000
with open(log, "wb") as l, open(text, "wb") as t:
    line = ('x' * (width - 12) + '"tab\\').encode()
    block = b"".join(b"%07d" % i + line[7:] + b"\n" for i in range(1000))
    escaped = block.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    record = b"".join(b'{"log":"' + e + b'\\n","stream":"stdout","time":"2026-11-24T12:00:00.123456789Z"}\n'
                      for e in escaped.splitlines())
    for _ in range(size // len(block)):
        t.write(block); l.write(record)
def peak_of(pid):
    """What it has held at most so far; of its own, which ru_maxrss is not: that began as ours."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return max((int(l.split()[1]) for l in status if l.startswith("VmHWM")), default=0)
    except ProcessLookupError:
        return 0
def run(command):
    start = time.perf_counter()
    one = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    buffer, count, looked, peak = bytearray(1 << 20), 0, 0, 0
    while n := one.stdout.readinto(buffer):
        count += n
        if count >= looked:
            peak, looked = max(peak, peak_of(one.pid)), count + (64 << 20)
    assert one.wait() == 0
    return time.perf_counter() - start, count, peak
commands = {"cat": ["cat", text],
            "corten logs": [corten, "--root", work + "/root", "--run-root", work + "/run", "logs", "big"],
            "corten logs -t": [corten, "--root", work + "/root", "--run-root", work + "/run", "logs", "-t", "big"],
            "corten logs -n 5": [corten, "--root", work + "/root", "--run-root", work + "/run", "logs", "-n", "5", "big"]}
times, peak = {n: [] for n in commands}, {}
for turn in range(rounds + 1):
    for name, command in commands.items():
        spent, count, rss = run(command)
        if name in ("cat", "corten logs"): assert count == os.path.getsize(text), (name, count)
        if turn: times[name].append(spent)
        peak[name] = max(peak.get(name, 0), rss)
cat = statistics.median(times["cat"])
for name in commands:
    spent = statistics.median(times[name])
    print(f"{name:18} {spent * 1000:8.0f} ms   rate {cat / spent:6.2f} of cat's   peak {peak[name]} KiB")
PY
