//! Comparisons → tests, for one width of register: every operator becomes a range or a mask, and what always
//! comes out the same is gone.

use super::assembler::Goto;
use super::decisions::Case;
use crate::profile::{Comparison, Op};

/// What one comparison asks of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// At least the first, at most the second.
    Within(u64, u64),
    /// Not so; the range is neither empty nor everything.
    Outside(u64, u64),
    /// The argument under the mask is the value.
    Masked { mask: u64, value: u64 },
}

/// A comparison that can come out either way, or how it always does.
enum Folded {
    Test(Test),
    Always(bool),
}

impl Test {
    fn of(comparison: &Comparison, wide: bool) -> Folded {
        let most = if wide { u64::MAX } else { u32::MAX.into() };
        let (value, two) = (comparison.value & most, comparison.value_two & most);
        let within = |range: Option<(u64, u64)>| match range {
            None => Folded::Always(false),
            Some((0, high)) if high == most => Folded::Always(true),
            Some((low, high)) => Folded::Test(Self::Within(low, high)),
        };
        match comparison.op {
            Op::Eq => within(Some((value, value))),
            Op::Ne => Folded::Test(Self::Outside(value, value)),
            Op::Lt => within(value.checked_sub(1).map(|high| (0, high))),
            Op::Le => within(Some((0, value))),
            Op::Ge => within(Some((value, most))),
            Op::Gt => within((value < most).then(|| (value + 1, most))),
            Op::MaskedEq if value == 0 => Folded::Always(true),
            Op::MaskedEq if value == most => within(Some((two, two))),
            Op::MaskedEq => Folded::Test(Self::Masked { mask: value, value: two & value }),
        }
    }

    /// `None` for a mask.
    pub(super) fn holds_in_range_at(self, argument: u64) -> Option<bool> {
        match self {
            Self::Within(low, high) => Some((low..=high).contains(&argument)),
            Self::Outside(low, high) => Some(!(low..=high).contains(&argument)),
            Self::Masked { .. } => None,
        }
    }
}

/// A case as tests, one an argument at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tests {
    pub(super) by_argument: [Option<Test>; 6],
    pub(super) ret: Goto,
}

impl Tests {
    /// `None` if the case never matches.
    pub(super) fn of(case: &Case, wide: bool) -> Option<Self> {
        let mut by_argument = [None; 6];
        for comparison in &case.comparisons {
            match Test::of(comparison, wide) {
                Folded::Test(test) => by_argument[comparison.index as usize] = Some(test),
                Folded::Always(true) => {}
                Folded::Always(false) => return None,
            }
        }
        Some(Self { by_argument, ret: Goto::Ret(case.ret) })
    }
}
