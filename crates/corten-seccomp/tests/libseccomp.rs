//! The same profile compiled by libseccomp, call by call. Needs gcc and libseccomp-dev; says so without.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use corten_seccomp::{Action, Arch, ArchSet, Architectures, Comparison, Condition, Context, DEFAULT, Op};
use corten_seccomp::{Insn, Profile, Rule, SeccompData, Syscall, compile, evaluate, run};
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Compiled once for each test; `None`, said aloud, where that cannot be done.
struct Peer(tempfile::TempDir);

impl Peer {
    fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libseccomp.c");
        let gcc =
            Command::new("gcc").arg(source).arg("-o").arg(dir.path().join("peer")).arg("-lseccomp").output();
        match gcc {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                println!("skipped: no libseccomp here: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: no gcc here: {error}");
                None
            }
        }
    }

    fn compile(&self, profile: &Profile, arches: &[Arch], skip: &[&str]) -> Vec<Insn> {
        let mut input = String::new();
        writeln!(input, "default {}", profile.default_action.to_ret()).unwrap();
        for arch in arches {
            let name = arch.oci_name().trim_start_matches("SCMP_ARCH_").to_lowercase();
            writeln!(input, "arch {name}").unwrap();
        }
        for rule in profile.rules.iter() {
            let repeats = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
            let sets: Vec<&[Comparison]> =
                if repeats { rule.args.chunks(1).collect() } else { vec![&rule.args] };
            for syscall in rule.syscalls.iter().filter(|syscall| !skip.contains(&syscall.name())) {
                for set in &sets {
                    write!(input, "rule {} {} {}", rule.action.to_ret(), syscall.name(), set.len()).unwrap();
                    for arg in *set {
                        let op = arg.op as u32 + 1;
                        write!(input, " {} {op} {} {}", arg.index, arg.value, arg.value_two).unwrap();
                    }
                    writeln!(input).unwrap();
                }
            }
        }
        let mut child = Command::new(self.0.path().join("peer"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It writes nothing before it has read all.
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}\n{input}");
        let insn = |bytes: &[u8]| Insn {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        output.stdout.chunks_exact(8).map(insn).collect()
    }
}

const VALUES: [u64; 8] = [0, 1, 2, 0xff, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff, 0x2_0008];
const WIDE: [u64; 4] = [0x1_0000_0000, 0x1_0000_0001, 0xffff_ffff_0000_0000, u64::MAX];

/// Deterministic: a failure is the same failure for everyone.
struct Random(TestRng);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        use proptest::prelude::Rng as _;
        self.0.next_u32() as usize % end
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// One rule for a call. Of several, even with one action, libseccomp 2.5.4 makes wrong programs: where the
/// comparisons of one argument fail, it goes on to those of another without loading that (read allowed for
/// arg0 < 0xfffffffe, or arg0 != 1 and arg1 > 0x20008, on x32: arg1 is compared with 0xfffffffe). Several
/// rules are compared with the documentation instead, in random_profiles.rs.
fn random_profile(random: &mut Random, values: &[u64], arches: &[Arch]) -> Profile {
    let actions =
        [Action::KillProcess, Action::Trap, Action::Errno(7), Action::Trace(3), Action::Log, Action::Allow];
    let ops = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq];
    let mut rules = Vec::new();
    for name in ["read", "write", "clone", "ioctl", "prctl", "fcntl", "execve"] {
        let mut args = Vec::new();
        for index in 0..3 {
            if random.below(2) == 0 {
                let (op, value, value_two) = (random.of(&ops), random.of(values), random.of(values));
                args.push(Comparison { index, op, value, value_two });
            }
        }
        rules.push(Rule {
            syscalls: vec![Syscall::named(name).unwrap()].into(),
            unknown: Vec::new(),
            action: random.of(&actions),
            args: args.into(),
            when: Condition::default(),
            comment: "".into(),
        });
    }
    Profile {
        default_action: random.of(&actions),
        architectures: Architectures::Listed(ArchSet::of(arches)),
        flags: None,
        listener_path: None,
        listener_metadata: None,
        rules: rules.into(),
    }
}

