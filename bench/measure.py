#!/usr/bin/env python3
"""What commands cost, measured in turns: the benchmarks' common part.

The order of each round is random, with a pause before each command. What a command leaves behind (corten's monitor,
an exec's attendant) becomes our child, so that its CPU time counts too and a turn ends when all of it has.
usage: measure.py ROUNDS RATIOS [NAME COMMAND]...   RATIOS: wall, or wall,cpu; of the first to each
"""
import ctypes, os, random, resource, statistics, subprocess, sys, time

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def turns(rounds, unmeasured, names):
    """Each name once a round, and whether it is measured."""
    for turn in range(rounds + unmeasured):
        for name in random.sample(names, len(names)):
            yield name, turn >= unmeasured


def cost(act):
    """Milliseconds until `act` returned, until nothing that it started was left, and of CPU time for all that."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    act()
    returned = time.perf_counter() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    gone = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return returned * 1e3, gone * 1e3, cpu * 1e3


def main(rounds, ratios, *words):
    commands = {name: command.split() for name, command in zip(words[::2], words[1::2])}
    names, ratios = list(commands), ratios.split(',')
    table = {'wall': {name: [] for name in names}, 'cpu': {name: [] for name in names}}
    for name, measured in turns(int(rounds), 3, names):
        time.sleep(0.05)
        wall, _, cpu = cost(lambda: subprocess.run(commands[name], check=True, stdin=subprocess.DEVNULL,
                                                   stdout=subprocess.DEVNULL))
        if measured:
            table['wall'][name].append(wall)
            table['cpu'][name].append(cpu)
    middle = statistics.median
    heading = 'ratio of medians (wall)' if ratios == ['wall'] else 'ratios of medians'
    print(f"{'':8}{'wall ms':>9}{'min':>8}{'cpu ms':>9}   {heading}")
    for name in names:
        shown = [f"{middle(table[kind][names[0]]) / middle(table[kind][name]):.2f} x" for kind in ratios]
        shown[0] += f' {name}'
        if len(ratios) > 1:
            shown = [f'{text} ({kind})' for text, kind in zip(shown, ratios)]
        print(f"{name:8}{middle(table['wall'][name]):9.2f}{min(table['wall'][name]):8.2f}"
              f"{middle(table['cpu'][name]):9.2f}   {names[0]} is {', '.join(shown)}")


if __name__ == '__main__':
    main(*sys.argv[1:])
