//! [`Profile`] → BPF.
//!
//! ```text
//!   ld arch ── jeq ──▶ ld nr ──▶ tree over ranges of numbers ──▶ ret action
//!       │                                                └─────▶ tree over arguments ──▶ ret action
//!       ├─ jeq ──▶ the same for the next ABI
//!       └────────▶ ret KILL_PROCESS
//! ```
//!
//! A program as libseccomp makes it compares numbers one after the other: a call that it denies has gone
//! through six hundred instructions, and only what is allowed whatever its arguments is remembered by the
//! kernel (its action cache, Linux 5.11). Here neighbours with the same decision are one range, and a range
//! is found by halving.
//!
//! A call through an ABI that the profile does not list kills the process. libseccomp kills the thread by
//! default; a thread that vanishes with its locks held leaves the others waiting.
//!
//! Where the default action is an errno, numbers that no table here knows get ENOSYS instead: a C library
//! probes for a new call and falls back on ENOSYS only (runc's patchbpf does the same above the highest
//! number it knows).

mod arguments;
mod assembler;
mod decisions;
mod test;

use crate::action::Action;
use crate::arch::{Arch, X32_SYSCALL_BIT};
use crate::bpf::{ARCH, Insn, JEQ_K, MAX_INSNS, NR};
use crate::error::Error;
use crate::filter::Filter;
use crate::profile::{Flags, Profile};
use crate::table::Syscall;
use arguments::Emitter;
use assembler::{Assembler, Goto};
use decisions::{Decision, Decisions};

/// What Docker's conditions are decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The bounding set of the container: bit n is capability n.
    pub caps: u64,
    /// The kernel's architecture.
    pub native: Arch,
    /// Its major and minor version.
    pub kernel: (u32, u32),
}

const ENOSYS: u16 = 38;
/// A tracer skips a call by making its number -1, which has the x32 bit but means nothing of the kind.
const SKIPPED: u32 = u32::MAX;

/// Compiles for every ABI that the profile lists and the kernel has.
pub fn compile(profile: &Profile, context: &Context) -> Result<Filter, Error> {
    let decisions = Decisions::of(profile, context)?;
    let arches: Vec<Arch> = profile.architectures.of_kernel(context.native).collect();
    // A tree over arguments is quick to run but can be longer than its cases one after the other.
    let program = program(&decisions, &arches, arguments::BUDGET)
        .or_else(|_| program(&decisions, &arches, arguments::NO_TREES))?;
    let notify = decisions.notify;
    let unknown_names = decisions.unknown_names;
    Ok(Filter { program, flags: filter_flags(profile.flags, notify), notify, unknown_names })
}

/// Backwards, as the assembler wants it: what is jumped to comes before the jump, so the kernel's own ABI,
/// which comes last here, is nearest to the entry.
fn program(decisions: &Decisions, arches: &[Arch], budget: usize) -> Result<Vec<Insn>, Error> {
    let mut asm = Assembler::default();
    let mut emitter = Emitter::new(decisions, budget);
    let mut entry = Goto::Ret(Action::KillProcess.to_ret());
    for audit in audits(arches).into_iter().rev() {
        let section = section(&mut asm, &mut emitter, decisions, audit, arches);
        entry = asm.branch(JEQ_K, audit, section, entry);
    }
    let entry = asm.load(ARCH, entry);
    let program = asm.finish(entry);
    match program.len() {
        insns if insns > MAX_INSNS => Err(Error::TooLong { insns }),
        _ => Ok(program),
    }
}

/// The distinct audit numbers, in order.
fn audits(arches: &[Arch]) -> Vec<u32> {
    let mut audits = Vec::new();
    for arch in arches {
        if !audits.contains(&arch.audit()) {
            audits.push(arch.audit());
        }
    }
    audits
}

/// All ABIs that share an audit number.
fn section(
    asm: &mut Assembler,
    emitter: &mut Emitter,
    decisions: &Decisions,
    audit: u32,
    arches: &[Arch],
) -> Goto {
    let mut ranges = Ranges::default();
    let unknown = Goto::Ret(decisions.unknown.to_ret());
    for &arch in arches.iter().filter(|arch| arch.audit() == audit) {
        let mut next = if arch == Arch::X32 { X32_SYSCALL_BIT } else { 0 };
        for &(number, syscall) in Syscall::all(arch) {
            if number != next {
                ranges.push(next, unknown);
            }
            let goto = match decisions.per_syscall[syscall.index()] {
                Decision::Always(ret) => Goto::Ret(ret),
                Decision::ByArguments(at) => emitter.emit(asm, at, arch.is_wide()),
            };
            ranges.push(number, goto);
            next = number + 1;
        }
        ranges.push(next, unknown);
    }
    if audit == Arch::X32.audit() && !arches.contains(&Arch::X32) {
        ranges.push(X32_SYSCALL_BIT, Goto::Ret(Action::KillProcess.to_ret()));
        ranges.push(SKIPPED, unknown);
    }
    let tree = asm.search(&ranges.0);
    asm.load(NR, tree)
}

