//! Cases over arguments → a decision tree.
//!
//! One argument is looked at at a time. The comparisons that cases make of it cut its values into ranges;
//! in each range some cases are left, with that comparison done; for those the tree goes on. So a call is
//! decided in as many halvings as there are ranges, not in as many comparisons as there are cases. A mask
//! gives no ranges: it is one test with two ways on.
//!
//! The tree of cases that are all over different arguments can be exponential; beyond a budget the cases are
//! tested one after the other instead.

use super::assembler::{Assembler, Goto};
use super::decisions::Decisions;
use super::test::{Test, Tests};
use crate::bpf::{JEQ_K, MAX_INSNS, arg_high, arg_low};

/// How many ranges the tree of one call may have.
pub(super) const BUDGET: usize = 512;
/// As a budget: everything one after the other.
pub(super) const NO_TREES: usize = 0;
/// With more cases than this the tree is not tried.
const MOST_CASES: usize = 128;

/// Writes each decision once for 64-bit and once for 32-bit ABIs, on demand.
pub(super) struct Emitter<'a> {
    decisions: &'a Decisions,
    budget: usize,
    /// Narrow and wide.
    written: Vec<[Option<Goto>; 2]>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(decisions: &'a Decisions, budget: usize) -> Self {
        Self { decisions, budget, written: vec![[None; 2]; decisions.by_arguments.len()] }
    }

    pub(super) fn emit(&mut self, asm: &mut Assembler, at: usize, wide: bool) -> Goto {
        if let Some(goto) = self.written[at][wide as usize] {
            return goto;
        }
        let decision = &self.decisions.by_arguments[at];
        if asm.len() > MAX_INSNS {
            // It cannot become shorter again: what a hostile profile may cost ends here.
            return Goto::Ret(decision.otherwise);
        }
        let tests: Vec<Tests> = decision.cases.iter().filter_map(|case| Tests::of(case, wide)).collect();
        let otherwise = Goto::Ret(decision.otherwise);
        let mut tree = Tree { tests: &tests, otherwise, wide, left: self.budget, written: Vec::new() };
        let planned = if tests.len() <= MOST_CASES { tree.plan(tree.all()) } else { None };
        let goto = match planned {
            Some(plan) => tree.write(asm, &plan),
            None => linear(asm, &tests, otherwise, wide),
        };
        self.written[at][wide as usize] = Some(goto);
        goto
    }
}

/// Cases that can still match, in order: which, and the arguments that they still ask about.
type State = Vec<(u16, u8)>;

struct Tree<'a> {
    tests: &'a [Tests],
    otherwise: Goto,
    wide: bool,
    /// What is left of [`BUDGET`].
    left: usize,
    /// Few, so looked through.
    written: Vec<(State, Goto)>,
}

/// The tree before it is written, so that one too large leaves no instructions behind.
enum Plan {
    End(Goto),
    /// Ranges of an argument by their start.
    Ranges {
        state: State,
        index: u8,
        ranges: Vec<(u64, Plan)>,
    },
    Mask {
        state: State,
        index: u8,
        mask: u64,
        value: u64,
        holds: Box<Plan>,
        fails: Box<Plan>,
    },
}

