#!/usr/bin/env python3
"""Writes src/table/*.rs: the system calls of Linux by number, one file an ABI, and all their names.

    python3 tables.py ~/.cargo/registry/src/*/linux-raw-sys-0.12.1

linux-raw-sys is what bindgen makes of the kernel's UAPI headers (0.12.1: Linux 6.17). What those headers
cannot say is in EXTRA below.
"""
import pathlib
import re
import sys

# Our file, the directory in linux-raw-sys, what the ABI is.
ABIS = [
    ("x86_64", "x86_64", "x86-64, `syscall` with bit 30 clear: arch/x86/entry/syscalls/syscall_64.tbl"),
    ("x86", "x86", "i386, `int 0x80` and `sysenter`: arch/x86/entry/syscalls/syscall_32.tbl"),
    ("x32", "x32", "x32, `syscall` with `__X32_SYSCALL_BIT` (bit 30) set: syscall_64.tbl, abi common and x32"),
    ("aarch64", "aarch64", "arm64: scripts/syscall.tbl"),
    ("arm", "arm", "32-bit Arm EABI, also as arm64's compat ABI: arch/arm/tools/syscall.tbl"),
]
# Linux 6.18, "uprobes/x86: Add uprobe syscall to speed up uprobe".
EXTRA = {"x86_64": {"uprobe": 336}}
# asm/unistd.h gives one number two names on Arm; src/table.rs takes the second for an alias.
ALIASES = {"arm_sync_file_range"}
# Constants of the headers that are no system call.
NOT_CALLS = {"OABI_SYSCALL_BASE", "SYSCALL_MASK", "SYSCALL_BASE", "syscalls", "Linux", "BASE"}


def calls(header):
    found = {}
    for name, number in re.findall(r"pub const __(?:ARM_)?NR_(\w+): u32 = (\d+);", header.read_text()):
        if name not in NOT_CALLS and name not in ALIASES:
            found[name] = int(number)
    return found


def main():
    source = pathlib.Path(sys.argv[1]) / "src"
    out = pathlib.Path(__file__).parent / "src" / "table"
    names = set()
    # A name that only another architecture has is known, not a misspelling.
    for header in sorted(source.glob("*/general.rs")):
        names |= set(calls(header))
    for abi, directory, what in ABIS:
        table = calls(source / directory / "general.rs") | EXTRA.get(abi, {})
        names |= set(table)
        rows = sorted((number, name) for name, number in table.items())
        numbers = [number for number, _ in rows]
        assert len(numbers) == len(set(numbers)), [r for r in rows if numbers.count(r[0]) > 1]
        lines = [f"//! {what}.", "//!", "//! Written by tables.py; sorted by number.", ""]
        lines.append("#[rustfmt::skip]")
        lines.append(f"pub(super) const CALLS: [(u32, &str); {len(rows)}] = [")
        lines += [f'    ({number:#x}, "{name}"),' if number > 0xffff else f'    ({number}, "{name}"),' for number, name in rows]
        lines += ["];", ""]
        (out / f"{abi}.rs").write_text("\n".join(lines))
    lines = ["//! Every system call that some architecture of Linux has.", "//!",
             "//! Written by tables.py; sorted by bytes, so that a name's index is found by binary search.", ""]
    lines.append("#[rustfmt::skip]")
    lines.append(f"pub(super) const NAMES: [&str; {len(names)}] = [")
    lines += [f'    "{name}",' for name in sorted(names)]
    lines += ["];", ""]
    (out / "names.rs").write_text("\n".join(lines))


main()
