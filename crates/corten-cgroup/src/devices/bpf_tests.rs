//! The program against the words of the rules, by an interpreter of the few instructions that it uses.

use corten_sys::bpf::Insn;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
struct Request {
    kind: DeviceKind,
    major: u32,
    minor: u32,
    access: u8,
}

/// Runs the program; panics at what the kernel's verifier would refuse.
fn run(program: &[Insn], request: Request) -> bool {
    let kind = kind_number(request.kind).unwrap() as u32;
    let context = [u32::from(request.access) << 16 | kind, request.major, request.minor];
    let mut regs: [Option<u64>; 11] = [None; 11];
    let mut at = 0;
    for _ in 0..program.len() {
        let i = &program[at];
        let (dst, src) = (usize::from(i.regs & 15), usize::from(i.regs >> 4));
        let low = |reg: usize, regs: &[Option<u64>; 11]| regs[reg].expect("register was set") as u32;
        let jump = |taken: bool| if taken { usize::try_from(i.off).expect("forward") } else { 0 };
        at += 1;
        match i.code {
            op::LDX_W => {
                assert_eq!((src, i.off % 4), (1, 0));
                regs[dst] = Some(context[usize::try_from(i.off).unwrap() / 4].into());
            }
            op::MOV64_K => regs[dst] = Some(i64::from(i.imm) as u64),
            op::MOV64_X => regs[dst] = Some(regs[src].expect("register was set")),
            op::AND32_K => regs[dst] = Some((low(dst, &regs) & i.imm as u32).into()),
            op::RSH32_K => regs[dst] = Some((low(dst, &regs) >> i.imm).into()),
            op::JEQ32_K => at += jump(low(dst, &regs) == i.imm as u32),
            op::JNE32_K => at += jump(low(dst, &regs) != i.imm as u32),
            op::EXIT => return regs[0].expect("r0 was set") == 1,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
    panic!("no exit");
}

/// Each access by itself: the last rule that names it decides; none denies.
fn allowed(rules: &[DeviceRule], request: Request) -> bool {
    [1, 2, 4].into_iter().filter(|bit| request.access & bit != 0).all(|bit| {
        let names = |r: &&DeviceRule| {
            (r.kind == DeviceKind::All || r.kind == request.kind)
                && r.major.is_none_or(|n| n == request.major)
                && r.minor.is_none_or(|n| n == request.minor)
                && r.access.bits() & bit != 0
        };
        rules.iter().rev().find(names).is_some_and(|r| r.allow)
    })
}

fn access() -> impl Strategy<Value = Access> {
    (1u8..8).prop_map(|bits| {
        let all = [Access::MKNOD, Access::READ, Access::WRITE];
        all.into_iter().filter(|a| a.bits() & bits != 0).fold(Access::NONE, Access::union)
    })
}

fn rule() -> impl Strategy<Value = DeviceRule> {
    let kind = prop_oneof![Just(DeviceKind::All), Just(DeviceKind::Char), Just(DeviceKind::Block)];
    let number = || prop_oneof![Just(None), (0u32..3).prop_map(Some), Just(Some(u32::MAX))];
    (any::<bool>(), kind, number(), number(), access())
        .prop_map(|(allow, kind, major, minor, access)| DeviceRule { allow, kind, major, minor, access })
}

fn request() -> impl Strategy<Value = Request> {
    let kind = prop_oneof![Just(DeviceKind::Char), Just(DeviceKind::Block)];
    let number = || prop_oneof![0u32..3, Just(u32::MAX)];
    (kind, number(), number(), 1u8..8).prop_map(|(kind, major, minor, access)| Request {
        kind,
        major,
        minor,
        access,
    })
}

proptest! {
    #[test]
    fn the_program_says_what_the_rules_say(
        rules in proptest::collection::vec(rule(), 0..12),
        requests in proptest::collection::vec(request(), 1..30),
    ) {
        let program = assemble(&rules);
        for r in requests {
            prop_assert_eq!(run(&program, r), allowed(&rules, r), "{:?}", r);
        }
    }

    /// Where v1 can hold a list it means the same as the program.
    #[test]
    fn both_worlds_agree(rules in proptest::collection::vec(rule(), 0..6), r in request()) {
        // One access: v1 wants a single exception to cover all that is asked, the program decides bit by bit.
        let r = Request { access: r.access & r.access.wrapping_neg(), ..r };
        if let Ok(policy) = super::super::DevicePolicy::from_rules(&rules) {
            prop_assert_eq!(policy.allows(r.kind, r.major, r.minor, r.access), allowed(&rules, r));
        }
    }
}

#[test]
fn nothing_is_allowed_without_a_rule() {
    let null = Request { kind: DeviceKind::Char, major: 1, minor: 3, access: 2 };
    assert!(!run(&assemble(&[]), null));
}

/// Dead code behind a rule that decides everything is EINVAL from the verifier of older kernels.
#[test]
fn rules_that_cannot_be_reached_are_left_out() {
    let all =
        DeviceRule { allow: false, kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };
    let null = DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(3),
        access: Access::ALL,
    };
    assert_eq!(assemble(&[null, all]), assemble(&[all]));
    assert_ne!(assemble(&[all, null]), assemble(&[null]));
}
