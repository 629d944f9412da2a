//! The default profile, every call of every ABI, against a model that is written the other way round: what
//! is denied, and not what is allowed.

use corten_seccomp::{Action, Arch, Context, DEFAULT, SeccompData, Syscall, compile, run};

const SYS_ADMIN: u64 = 1 << 21;
const SYS_PTRACE: u64 = 1 << 19;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const AUDIT_WRITE: u64 = 1 << 29;
const AUDIT_CONTROL: u64 = 1 << 30;
/// Docker's fourteen.
const DOCKER: u64 = 0xa804_25fb;

/// Open to no capability.
const NEVER: &str = "
    _sysctl add_key afs_syscall bdflush break create_module ftime get_kernel_syms get_tls getpmsg gtty idle
    io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lock migrate_pages
    move_pages mpx nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname pciconfig_iobase
    pciconfig_read pciconfig_write pivot_root prof profil putpmsg query_module readdir request_key security
    sgetmask sigaction signal sigpending sigsuspend ssetmask stty swapoff swapon sysfs tuxcall ulimit uselib
    userfaultfd usr26 usr32 ustat vm86 vm86old vserver";

/// Open to any one of these capabilities, by number.
const GATED: [(&str, &[u32]); 17] = [
    ("open_by_handle_at", &[2]),
    ("delete_module finit_module init_module", &[16]),
    ("ioperm iopl", &[17]),
    ("chroot", &[18]),
    ("kcmp pidfd_getfd process_madvise", &[19]),
    ("acct", &[20]),
    ("fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr", &[21]),
    ("umount umount2 setns unshare", &[21]),
    ("fanotify_init lookup_dcookie quotactl quotactl_fd setdomainname sethostname", &[21]),
    ("lsm_get_self_attr lsm_list_modules lsm_set_self_attr", &[21]),
    ("reboot", &[22]),
    ("get_mempolicy mbind set_mempolicy set_mempolicy_home_node", &[23]),
    ("clock_settime clock_settime64 settimeofday stime", &[25]),
    ("vhangup", &[26]),
    ("syslog", &[34, 21]),
    ("perf_event_open", &[38, 21]),
    ("bpf", &[39, 21]),
];

fn model(name: &str, args: [u64; 6], caps: u64, kernel: (u32, u32)) -> Action {
    let has = |bits: u64| caps & bits != 0;
    let allow_if = |allowed: bool| if allowed { Action::Allow } else { Action::Errno(1) };
    match name {
        "clone" if has(SYS_ADMIN) => Action::Allow,
        "clone" => allow_if(args[0] & 0x7e02_0000 == 0),
        "clone3" if has(SYS_ADMIN) => Action::Allow,
        "clone3" => Action::Errno(38),
        "personality" => allow_if([0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].contains(&args[0])),
        "ptrace" | "process_vm_readv" | "process_vm_writev" => allow_if(kernel >= (4, 8) || has(SYS_PTRACE)),
        "socketpair" if args[0] == 1 => Action::Allow,
        "socketpair" => Action::Errno(95),
        "socketcall" => match args[0] {
            1 | 8 => Action::Errno(38),
            call => allow_if(call > 1),
        },
        "socket" => match (args[0], args[2]) {
            (1 | 2 | 10, _) => Action::Allow,
            (17, _) => allow_if(has(NET_RAW)),
            (16, 0 | 2 | 4 | 7 | 15 | 16) => Action::Allow,
            (16, 6 | 11 | 12) => allow_if(has(NET_ADMIN)),
            (16, 9) if has(AUDIT_WRITE | AUDIT_CONTROL) => Action::Allow,
            (16, 9) => Action::Errno(22),
            (16, _) => Action::Errno(1),
            _ => Action::Errno(97),
        },
        _ if NEVER.split_whitespace().any(|never| never == name) => Action::Errno(1),
        _ => {
            let gate = GATED.iter().find(|(names, _)| names.split(' ').any(|gated| gated == name));
            allow_if(gate.is_none_or(|(_, open)| open.iter().any(|cap| has(1 << cap))))
        }
    }
}