/// Ranges of numbers in ascending order: each reaches to the start of the next, which leads elsewhere.
#[derive(Default)]
struct Ranges(Vec<(u32, Goto)>);

impl Ranges {
    fn push(&mut self, start: u32, goto: Goto) {
        if self.0.last().is_none_or(|last| last.1 != goto) {
            self.0.push((start, goto));
        }
    }
}

/// The flags to hand to seccomp(2), from what the profile asks for.
fn filter_flags(asked: Option<Flags>, notify: bool) -> u32 {
    // Silence has always meant what SPEC_ALLOW says: no mitigation of speculative store bypass is forced on
    // the process (runc does so too; the default of Linux from 5.16).
    let mut flags = asked.unwrap_or(Flags::SPEC_ALLOW).bits();
    if !notify {
        // EINVAL without a listener.
        flags &= !Flags::WAIT_KILLABLE_RECV.bits();
    } else if flags & Flags::TSYNC.bits() != 0 {
        // A return value that is a descriptor cannot also be a thread's number; EINVAL without this.
        flags |= Filter::TSYNC_ESRCH;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{SeccompData, evaluate};

    fn filter(json: &str) -> Filter {
        let context = Context { caps: 0, native: Arch::X86_64, kernel: (6, 18) };
        compile(&Profile::from_json(json.as_bytes()).unwrap(), &context).unwrap()
    }

    fn call(filter: &Filter, arch: Arch, name: &str, args: [u64; 6]) -> Action {
        let nr = Syscall::known(name).number(arch).unwrap();
        evaluate(&filter.program, &SeccompData { nr, arch: arch.audit(), args, ..SeccompData::default() })
    }

    #[test]
    fn other_abis_are_killed() {
        let filter = filter(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        let at = |nr, arch| evaluate(&filter.program, &SeccompData { nr, arch, ..SeccompData::default() });
        assert_eq!(at(0, Arch::X86_64.audit()), Action::Allow);
        assert_eq!(at(0, Arch::X86.audit()), Action::KillProcess);
        assert_eq!(at(0, Arch::Aarch64.audit()), Action::KillProcess);
        assert_eq!(at(X32_SYSCALL_BIT, Arch::X32.audit()), Action::KillProcess);
        assert_eq!(at(SKIPPED - 1, Arch::X32.audit()), Action::KillProcess);
        assert_eq!(at(SKIPPED, Arch::X86_64.audit()), Action::Allow);
    }

    #[test]
    fn what_no_table_knows_does_not_exist() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
                "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}"#,
        );
        for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
            let base = if arch == Arch::X32 { X32_SYSCALL_BIT } else { 0 };
            for (nr, errno) in [(0, 13), (469, 13), (470, 38), (9999, 38)] {
                let data = SeccompData { nr: base + nr, arch: arch.audit(), ..SeccompData::default() };
                assert_eq!(evaluate(&filter.program, &data), Action::Errno(errno), "{arch:?} {nr}");
            }
        }
        let data = SeccompData { nr: SKIPPED, arch: Arch::X86_64.audit(), ..SeccompData::default() };
        assert_eq!(evaluate(&filter.program, &data), Action::Errno(38));
    }

    #[test]
    fn several_rules_of_one_call_are_settled_as_documented() {
        let arg = |value: u64| format!(r#"[{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]"#);
        let rule = |name: &str, action: &str, args: &str| {
            format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_{action}", "args": {args}}}"#)
        };
        let rules = [
            rule("read", "ALLOW", "[]"),
            rule("read", "KILL", "[]"),
            rule("write", "ALLOW", "[]"),
            rule("write", "TRAP", &arg(1)),
            rule("open", "TRAP", "[]"),
            rule("open", "ALLOW", &arg(1)),
            rule("close", "ALLOW", &arg(1)),
            rule("close", "TRAP", &arg(1)),
        ];
        let filter =
            filter(&format!(r#"{{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{}]}}"#, rules.join(",")));
        for (name, first, action) in [
            ("read", 1, Action::Allow),
            ("write", 1, Action::Trap),
            ("write", 2, Action::Allow),
            ("open", 1, Action::Trap),
            ("close", 1, Action::Trap),
            ("close", 2, Action::Log),
            ("dup", 0, Action::Log),
        ] {
            assert_eq!(call(&filter, Arch::X86_64, name, [first, 0, 0, 0, 0, 0]), action, "{name}({first})");
        }
    }

    #[test]
    fn two_comparisons_of_one_argument_are_alternatives() {
        let filter = filter(
            r#"{"defaultAction": "SCMP_ACT_TRAP", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"},
                    {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]},
                {"names": ["write"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}
            ]}"#,
        );
        let at = |name, first, second| call(&filter, Arch::X86_64, name, [first, second, 0, 0, 0, 0]);
        assert_eq!([at("read", 1, 0), at("read", 3, 0), at("read", 2, 9)], [Action::Allow; 3]);
        assert_eq!([at("read", 2, 0), at("write", 1, 0), at("write", 0, 9)], [Action::Trap; 3]);
        assert_eq!(at("write", 1, 9), Action::Allow);
    }

    #[test]
    fn a_listener_changes_the_flags() {
        let with = |action: &str| {
            filter(&format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
                "syscalls": [{{"names": ["mkdir", "nonsense"], "action": "{action}"}}]}}"#
            ))
        };
        let plain = with("SCMP_ACT_LOG");
        assert_eq!((plain.flags, plain.notify), (1, false));
        assert_eq!(plain.unknown_names, ["nonsense"]);
        let notify = with("SCMP_ACT_NOTIFY");
        assert_eq!((notify.flags, notify.notify), (1 | 1 << 4 | 1 << 5, true));
        assert_eq!(filter(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).flags, 1 << 2);
    }

    #[test]
    fn a_program_that_the_kernel_would_not_take_is_an_error() {
        let masks: Vec<String> = (0..2000u64)
            .map(|at| {
                format!(
                    r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                    {{"index": 0, "value": {}, "valueTwo": {at}, "op": "SCMP_CMP_MASKED_EQ"}}]}}"#,
                    at | 1 << 63
                )
            })
            .collect();
        let json = format!(r#"{{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{}]}}"#, masks.join(","));
        let context = Context { caps: 0, native: Arch::X86_64, kernel: (6, 18) };
        let error = compile(&Profile::from_json(json.as_bytes()).unwrap(), &context).unwrap_err();
        assert!(matches!(error, Error::TooLong { insns } if insns > MAX_INSNS), "{error}");
    }

    /// Every range of one argument leaves other cases for the next: within the budget as trees, but for ten
    /// calls together too long.
    #[test]
    fn trees_give_way_to_cases_where_the_program_would_be_too_long() {
        let names = ["read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap"];
        let rules: Vec<String> = (0..10)
            .flat_map(|call| (0..25).map(move |at| (call, at)))
            .map(|(call, at)| {
                format!(
                    r#"{{"names": ["{}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {}, "args": [
                    {{"index": 0, "value": {at}, "op": "SCMP_CMP_GT"}},
                    {{"index": 1, "value": {}, "op": "SCMP_CMP_LE"}}]}}"#,
                    names[call],
                    100 * call + at,
                    10 * at
                )
            })
            .collect();
        let json = format!(r#"{{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{}]}}"#, rules.join(","));
        let profile = Profile::from_json(json.as_bytes()).unwrap();
        let context = Context { caps: 0, native: Arch::X86_64, kernel: (6, 18) };
        let decisions = Decisions::of(&profile, &context).unwrap();
        let trees = program(&decisions, &[Arch::X86_64], arguments::BUDGET);
        assert!(matches!(trees, Err(Error::TooLong { .. })), "{:?}", trees.map(|program| program.len()));

        let filter = compile(&profile, &context).unwrap();
        for (first, second) in (0..27u64).flat_map(|first| (0..260u64).map(move |second| (first, second))) {
            let least = second.div_ceil(10);
            let wanted = if least < first.min(25) { Action::Errno(300 + least as u16) } else { Action::Log };
            let got = call(&filter, Arch::X86_64, "close", [first, second, 0, 0, 0, 0]);
            assert_eq!(got, wanted, "{first} {second}");
        }
    }
}