#[test]
fn random_profiles_agree() {
    let Some(peer) = Peer::build() else { return };
    let mut random = Random(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let context = Context { caps: 0, native: Arch::X86_64, kernel: (6, 18) };
    let wide: Vec<u64> = VALUES.into_iter().chain(WIDE).collect();
    let mut compared = 0;
    for round in 0..200 {
        // libseccomp takes x32 for a 32-bit ABI and looks at the lower halves only.
        let (values, arches) = match round % 2 {
            0 => (&wide[..], &[Arch::X86_64, Arch::X86][..]),
            _ => (&VALUES[..], &[Arch::X86_64, Arch::X32][..]),
        };
        let profile = random_profile(&mut random, values, arches);
        let theirs = peer.compile(&profile, arches, &[]);
        let ours = compile(&profile, &context).unwrap().program;
        for &arch in arches {
            for name in ["read", "write", "clone", "ioctl", "prctl", "fcntl", "execve", "close"] {
                let nr = Syscall::named(name).unwrap().number(arch).unwrap();
                for _ in 0..60 {
                    let mut args = [0; 6].map(|_: u64| random.of(values).wrapping_add(random.of(&[0, 0, 1])));
                    if arch != Arch::X86_64 {
                        args = args.map(|arg| arg & 0xffff_ffff);
                    }
                    let data = SeccompData { nr, arch: arch.audit(), args, ..SeccompData::default() };
                    let (ours, theirs) = (evaluate(&ours, &data), evaluate(&theirs, &data));
                    assert_eq!(
                        ours,
                        theirs,
                        "round {round} {arch:?} {name} {args:x?}\n{}",
                        profile.to_json()
                    );
                    compared += 1;
                }
            }
        }
        for arch in Arch::ALL.into_iter().filter(|arch| !arches.contains(arch) && *arch != Arch::X86_64) {
            let nr = Syscall::named("close").unwrap().number(arch).unwrap();
            let data = SeccompData { nr, arch: arch.audit(), ..SeccompData::default() };
            assert_eq!(evaluate(&ours, &data), evaluate(&theirs, &data), "round {round} {arch:?}");
        }
    }
    println!("{compared} calls compared with libseccomp");
}

/// The default profile's rules, as they are for a container without capabilities.
#[test]
fn the_default_profile_agrees() {
    let Some(peer) = Peer::build() else { return };
    // On i386 libseccomp makes rules for socketcall and ipc out of those for what is behind them.
    let multiplexed = ["socket", "socketpair", "socketcall", "ipc"];
    for (native, arches) in [
        (Arch::X86_64, &[Arch::X86_64, Arch::X86, Arch::X32][..]),
        (Arch::Aarch64, &[Arch::Aarch64, Arch::Arm][..]),
    ] {
        let mut profile = DEFAULT.clone();
        let holds = |rule: &&Rule| rule.when.includes.caps == 0;
        profile.rules = DEFAULT.rules.iter().filter(holds).cloned().collect();
        let skip = if native == Arch::X86_64 { &multiplexed[..] } else { &[] };
        // It adds the machine's own architecture by itself.
        let theirs = peer.compile(&profile, arches, skip);
        let ours = compile(&DEFAULT, &Context { caps: 0, native, kernel: (6, 18) }).unwrap().program;
        let (mut compared, mut newer, mut steps) = (0, Vec::new(), (0, 0));
        for &arch in arches {
            for &(nr, syscall) in Syscall::all(arch) {
                let name = syscall.name();
                // Arm's sync_file_range2 it knows as arm_sync_file_range only.
                if skip.contains(&name) || name == "sync_file_range2" {
                    continue;
                }
                for first in [0, 1, 2, 8, 10, 16, 17, 38, 0x2_0000, 0x2_0008, 0x1000_0000, 0xffff_ffff] {
                    let args = [first, 0, 9, 0, 0, 0];
                    let data = SeccompData { nr, arch: arch.audit(), args, ..SeccompData::default() };
                    let (Some(ours), Some(theirs)) = (run(&ours, &data), run(&theirs, &data)) else {
                        panic!("a malformed program");
                    };
                    steps = (steps.0.max(ours.steps), steps.1.max(theirs.steps));
                    if ours.action == Action::Allow
                        && theirs.action == Action::Errno(1)
                        && (nr & 0xffff > 440 || name.ends_with("probe"))
                    {
                        // Newer than this libseccomp.
                        newer.push(name);
                        continue;
                    }
                    assert_eq!(ours.action, theirs.action, "{arch:?} {name} {args:x?}");
                    compared += 1;
                }
            }
        }
        newer.sort_unstable();
        newer.dedup();
        println!(
            "{native:?}: {compared} calls compared; steps at most {} here, {} there; {} and {} instructions; \
             unknown there: {newer:?}",
            steps.0,
            steps.1,
            ours.len(),
            theirs.len()
        );
    }
}