/// First and third argument: what any rule looks at, and what is just beside.
fn interesting(name: &str) -> Vec<(u64, u64)> {
    let firsts: Vec<u64> = match name {
        "socket" | "socketpair" | "socketcall" | "personality" | "clone" => (0..64)
            .chain((0..64).map(|bit| 1 << bit))
            .chain([0x2_0008, 0x2_0009, 0xffff_ffff, u64::MAX, 0x1_0000_0001, 0x1_0000_0010, 0x3d0f00])
            .collect(),
        _ => vec![0, 1, u64::MAX],
    };
    let thirds: Vec<u64> =
        if name == "socket" { (0..40).chain([1 << 32, u64::MAX]).collect() } else { vec![0] };
    let thirds_of = |first: u64| if first & 0xff == 16 { &thirds[..] } else { &thirds[..1] };
    firsts.iter().flat_map(|first| thirds_of(*first).iter().map(|third| (*first, *third))).collect()
}

#[test]
fn every_call_comes_to_what_the_model_says() {
    let mut compared = 0u32;
    let mut worst = (0, "");
    let all_caps = (0..41).map(|cap| 1 << cap).chain([0, DOCKER, u64::MAX]);
    let old_kernel = [(0, (4, 7)), (SYS_PTRACE, (4, 7)), (0, (4, 8))];
    for (caps, kernel) in all_caps.map(|caps| (caps, (6, 18))).chain(old_kernel) {
        for native in [Arch::X86_64, Arch::Aarch64] {
            let filter = compile(&DEFAULT, &Context { caps, native, kernel }).unwrap();
            for &arch in native.of_kernel() {
                let base = if arch == Arch::X32 { 0x4000_0000 } else { 0 };
                let private = if arch == Arch::Arm { 0xf_0000..0xf_0008 } else { 0..0 };
                for nr in (0..600).map(|nr| base + nr).chain(private) {
                    let name = Syscall::at(arch, nr).map(Syscall::name);
                    for (first, third) in interesting(name.unwrap_or("")) {
                        let mut args = [first, 0, third, 0, 0, 0];
                        if !arch.is_wide() {
                            args = args.map(|arg| arg & 0xffff_ffff);
                        }
                        let data = SeccompData { nr, arch: arch.audit(), args, ..SeccompData::default() };
                        let got = run(&filter.program, &data).expect("the program is well formed");
                        let wanted = name.map_or(Action::Errno(38), |name| model(name, args, caps, kernel));
                        assert_eq!(got.action, wanted, "{arch:?} {nr} {name:?} {args:?} caps {caps:#x}");
                        worst = worst.max((got.steps, name.unwrap_or("(none)")));
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("{compared} calls compared; at most {} steps, for {}", worst.0, worst.1);
    assert!(worst.0 <= 40, "{worst:?}");
}

#[test]
fn a_foreign_architecture_is_killed() {
    let filter = compile(&DEFAULT, &Context { caps: 0, native: Arch::X86_64, kernel: (6, 18) }).unwrap();
    for audit in [Arch::Aarch64.audit(), Arch::Arm.audit(), 0, u32::MAX] {
        let data = SeccompData { arch: audit, ..SeccompData::default() };
        assert_eq!(run(&filter.program, &data).unwrap().action, Action::KillProcess);
    }
}

/// The kernel holds a filter for each container, in memory that is charged to it.
#[test]
fn the_program_is_short() {
    for (native, most) in [(Arch::X86_64, 500), (Arch::Aarch64, 400)] {
        for caps in [0, DOCKER, u64::MAX] {
            let filter = compile(&DEFAULT, &Context { caps, native, kernel: (6, 18) }).unwrap();
            assert!(filter.program.len() <= most, "{native:?}: {}", filter.program.len());
            assert!(filter.unknown_names.is_empty() && !filter.notify);
        }
    }
}

/// Printed as Docker's JSON and read again, it compiles to the same program.
#[test]
fn the_printed_profile_is_the_profile() {
    let read = corten_seccomp::Profile::from_json(DEFAULT.to_json().as_bytes()).unwrap();
    for caps in [0, DOCKER, u64::MAX] {
        let context = Context { caps, native: Arch::X86_64, kernel: (6, 18) };
        assert_eq!(compile(&read, &context).unwrap(), compile(&DEFAULT, &context).unwrap());
    }
}

/// Printed for the record; a shared machine makes no promise about time.
#[test]
fn what_compiling_costs() {
    let context = Context { caps: DOCKER, native: Arch::X86_64, kernel: (6, 18) };
    let start = std::time::Instant::now();
    for _ in 0..100 {
        std::hint::black_box(compile(std::hint::black_box(&DEFAULT), &context).unwrap());
    }
    println!("default profile for x86-64 with its sub-architectures: {:?}", start.elapsed() / 100);
}
