#!/usr/bin/env python3
"""Containers that live, beside docker and crun in one run, interleaved, the order random: `exec` of true, `ps` of
100 containers, `stop` of a shell that waits, the memory of what stays beside a container, 200 containers started
at once, `cp` of 10 000 files. Medians and ratios; CPU time is that of the command and of every process that works
for it (docker's daemon, containerd and shims in a cgroup of their own, corten's monitors as our children).

Needs root, busybox-static, runc, and of Debian's docker.io and containerd the programs: DOCKER_BIN names the
directory of their /usr (`apt-get download docker.io containerd`, `dpkg -x`). The daemon has private directories, no
bridge and no iptables. Without it corten is measured alone. CORTEN names a binary, else one is built.

usage: bench/docker.py [ROUNDS]
"""
import ctypes, glob, os, random, resource, shutil, signal, statistics, subprocess, sys, tempfile, time

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CPU = '/sys/fs/cgroup/cpuacct'
# What a command leaves behind (corten's monitor) becomes our child, and its CPU time counts.
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def build():
    if 'CORTEN' in os.environ:
        return os.environ['CORTEN']
    subprocess.run(['cargo', 'build', '--release', '--quiet'], cwd=HERE, check=True)
    return f'{HERE}/target/x86_64-unknown-linux-gnu/release/corten'


def quiet(command, **more):
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **more)


