//! Instructions from the last to the first.
//!
//! BPF jumps forward only, and a conditional jump at most 255 instructions. Written backwards, a target
//! exists before the jump to it, so its distance is known; where it is too great, a `ret` is repeated and
//! anything else is reached over a `ja`, which takes 32 bits.

use crate::bpf::{AND_K, Insn, JA, JGE_K, LD_W_ABS, RET_K};

/// Where control goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Goto {
    /// A return value; an instruction is written for it when something near jumps there.
    Ret(u32),
    /// An instruction, counted from the end of the program.
    Insn(usize),
}

#[derive(Default)]
pub(super) struct Assembler {
    /// Reversed.
    insns: Vec<Insn>,
    /// The last `ret` written of each value.
    rets: Vec<(u32, usize)>,
}

const FARTHEST: usize = u8::MAX as usize;

impl Assembler {
    pub(super) fn len(&self) -> usize {
        self.insns.len()
    }

    /// The program, starting at the instruction that was written last.
    pub(super) fn finish(mut self, entry: Goto) -> Vec<Insn> {
        if entry != Goto::Insn(self.insns.len().wrapping_sub(1)) {
            self.near(entry, 0);
        }
        self.insns.reverse();
        self.insns
    }

    /// A = word of seccomp_data, then `next`.
    pub(super) fn load(&mut self, offset: u32, next: Goto) -> Goto {
        self.then(LD_W_ABS, offset, next)
    }

    /// A &= mask, then `next`.
    pub(super) fn mask(&mut self, mask: u32, next: Goto) -> Goto {
        if mask == u32::MAX { next } else { self.then(AND_K, mask, next) }
    }

    /// Nothing, if both ways lead to the same.
    pub(super) fn branch(&mut self, code: u16, k: u32, holds: Goto, fails: Goto) -> Goto {
        if holds == fails {
            return holds;
        }
        // The first of the two may be moved away by one instruction that the second needs.
        let fails = self.near(fails, 1);
        let holds = self.near(holds, 0);
        let at = self.insns.len();
        let skip = |target: usize| u8::try_from(at - 1 - target).expect("brought near above");
        self.push(Insn { code, jt: skip(holds), jf: skip(fails), k })
    }

    /// Finds A among ranges, each given by its start and reaching to the next; the first starts at 0.
    pub(super) fn search(&mut self, ranges: &[(u32, Goto)]) -> Goto {
        if let [(_, only)] = ranges {
            return *only;
        }
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (above, below) = (self.search(high), self.search(low));
        self.branch(JGE_K, high[0].0, above, below)
    }

    /// An instruction without a jump: `next` must come right after it.
    fn then(&mut self, code: u16, k: u32, next: Goto) -> Goto {
        let target = self.near(next, 0);
        if target + 1 != self.insns.len() {
            self.jump(target);
        }
        self.push(Insn { code, jt: 0, jf: 0, k })
    }

    /// Brings the target within reach of a conditional jump that is `slack` instructions away at most.
    fn near(&mut self, goto: Goto, slack: usize) -> usize {
        let reaches = |target: usize, len: usize| len + slack - (target + 1) <= FARTHEST;
        match goto {
            Goto::Insn(target) if reaches(target, self.insns.len()) => target,
            Goto::Insn(target) => self.jump(target),
            Goto::Ret(ret) => {
                let written = self.rets.iter().position(|(value, _)| *value == ret);
                if let Some(at) = written
                    && reaches(self.rets[at].1, self.insns.len())
                {
                    return self.rets[at].1;
                }
                let target = self.insns.len();
                self.push(Insn { code: RET_K, jt: 0, jf: 0, k: ret });
                match written {
                    Some(at) => self.rets[at].1 = target,
                    None => self.rets.push((ret, target)),
                }
                target
            }
        }
    }

    fn jump(&mut self, target: usize) -> usize {
        let at = self.insns.len();
        self.push(Insn { code: JA, jt: 0, jf: 0, k: (at - 1 - target) as u32 });
        at
    }

    fn push(&mut self, insn: Insn) -> Goto {
        self.insns.push(insn);
        Goto::Insn(self.insns.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;
    use crate::bpf::{JEQ_K, NR};
    use crate::eval::{SeccompData, evaluate};

    /// Every number its own errno, so that nothing merges and half the jumps are too far.
    #[test]
    fn a_search_finds_every_number_over_any_distance() {
        let mut asm = Assembler::default();
        let ranges: Vec<(u32, Goto)> =
            (0..1500).map(|at| (at * 2, Goto::Ret(Action::Errno(at as u16).to_ret()))).collect();
        let tree = asm.search(&ranges);
        let entry = asm.load(NR, tree);
        let program = asm.finish(entry);
        for nr in 0..3000 {
            let data = SeccompData { nr, ..SeccompData::default() };
            assert_eq!(evaluate(&program, &data), Action::Errno(nr as u16 / 2));
        }
    }

    #[test]
    fn a_far_instruction_is_reached_over_a_jump() {
        let mut asm = Assembler::default();
        let mut far = asm.branch(JEQ_K, 7, Goto::Ret(Action::Trap.to_ret()), Goto::Ret(Action::Log.to_ret()));
        let target = asm.load(NR, far);
        far = target;
        for _ in 0..600 {
            far = asm.mask(0xff, far);
        }
        let entry = asm.branch(JEQ_K, 0, target, far);
        let program = asm.finish(entry);
        for (nr, action) in [(7, Action::Trap), (6, Action::Log)] {
            assert_eq!(evaluate(&program, &SeccompData { nr, ..SeccompData::default() }), action);
        }
    }

    #[test]
    fn a_program_can_be_one_return() {
        let program = Assembler::default().finish(Goto::Ret(Action::Allow.to_ret()));
        assert_eq!(program, [Insn { code: RET_K, jt: 0, jf: 0, k: Action::Allow.to_ret() }]);
    }
}
