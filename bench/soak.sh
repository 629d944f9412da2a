#!/usr/bin/env bash
# Starts and stops detached containers, EIGHT at a time by default, COUNT in all, beside ten that stay; prints what
# the machine holds every tenth of the way: containers a second, mounts, cgroups, processes, the descriptors and
# the PSS of the monitors that stay, kernel memory, files of the store and of the run directory. Ends with an error if
# anything grows from the first tenth to the last, if a command fails, or if `doctor --assert-clean` finds a leftover.
# Needs root and busybox-static. CORTEN names a binary, else one is built. usage: bench/soak.sh [COUNT] [EIGHT]
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:-10000} width=${2:-8}
if [ -z "${CORTEN:-}" ]; then
  cargo build --release --quiet
  CORTEN=$PWD/target/x86_64-unknown-linux-gnu/release/corten
fi
work=$(mktemp -d)
engine=("$CORTEN" --root "$work/root" --run-root "$work/run")
cleanup() {
  "${engine[@]}" ps -aq | xargs -r "${engine[@]}" rm -f >/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
mkdir -p "$work/tree"/{bin,etc,tmp}
cp /bin/busybox "$work/tree/bin/busybox"
for name in sh sleep; do ln -s busybox "$work/tree/bin/$name"; done
tar -C "$work/tree" -cf "$work/tree.tar" .
"${engine[@]}" import "$work/tree.tar" busybox >/dev/null
python3 - "$count" "$width" "$work" "${engine[@]}" <<'PY'
import glob, os, subprocess, sys, threading, time
count, width, work, engine = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
parent = f'corten-soak-{os.getpid()}'

def corten(*args):
    done = subprocess.run(engine + list(args), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode: sys.exit(f'{args}: {done.returncode} {done.stderr}')
    return done.stdout.strip()

def read(path):
    try: return open(path).read()
    except OSError: return ''

def one(number):
    """Of four one each is `--rm`, restarted, and has an exec; all are stopped and gone at the end."""
    run = ['run', '-d', '--cgroup-parent', parent, '--network', 'none', '--memory', '64m']
    if number % 4 == 0: run.append('--rm')
    made = corten(*run, 'busybox', 'sh', '-c', f'echo {number}; sleep 1000')
    if number % 4 == 1: corten('restart', made)
    if number % 4 == 2: corten('exec', made, 'sh', '-c', 'echo hello')
    corten('stop', made)
    if number % 4: corten('rm', made)

staying = [corten('run', '-d', '--name', f'stays-{n}', '--cgroup-parent', parent, 'busybox', 'sleep', '100000')
           for n in range(10)]
beside = [pid for pid in os.listdir('/proc')
          if pid.isdigit() and int(pid) != os.getpid() and work in read(f'/proc/{pid}/cmdline')]

def held():
    memory = dict(line.split(':') for line in read('/proc/meminfo').splitlines())
    pss = sum(int(line.split()[1]) for pid in beside for line in read(f'/proc/{pid}/smaps_rollup').splitlines()
              if line.startswith('Pss:'))
    return {
        'mounts': len(read('/proc/self/mountinfo').splitlines()),
        'cgroups': sum(1 for _ in glob.iglob(f'/sys/fs/cgroup/**/{parent}/*/', recursive=True)),
        'processes': sum(1 for pid in os.listdir('/proc') if pid.isdigit() and work in read(f'/proc/{pid}/cmdline')),
        'descriptors': sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in beside),
        'pss_kib': pss,
        'files': sum(len(files) + len(dirs) for _, dirs, files in os.walk(work)),
        'slab_mib': int(memory['SUnreclaim'].split()[0]) // 1024,
        'percpu_mib': int(memory['Percpu'].split()[0]) // 1024,
    }

numbers, lock, failed = iter(range(count)), threading.Lock(), []
def worker(until):
    while not failed:
        with lock:
            number = next(until, None)
        if number is None: return
        try: one(number)
        except BaseException as error: failed.append(error)

samples, tenth = [], max(count // 10, width)
print(f'{"done":>7}{"a second":>10}', *(f'{name:>12}' for name in held()), sep='')
for begin in range(0, count, tenth):
    started, until = time.monotonic(), iter(range(begin, min(begin + tenth, count)))
    threads = [threading.Thread(target=worker, args=(until,)) for _ in range(width)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    if failed: sys.exit(str(failed[0]))
    rate = min(tenth, count - begin) / (time.monotonic() - started)
    samples.append(held())
    print(f'{min(begin + tenth, count):7}{rate:10.1f}', *(f'{value:12}' for value in samples[-1].values()), sep='', flush=True)
first, last = samples[0], samples[-1]
for name in ('mounts', 'cgroups', 'processes', 'descriptors', 'files'):
    if last[name] > first[name]: sys.exit(f'{name} grew from {first[name]} to {last[name]}')
# A page here and there is the heap of a monitor that has met another command; a leak of one page a start would be
# tens of MiB.
for name, most in (('pss_kib', 256), ('slab_mib', 32), ('percpu_mib', 16)):
    if last[name] > first[name] + most: sys.exit(f'{name} grew from {first[name]} to {last[name]}')
for id in staying: corten('rm', '-f', id)
left = subprocess.run(engine + ['doctor', '--assert-clean'], capture_output=True, text=True)
if left.returncode: sys.exit(left.stdout + left.stderr)
print('nothing is left')
PY
