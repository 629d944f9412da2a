#!/usr/bin/env bash
# `corten logs` of a log of 1 GB (of text) against cat of the same text, both into a pipe; the median of ROUNDS,
# interleaved, and the peak of memory. Needs root and busybox-static. usage: bench/logs.sh [ROUNDS] [LINE_BYTES]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-7} width=${2:-120}
cargo build --release --quiet
corten=$PWD/target/x86_64-unknown-linux-gnu/release/corten
work=$(mktemp -d)
trap '"$corten" --root "$work/root" --run-root "$work/run" rm -f big >/dev/null 2>&1; rm -rf "$work"' EXIT
mkdir -p "$work/tree/bin" && cp /bin/busybox "$work/tree/bin/busybox" && ln -s busybox "$work/tree/bin/true"
tar -C "$work/tree" -cf "$work/tree.tar" .
"$corten" --root "$work/root" --run-root "$work/run" import "$work/tree.tar" busybox >/dev/null
"$corten" --root "$work/root" --run-root "$work/run" run --name big busybox true
python3 - "$rounds" "$width" "$corten" "$work" <<'PY'
import glob, os, resource, statistics, subprocess, sys, time
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
def run(command):
    start = time.perf_counter()
    one = subprocess.Popen(command, stdout=subprocess.PIPE)
    buffer, count = bytearray(1 << 20), 0
    while n := one.stdout.raw.readinto(buffer) if hasattr(one.stdout, "raw") else one.stdout.readinto(buffer): count += n
    _, status, usage = os.wait4(one.pid, 0)
    one.returncode = status
    assert status == 0
    return time.perf_counter() - start, count, usage.ru_maxrss
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
        peak[name] = rss
cat = statistics.median(times["cat"])
for name in commands:
    spent = statistics.median(times[name])
    print(f"{name:18} {spent * 1000:8.0f} ms   rate {cat / spent:6.2f} of cat's   peak {peak[name]} KiB")
PY
