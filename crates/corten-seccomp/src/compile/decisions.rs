//! What each system call comes to, before any instruction: the rules whose conditions hold, settled by the
//! order of [`crate::profile`].

use super::{Context, ENOSYS};
use crate::action::Action;
use crate::bpf::MAX_INSNS;
use crate::error::Error;
use crate::profile::{Comparison, Profile, Rule};
use crate::table::Syscall;

/// All of a profile, decided.
pub(super) struct Decisions {
    pub(super) per_syscall: Vec<Decision>,
    pub(super) by_arguments: Vec<ByArguments>,
    /// For a number that is in no table.
    pub(super) unknown: Action,
    /// Some call is handed to a listener.
    pub(super) notify: bool,
    pub(super) unknown_names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Decision {
    /// This return value.
    Always(u32),
    /// An index into [`Decisions::by_arguments`].
    ByArguments(usize),
}

/// The first case that matches decides.
#[derive(PartialEq)]
pub(super) struct ByArguments {
    pub(super) cases: Vec<Case>,
    pub(super) otherwise: u32,
}

/// All comparisons hold → this return value. No two are of the same argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    pub(super) comparisons: Vec<Comparison>,
    pub(super) ret: u32,
}

impl Decisions {
    pub(super) fn of(profile: &Profile, context: &Context) -> Result<Self, Error> {
        let default = profile.default_action;
        let mut decisions = Self {
            per_syscall: vec![Decision::Always(default.to_ret()); Syscall::COUNT],
            by_arguments: Vec::new(),
            unknown: if matches!(default, Action::Errno(_)) { Action::Errno(ENOSYS) } else { default },
            notify: false,
            unknown_names: Vec::new(),
        };
        let native = context.native.of_kernel()[0].name();
        let mut decided = [false; Syscall::COUNT];
        let mut with_arguments: Vec<(Syscall, &Rule)> = Vec::new();
        for rule in profile.rules.iter() {
            if !rule.when.holds(context.caps, native, context.kernel) {
                continue;
            }
            decisions.notify |= rule.action == Action::Notify && !rule.syscalls.is_empty();
            decisions.unknown_names.extend(rule.unknown.iter().cloned());
            if !rule.args.is_empty() {
                with_arguments.extend(rule.syscalls.iter().map(|syscall| (*syscall, rule)));
                continue;
            }
            for syscall in rule.syscalls.iter() {
                if !std::mem::replace(&mut decided[syscall.index()], true) {
                    decisions.per_syscall[syscall.index()] = Decision::Always(rule.action.to_ret());
                }
            }
        }
        // Stable: rules of one call stay in the document's order.
        with_arguments.sort_by_key(|(syscall, _)| *syscall);
        for rules in with_arguments.chunk_by(|(left, _), (right, _)| left == right) {
            decisions.settle(rules, decided[rules[0].0.index()])?;
        }
        decisions.unknown_names.sort_unstable();
        decisions.unknown_names.dedup();
        Ok(decisions)
    }

    /// The rules with arguments of one call, over what rules without have decided for it.
    fn settle(&mut self, rules: &[(Syscall, &Rule)], covered: bool) -> Result<(), Error> {
        let syscall = rules[0].0;
        let Decision::Always(otherwise) = self.per_syscall[syscall.index()] else {
            unreachable!("a call is settled once")
        };
        let base = Action::from_ret(otherwise).leniency();
        let mut rules: Vec<&Rule> = rules
            .iter()
            .map(|(_, rule)| *rule)
            .filter(|rule| !covered || rule.action.leniency() < base)
            .collect();
        rules.sort_by_key(|rule| rule.action.leniency());
        let mut cases = Vec::new();
        for rule in rules {
            let ret = rule.action.to_ret();
            if rule.is_any() {
                cases.extend(rule.args.iter().map(|arg| Case { comparisons: vec![*arg], ret }));
            } else {
                cases.push(Case { comparisons: rule.args.to_vec(), ret });
            }
            // Each takes an instruction at least; and this bounds what compiling a hostile profile costs.
            if cases.len() > MAX_INSNS {
                return Err(Error::TooLong { insns: cases.len() });
            }
        }
        if cases.is_empty() {
            return Ok(());
        }
        let settled = ByArguments { cases, otherwise };
        let at = self.by_arguments.iter().position(|other| *other == settled).unwrap_or_else(|| {
            self.by_arguments.push(settled);
            self.by_arguments.len() - 1
        });
        self.per_syscall[syscall.index()] = Decision::ByArguments(at);
        Ok(())
    }
}