impl Tree<'_> {
    fn all(&self) -> State {
        let asked = |tests: &Tests| {
            (0..6).filter(|at| tests.by_argument[*at].is_some()).fold(0, |set, at| set | 1 << at)
        };
        self.cut((0..).zip(self.tests.iter().map(asked)).collect())
    }

    /// Cases after one that asks nothing more are never reached.
    fn cut(&self, mut state: State) -> State {
        if let Some(last) = state.iter().position(|(_, asked)| *asked == 0) {
            state.truncate(last + 1);
        }
        state
    }

    /// `None` beyond the budget.
    fn plan(&mut self, state: State) -> Option<Plan> {
        let Some(&(first, asked)) = state.first() else { return Some(Plan::End(self.otherwise)) };
        if asked == 0 {
            return Some(Plan::End(self.tests[first as usize].ret));
        }
        let index = asked.trailing_zeros() as u8;
        match self.tests[first as usize].by_argument[index as usize] {
            Some(Test::Masked { mask, value }) => {
                self.left = self.left.checked_sub(2)?;
                let test = Test::Masked { mask, value };
                let holds = Box::new(self.plan(self.with_mask(&state, index, test, true))?);
                let fails = Box::new(self.plan(self.with_mask(&state, index, test, false))?);
                Some(Plan::Mask { state, index, mask, value, holds, fails })
            }
            _ => {
                let mut ranges: Vec<(u64, State)> = Vec::new();
                for start in self.starts(&state, index) {
                    let next = self.in_range(&state, index, start);
                    if ranges.last().is_none_or(|(_, last)| *last != next) {
                        ranges.push((start, next));
                    }
                }
                self.left = self.left.checked_sub(ranges.len())?;
                let planned = ranges.into_iter().map(|(start, next)| Some((start, self.plan(next)?)));
                let ranges = planned.collect::<Option<Vec<_>>>()?;
                Some(Plan::Ranges { state, index, ranges })
            }
        }
    }

    /// Where a test of the argument changes its answer; 0 among them.
    fn starts(&self, state: &State, index: u8) -> Vec<u64> {
        let mut starts = vec![0];
        for (case, asked) in state {
            match self.tests[*case as usize].by_argument[index as usize] {
                Some(Test::Within(low, high) | Test::Outside(low, high)) if asked & 1 << index != 0 => {
                    starts.push(low);
                    starts.extend(high.checked_add(1).filter(|next| self.wide || *next <= u32::MAX.into()));
                }
                _ => {}
            }
        }
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    fn in_range(&self, state: &State, index: u8, start: u64) -> State {
        let left = state.iter().filter_map(|&(case, asked)| {
            let test = self.tests[case as usize].by_argument[index as usize];
            let answer =
                test.filter(|_| asked & 1 << index != 0).and_then(|test| test.holds_in_range_at(start));
            match answer {
                None => Some((case, asked)),
                Some(true) => Some((case, asked & !(1 << index))),
                Some(false) => None,
            }
        });
        self.cut(left.collect())
    }

    fn with_mask(&self, state: &State, index: u8, test: Test, holds: bool) -> State {
        let left = state.iter().filter_map(|&(case, asked)| {
            let same = self.tests[case as usize].by_argument[index as usize] == Some(test);
            match same && asked & 1 << index != 0 {
                true => holds.then_some((case, asked & !(1 << index))),
                false => Some((case, asked)),
            }
        });
        self.cut(left.collect())
    }

    fn write(&mut self, asm: &mut Assembler, plan: &Plan) -> Goto {
        let state = match plan {
            Plan::End(goto) => return *goto,
            Plan::Ranges { state, .. } | Plan::Mask { state, .. } => state,
        };
        if let Some((_, goto)) = self.written.iter().find(|(written, _)| written == state) {
            return *goto;
        }
        let goto = match plan {
            Plan::End(goto) => *goto,
            Plan::Ranges { index, ranges, .. } => {
                let mut targets: Vec<(u64, Goto)> =
                    ranges.iter().map(|(start, plan)| (*start, self.write(asm, plan))).collect();
                targets.dedup_by(|next, previous| next.1 == previous.1);
                search_argument(asm, *index, &targets, self.wide)
            }
            Plan::Mask { index, mask, value, holds, fails, .. } => {
                let (holds, fails) = (self.write(asm, holds), self.write(asm, fails));
                test_mask(asm, *index, (*mask, *value), holds, fails, self.wide)
            }
        };
        self.written.push((state.clone(), goto));
        goto
    }
}

/// Finds an argument among ranges given by their start; no two neighbours lead to the same.
fn search_argument(asm: &mut Assembler, index: u8, ranges: &[(u64, Goto)], wide: bool) -> Goto {
    if let [(_, only)] = ranges {
        return *only;
    }
    let half = |range: &(u64, Goto)| (range.0 as u32, range.1);
    if !wide {
        let low: Vec<(u32, Goto)> = ranges.iter().map(half).collect();
        let tree = asm.search(&low);
        return asm.load(arg_low(index), tree);
    }
    // Ranges of the upper half. Where one begins within an upper half, that value has a tree of its own.
    let mut upper: Vec<(u32, Goto)> = Vec::new();
    let mut before = ranges[0].1;
    for same in ranges.chunk_by(|left, right| left.0 >> 32 == right.0 >> 32) {
        let high = (same[0].0 >> 32) as u32;
        let mut low: Vec<(u32, Goto)> = same.iter().map(half).collect();
        if low[0].0 != 0 {
            low.insert(0, (0, before));
        }
        before = low[low.len() - 1].1;
        let goto = if low.len() == 1 {
            before
        } else {
            let tree = asm.search(&low);
            asm.load(arg_low(index), tree)
        };
        if upper.last().is_some_and(|(start, _)| *start == high) {
            upper.pop();
        }
        upper.push((high, goto));
        if let Some(next) = high.checked_add(1)
            && goto != before
        {
            upper.push((next, before));
        }
    }
    if upper.len() == 1 {
        return upper[0].1;
    }
    let tree = asm.search(&upper);
    asm.load(arg_high(index), tree)
}

