//! A classic BPF machine: what a filter says of a call, here and not in the kernel.
//!
//! For tests, and for `inspect`, which judges the filter that a process runs under
//! (PTRACE_SECCOMP_GET_FILTER). The instructions are those that kernel/seccomp.c `seccomp_check_filter`
//! lets through.

use crate::action::Action;
use crate::bpf::{DATA_BYTES, Insn, MAX_INSNS};

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeccompData {
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    pub instruction_pointer: u64,
    pub args: [u64; 6],
}

/// What a program came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation {
    pub action: Action,
    /// Instructions run.
    pub steps: usize,
}

/// What the filter does to the call. A program that the kernel would not have taken kills the process.
pub fn evaluate(program: &[Insn], data: &SeccompData) -> Action {
    run(program, data).map_or(Action::KillProcess, |evaluation| evaluation.action)
}

/// `None` for a program that the kernel would not have taken.
pub fn run(program: &[Insn], data: &SeccompData) -> Option<Evaluation> {
    if program.len() > MAX_INSNS {
        return None;
    }
    let mut machine = Machine { data, a: 0, x: 0, memory: [0; 16] };
    let mut at = 0usize;
    // Jumps go forward only, so each step is nearer to the end.
    for steps in 1.. {
        let insn = program.get(at)?;
        match machine.step(insn)? {
            Next::Skip(insns) => at = at.checked_add(1)?.checked_add(insns as usize)?,
            Next::Return(ret) => return Some(Evaluation { action: Action::from_ret(ret), steps }),
        }
    }
    None
}

struct Machine<'a> {
    data: &'a SeccompData,
    a: u32,
    x: u32,
    memory: [u32; 16],
}

enum Next {
    Skip(u32),
    Return(u32),
}

// linux/bpf_common.h: the class is in the lowest three bits.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
// The source bit of ALU and JMP: k or X.
const X: u16 = 0x08;

impl Machine<'_> {
    fn step(&mut self, insn: &Insn) -> Option<Next> {
        let Insn { code, k, .. } = *insn;
        if code > 0xff {
            return None;
        }
        let operand = if code & X != 0 { self.x } else { k };
        match (code & 0x07, code & 0xf8) {
            (LD, mode) => self.a = self.load(mode, k)?,
            // seccomp_data by offset is for A only.
            (LDX, 0x20) => return None,
            (LDX, mode) => self.x = self.load(mode, k)?,
            (ST, 0) => *self.memory.get_mut(k as usize)? = self.a,
            (STX, 0) => *self.memory.get_mut(k as usize)? = self.x,
            // A division by X = 0 ends the program with 0.
            (ALU, 0x38) if operand == 0 => return Some(Next::Return(0)),
            (ALU, operation) => self.a = alu(operation, self.a, operand)?,
            (JMP, 0) => return Some(Next::Skip(k)),
            (JMP, comparison) => {
                let holds = match comparison & !X {
                    0x10 => self.a == operand,
                    0x20 => self.a > operand,
                    0x30 => self.a >= operand,
                    0x40 => self.a & operand != 0,
                    _ => return None,
                };
                return Some(Next::Skip(if holds { insn.jt } else { insn.jf }.into()));
            }
            (RET, 0) => return Some(Next::Return(k)),
            (RET, 0x10) => return Some(Next::Return(self.a)),
            (MISC, 0) => self.x = self.a,
            (MISC, 0x80) => self.a = self.x,
            _ => return None,
        }
        Some(Next::Skip(0))
    }

    /// Size W in every mode.
    fn load(&self, mode: u16, k: u32) -> Option<u32> {
        match mode {
            0x00 => Some(k),
            0x20 => self.word(k),
            0x60 => self.memory.get(k as usize).copied(),
            0x80 => Some(DATA_BYTES),
            _ => None,
        }
    }

    fn word(&self, offset: u32) -> Option<u32> {
        if offset >= DATA_BYTES || !offset.is_multiple_of(4) {
            return None;
        }
        let half = |value: u64| if offset.is_multiple_of(8) { value as u32 } else { (value >> 32) as u32 };
        Some(match offset {
            0 => self.data.nr,
            4 => self.data.arch,
            8 | 12 => half(self.data.instruction_pointer),
            _ => half(self.data.args[(offset as usize - 16) / 8]),
        })
    }
}

fn alu(operation: u16, a: u32, operand: u32) -> Option<u32> {
    // Constants that are refused: a divisor of 0, a shift of 32 and more.
    let constant_shift = operation & X == 0 && operand > 31;
    Some(match operation & !X {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 | 0x70 if constant_shift => return None,
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        0x80 => a.wrapping_neg(),
        0xa0 => a ^ operand,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    #[test]
    fn words_of_seccomp_data_are_where_the_kernel_has_them() {
        let data = SeccompData {
            nr: 1,
            arch: 2,
            instruction_pointer: 4 << 32 | 3,
            args: [6 << 32 | 5, 8 << 32 | 7, 10 << 32 | 9, 12 << 32 | 11, 14 << 32 | 13, 16 << 32 | 15],
        };
        for word in 0..16 {
            let program =
                [insn(0x20, 0, 0, word * 4), insn(0x15, 0, 1, word + 1), insn(6, 0, 0, 0x7fff_0000)];
            assert_eq!(run(&program, &data), Some(Evaluation { action: Action::Allow, steps: 3 }), "{word}");
        }
    }

    #[test]
    fn registers_memory_and_arithmetic() {
        // M[3] = 40; X = 40; A = (2 + X) ^ 1 = 43; M[4] = X; A = A - M[4] = 3; return A << 16: TRAP.
        let program = [
            insn(0x00, 0, 0, 40),
            insn(0x02, 0, 0, 3),
            insn(0x61, 0, 0, 3),
            insn(0x00, 0, 0, 2),
            insn(0x0c, 0, 0, 0),
            insn(0xa4, 0, 0, 1),
            insn(0x03, 0, 0, 4),
            insn(0x61, 0, 0, 4),
            insn(0x1c, 0, 0, 0),
            insn(0x64, 0, 0, 16),
            insn(0x16, 0, 0, 0),
        ];
        assert_eq!(evaluate(&program, &SeccompData::default()), Action::Trap);
    }

    #[test]
    fn a_malformed_program_kills() {
        let data = SeccompData::default();
        for program in [
            &[][..],
            &[insn(0x20, 0, 0, 64)],
            &[insn(0x20, 0, 0, 2)],
            &[insn(0x05, 0, 0, u32::MAX)],
            &[insn(0x15, 3, 3, 0)],
            &[insn(0xffff, 0, 0, 0)],
            &[insn(0x34, 0, 0, 0)],
            &[insn(0x02, 0, 0, 16)],
        ] {
            assert_eq!(run(program, &data), None, "{program:?}");
            assert_eq!(evaluate(program, &data), Action::KillProcess);
        }
    }
}