def rest():
    """Takes in the dead; what still lives is some container's monitor."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


class Corten:
    name = 'corten'

    def __init__(self, work):
        self.prefix = [build(), '--root', f'{work}/corten', '--run-root', f'{work}/live/corten']
        quiet(self.prefix + ['import', f'{work}/tree.tar', 'busybox'])

    def cpu(self):
        """Monitors that live work a little for each exec; their time shows up only here."""
        return sum(stat_cpu(pid) for pid in self.monitors())

    def monitors(self):
        mine = self.prefix[2].encode()
        return [pid for pid in pids() if mine in read(f'/proc/{pid}/cmdline')]

    def beside(self):
        """Monitors, and the init of each."""
        inits = [pid for pid in pids() if read(f'/proc/{pid}/comm') == b'corten-init\n' or
                 read(f'/proc/{pid}/cmdline').startswith(b'corten-init\0')]
        return self.monitors() + inits

    def stop(self):
        pass


class Docker:
    name = 'docker'

    def __init__(self, work, programs):
        self.cgroup = f'{CPU}/corten-bench-docker'
        os.makedirs(self.cgroup, exist_ok=True)
        socket = f'unix://{work}/live/docker.sock'
        path = f'{programs}/bin:{programs}/sbin:' + os.environ['PATH']
        command = ['dockerd', '--data-root', f'{work}/docker', '--exec-root', f'{work}/live/docker', '--pidfile',
                   f'{work}/live/docker.pid', '-H', socket, '--bridge', 'none', '--iptables=false', '--ip6tables=false']
        line = f'echo $$ > {self.cgroup}/cgroup.procs; exec {" ".join(command)}'
        with open(f'{work}/docker.log', 'w') as log:
            self.daemon = subprocess.Popen(['sh', '-c', line], env={**os.environ, 'PATH': path}, stdout=log, stderr=log)
        self.prefix = [shutil.which('docker', path='/usr/local/bin:' + path), '-H', socket]
        while subprocess.run(self.prefix + ['version'], capture_output=True).returncode:
            if self.daemon.poll() is not None:
                sys.exit(open(f'{work}/docker.log').read())
            time.sleep(0.1)
        quiet(self.prefix + ['import', f'{work}/tree.tar', 'busybox'])

    def cpu(self):
        return int(read(f'{self.cgroup}/cpuacct.usage')) / 1e6

    def beside(self):
        return [int(pid) for pid in read(f'{self.cgroup}/cgroup.procs').split()]

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()
        rest()
        os.rmdir(self.cgroup)


def read(path):
    try:
        with open(path, 'rb') as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b''


def pids():
    return [int(name) for name in os.listdir('/proc') if name.isdigit()]


def stat_cpu(pid):
    fields = read(f'/proc/{pid}/stat').rpartition(b')')[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf('SC_CLK_TCK') if fields else 0


def memory(pids):
    """Of some processes together: what is theirs alone, and their proportional share of all, in KiB."""
    anon = whole = 0
    for pid in pids:
        for line in read(f'/proc/{pid}/smaps_rollup').decode().splitlines():
            words = line.split()
            if words[0] == 'Pss_Anon:':
                anon += int(words[1])
            if words[0] == 'Pss:':
                whole += int(words[1])
    return anon, whole


def compare(title, engines, command, before=None, check=None):
    """`command` of each engine in turns; `before` prepares one without being measured."""
    wall, cpu = {e.name: [] for e in engines}, {e.name: [] for e in engines}
    for turn in range(ROUNDS + 1):
        for engine in random.sample(engines, len(engines)):
            if before:
                before(engine, turn)
            time.sleep(0.05)
            rest()
            # First, since to find hundreds of monitors takes longer than what is measured.
            daemon = engine.cpu()
            used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            output = subprocess.run(engine.prefix + command(engine, turn), check=True, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE).stdout
            spent = (time.perf_counter() - start) * 1e3
            time.sleep(0.02)
            rest()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            own = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) * 1e3
            if check:
                check(engine, output)
            if turn:
                wall[engine.name].append(spent)
                cpu[engine.name].append(own + max(0, engine.cpu() - daemon))
    print(f'\n{title}\n{"":10}{"wall ms":>10}{"min":>9}{"cpu ms":>10}')
    for name in wall:
        print(f'{name:10}{statistics.median(wall[name]):10.2f}{min(wall[name]):9.2f}{statistics.median(cpu[name]):10.2f}')
    for name in list(wall)[1:]:
        print(f'  corten is {statistics.median(wall["corten"]) / statistics.median(wall[name]):.3f} x {name} in wall time, '
              f'{statistics.median(cpu["corten"]) / statistics.median(cpu[name]):.3f} x in CPU time')


def main():
    work = tempfile.mkdtemp(prefix='corten-bench-')
    engines = []
    try:
        os.makedirs(f'{work}/live')
        quiet(['mount', '-t', 'tmpfs', 'tmpfs', f'{work}/live'])
        for name in 'bin', 'etc', 'proc', 'sys', 'dev', 'tmp':
            os.makedirs(f'{work}/tree/{name}')
        shutil.copy('/bin/busybox', f'{work}/tree/bin/busybox')
        for name in 'sh', 'true', 'sleep':
            os.symlink('busybox', f'{work}/tree/bin/{name}')
        quiet(['tar', '-C', f'{work}/tree', '-cf', f'{work}/tree.tar', '.'])
        engines.append(Corten(work))
        if 'DOCKER_BIN' in os.environ:
            engines.append(Docker(work, os.environ['DOCKER_BIN']))
        else:
            print('DOCKER_BIN is not set: corten alone')
        run(work, engines)
    finally:
        for engine in engines:
            ids = subprocess.run(engine.prefix + ['ps', '-aq'], capture_output=True, text=True).stdout.split()
            if ids:
                subprocess.run(engine.prefix + ['rm', '-f'] + ids, stdout=subprocess.DEVNULL)
            engine.stop()
        rest()
        subprocess.run(['umount', '-l', f'{work}/live'])
        shutil.rmtree(work, ignore_errors=True)


def detached(engine, name, *command):
    quiet(engine.prefix + ['run', '-d', '--network', 'none', '--name', name, 'busybox', *command])


def run(work, engines):
    print(f'{ROUNDS} rounds; load before: {open("/proc/loadavg").read().split()[0]}')
    each = lambda action: [action(engine) for engine in engines]

    each(lambda engine: detached(engine, 'bench', 'sleep', '100000'))
    compare('exec of true', engines, lambda *_: ['exec', 'bench', 'true'])
    os.makedirs(f'{work}/files')
    for number in range(10000):
        if number % 100 == 0:
            os.makedirs(f'{work}/files/{number // 100}')
        with open(f'{work}/files/{number // 100}/{number}', 'w') as file:
            file.write('some bytes\n' * 40)
    compare('cp of 10 000 files into a container', engines, lambda _, turn: ['cp', f'{work}/files', f'bench:/in{turn}'])
    compare('cp of 10 000 files out of a container', engines,
            lambda engine, turn: ['cp', 'bench:/in0', f'{work}/out-{engine.name}-{turn}'])
    for path in glob.glob(f'{work}/out-*'):
        shutil.rmtree(path)

    def waiting(engine, turn):
        quiet(engine.prefix + ['rm', '-f', 'stopped'], stderr=subprocess.DEVNULL) if turn else None
        detached(engine, 'stopped', 'sh', '-c', 'sleep 1000')
    # Ten seconds of docker's are no use ten times: -t 1 shows as well that it waits.
    compare("stop of sh -c 'sleep 1000' (docker with -t 1: its program is process 1 and ignores the signal)", engines,
            lambda engine, _: ['stop', '-t', '1', 'stopped'] if engine.name == 'docker' else ['stop', 'stopped'], waiting)

    for number in range(9):
        each(lambda engine: detached(engine, f'more-{number}', 'sleep', '100000'))
    print('\nbeside each of ten containers, KiB: its own, with its share of the text')
    for engine in engines:
        anon, whole = memory(engine.beside())
        print(f'{engine.name:10}{anon / 10:10.0f}{whole / 10:10.0f}')

    for number in range(9, 99):
        each(lambda engine: detached(engine, f'more-{number}', 'sleep', '100000'))

    def hundred(engine, output):
        lines = len(output.split())
        assert lines == 100, f'{engine.name}: {lines}'
    compare('ps -q of 100 containers that run', engines, lambda *_: ['ps', '-q'], check=hundred)

    corten = engines[0]
    print('\n200 more at once')
    start = time.perf_counter()
    started = [subprocess.Popen(corten.prefix + ['run', '-d', '--network', 'none', '--name', f'burst-{number}', 'busybox',
                                                 'sleep', '100000'], stdout=subprocess.DEVNULL) for number in range(200)]
    assert all(process.wait() == 0 for process in started)
    spent = time.perf_counter() - start
    running = subprocess.run(corten.prefix + ['ps', '-q'], capture_output=True, text=True).stdout.split()
    assert len(running) == 300, len(running)
    print(f'{"corten":10}{spent:10.2f} s, {200 / spent:.0f} a second; {len(running)} run')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