fn test_mask(
    asm: &mut Assembler,
    index: u8,
    (mask, value): (u64, u64),
    holds: Goto,
    fails: Goto,
    wide: bool,
) -> Goto {
    let mut goto = holds;
    let high = wide.then_some((arg_high(index), (mask >> 32) as u32, (value >> 32) as u32));
    for (offset, mask, value) in [(arg_low(index), mask as u32, value as u32)].into_iter().chain(high) {
        if mask != 0 {
            let compare = asm.branch(JEQ_K, value, goto, fails);
            let masked = asm.mask(mask, compare);
            goto = asm.load(offset, masked);
        }
    }
    goto
}

/// One case after the other.
fn linear(asm: &mut Assembler, tests: &[Tests], otherwise: Goto, wide: bool) -> Goto {
    let mut next = otherwise;
    for case in tests.iter().rev() {
        let mut goto = case.ret;
        for (index, test) in (0u8..6).zip(case.by_argument).rev() {
            goto = match test {
                None => goto,
                Some(Test::Within(low, high)) => test_range(asm, index, (low, high), goto, next, wide),
                Some(Test::Outside(low, high)) => test_range(asm, index, (low, high), next, goto, wide),
                Some(Test::Masked { mask, value }) => test_mask(asm, index, (mask, value), goto, next, wide),
            };
        }
        next = goto;
    }
    next
}

fn test_range(
    asm: &mut Assembler,
    index: u8,
    (low, high): (u64, u64),
    holds: Goto,
    fails: Goto,
    wide: bool,
) -> Goto {
    if holds == fails {
        return holds;
    }
    let mut ranges = vec![(0, fails)];
    if low == 0 {
        ranges.clear();
    }
    ranges.push((low, holds));
    let most = if wide { u64::MAX } else { u32::MAX.into() };
    if high < most {
        ranges.push((high + 1, fails));
    }
    search_argument(asm, index, &ranges, wide)
}

#[cfg(test)]
mod tests {
    use super::super::decisions::Case;
    use super::*;
    use crate::action::Action;
    use crate::eval::{SeccompData, evaluate};
    use crate::profile::{Comparison, Op};

    const EDGES: [u64; 9] =
        [0, 1, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x7_ffff_ffff, u64::MAX - 1, u64::MAX];

    fn meaning(comparison: &Comparison, argument: u64) -> bool {
        let Comparison { op, value, value_two, .. } = *comparison;
        match op {
            Op::Ne => argument != value,
            Op::Lt => argument < value,
            Op::Le => argument <= value,
            Op::Eq => argument == value,
            Op::Ge => argument >= value,
            Op::Gt => argument > value,
            Op::MaskedEq => argument & value == value_two & value,
        }
    }

    /// Every operator at every edge of the two halves, as a tree and one after the other.
    #[test]
    fn sixty_four_bit_comparisons_are_exact() {
        for (_, op) in Op::NAMES {
            for (value, value_two) in EDGES.into_iter().flat_map(|value| EDGES.map(|two| (value, two))) {
                let comparison = Comparison { index: 3, op, value, value_two };
                let case = Case { comparisons: vec![comparison], ret: Action::Allow.to_ret() };
                let tests: Vec<Tests> = Tests::of(&case, true).into_iter().collect();
                let otherwise = Goto::Ret(Action::Trap.to_ret());
                let mut programs = Vec::new();
                let mut asm = Assembler::default();
                let entry = linear(&mut asm, &tests, otherwise, true);
                programs.push(asm.finish(entry));
                let mut tree =
                    Tree { tests: &tests, otherwise, wide: true, left: BUDGET, written: Vec::new() };
                let plan = tree.plan(tree.all()).unwrap();
                let mut asm = Assembler::default();
                let entry = tree.write(&mut asm, &plan);
                programs.push(asm.finish(entry));
                for argument in EDGES {
                    let expected = if meaning(&comparison, argument) { Action::Allow } else { Action::Trap };
                    let data = SeccompData { args: [0, 0, 0, argument, 0, 0], ..SeccompData::default() };
                    for program in &programs {
                        assert_eq!(evaluate(program, &data), expected, "{comparison:?} of {argument:#x}");
                    }
                }
            }
        }
    }
}
