//! Random profiles: the compiled program against the rules, read one by one.

use corten_seccomp::{Action, Arch, Comparison, Condition, Context, Op, Profile, Rule, SeccompData, Syscall};
use corten_seccomp::{Architectures, compile, evaluate};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Few, so that rules meet; the last two are on i386 only.
const NAMES: [&str; 8] = ["read", "write", "open", "close", "clone", "ioctl", "socketcall", "waitpid"];
const VALUES: [u64; 10] =
    [0, 1, 2, 0xff, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0xffff_ffff_0000_0000, u64::MAX];
const OPS: [Op; 7] = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq];
const ACTIONS: [Action; 9] = [
    Action::KillProcess,
    Action::KillThread,
    Action::Trap,
    Action::Errno(1),
    Action::Errno(2),
    Action::Notify,
    Action::Trace(3),
    Action::Log,
    Action::Allow,
];

fn comparison() -> impl Strategy<Value = Comparison> {
    (0..3u8, select(&OPS[..]), select(&VALUES[..]), select(&VALUES[..]))
        .prop_map(|(index, op, value, value_two)| Comparison { index, op, value, value_two })
}

fn rule() -> impl Strategy<Value = Rule> {
    (vec(select(&NAMES[..]), 1..3), select(&ACTIONS[..]), vec(comparison(), 0..4)).prop_map(
        |(names, action, args)| Rule {
            syscalls: names.into_iter().map(|name| Syscall::named(name).unwrap()).collect(),
            unknown: Vec::new(),
            action,
            args: args.into(),
            when: Condition::default(),
            comment: "".into(),
        },
    )
}

fn profile(rules: usize) -> impl Strategy<Value = Profile> {
    (select(&ACTIONS[..]), vec(rule(), 0..rules)).prop_map(|(default_action, rules)| Profile {
        default_action,
        architectures: Architectures::Listed(corten_seccomp::ArchSet::of(&[Arch::X86, Arch::X32])),
        flags: None,
        listener_path: None,
        listener_metadata: None,
        rules: rules.into(),
    })
}

fn holds(comparison: &Comparison, args: &[u64; 6], arch: Arch) -> bool {
    let width = if arch.is_wide() { u64::MAX } else { 0xffff_ffff };
    let (value, two) = (comparison.value & width, comparison.value_two & width);
    let arg = args[comparison.index as usize];
    match comparison.op {
        Op::Ne => arg != value,
        Op::Lt => arg < value,
        Op::Le => arg <= value,
        Op::Eq => arg == value,
        Op::Ge => arg >= value,
        Op::Gt => arg > value,
        Op::MaskedEq => arg & value == two & value,
    }
}

/// The documentation of profile.rs, word for word.
fn meaning(profile: &Profile, arch: Arch, name: &str, args: &[u64; 6]) -> Action {
    let syscall = Syscall::named(name).unwrap();
    let rules = || profile.rules.iter().filter(|rule| rule.syscalls.contains(&syscall));
    let matches = |rule: &&Rule| {
        let repeats = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
        if repeats {
            rule.args.iter().any(|arg| holds(arg, args, arch))
        } else {
            rule.args.iter().all(|arg| holds(arg, args, arch))
        }
    };
    let plain = rules().find(|rule| rule.args.is_empty()).map(|rule| rule.action);
    let strictest = rules()
        .filter(|rule| !rule.args.is_empty())
        .filter(matches)
        .map(|rule| rule.action)
        .min_by_key(|action| action.leniency());
    match (plain, strictest) {
        (Some(plain), Some(strict)) if strict.leniency() < plain.leniency() => strict,
        (Some(plain), _) => plain,
        (None, Some(strict)) => strict,
        (None, None) => profile.default_action,
    }
}

fn check(profile: &Profile, args: [u64; 6]) -> Result<(), TestCaseError> {
    let context = Context { caps: 0, native: Arch::X86_64, kernel: (6, 18) };
    let filter = compile(profile, &context).unwrap();
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for name in NAMES {
            let Some(nr) = Syscall::named(name).unwrap().number(arch) else { continue };
            let args = if arch.is_wide() { args } else { args.map(|arg| arg & 0xffff_ffff) };
            let data = SeccompData { nr, arch: arch.audit(), args, ..SeccompData::default() };
            let wanted = meaning(profile, arch, name, &args);
            prop_assert_eq!(evaluate(&filter.program, &data), wanted, "{:?} {} {:x?}", arch, name, args);
        }
    }
    Ok(())
}

fn args() -> impl Strategy<Value = [u64; 6]> {
    let near = (select(&VALUES[..]), -1i64..=1).prop_map(|(value, by)| value.wrapping_add_signed(by));
    proptest::array::uniform6(prop_oneof![near, any::<u64>()])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_few_rules(profile in profile(8), all in vec(args(), 8)) {
        for args in all {
            check(&profile, args)?;
        }
    }

    #[test]
    fn what_is_read_is_what_was_written(profile in profile(8)) {
        prop_assume!(profile.default_action != Action::Notify);
        prop_assert_eq!(Profile::from_json(profile.to_json().as_bytes()).unwrap(), profile);
    }

    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Profile::from_json(&bytes);
        let _ = corten_seccomp::Filter::from_bytes(&bytes);
    }

    /// Whatever the instructions, the machine ends.
    #[test]
    fn any_program_ends(words in vec(any::<(u8, u8, u8, u8)>(), 0..60)) {
        let program: Vec<_> = words
            .into_iter()
            .map(|(code, jt, jf, k)| corten_seccomp::Insn { code: code.into(), jt: jt % 8, jf: jf % 8, k: k.into() })
            .collect();
        evaluate(&program, &SeccompData::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() })]

    /// Enough that trees grow beyond their budget and far beyond one jump.
    #[test]
    fn many_rules(profile in profile(60), all in vec(args(), 8)) {
        for args in all {
            check(&profile, args)?;
        }
    }
}
