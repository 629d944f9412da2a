//! Device rules as a BPF program, which is what cgroup2 has in place of v1's devices controller.
//!
//! The program is asked with `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`, where
//! `access_type` is access in the upper half and kind in the lower. It goes through the rules from the
//! last to the first with the set of accesses still undecided in r3:
//!
//! ```text
//! r1 context  r2 kind  r3 access undecided  r4 major  r5 minor
//! each rule:  kind, major, minor differ -> next rule
//!   deny:     r3 & access != 0          -> return 0
//!   allow:    r3 &= !access; r3 == 0    -> return 1
//! end:        return 0
//! ```
//!
//! So each access is decided by the last rule that names it: what the list says, which v1 cannot hold.
//! Sources: linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst, cgroup-v2.rst "Device controller".

use std::os::fd::AsFd;
use std::path::Path;

use corten_sys::bpf::{self, Insn};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Access, DeviceKind, DeviceRule};
use crate::error::{Call, Result};

/// By this name an update knows its predecessor.
const NAME: &str = "corten_devices";

mod op {
    pub(super) const LDX_W: u8 = 0x61;
    pub(super) const MOV64_K: u8 = 0xb7;
    pub(super) const MOV64_X: u8 = 0xbf;
    pub(super) const AND32_K: u8 = 0x54;
    pub(super) const RSH32_K: u8 = 0x74;
    pub(super) const JEQ32_K: u8 = 0x16;
    pub(super) const JNE32_K: u8 = 0x56;
    pub(super) const EXIT: u8 = 0x95;
}

/// linux/bpf.h: BPF_DEVCG_DEV_BLOCK, _CHAR.
fn kind_number(kind: DeviceKind) -> Option<i32> {
    match kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(1),
        DeviceKind::Char => Some(2),
    }
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, regs: dst | src << 4, off, imm }
}

/// The program of a rule list.
pub(crate) fn assemble(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut program = vec![
        insn(op::LDX_W, 2, 1, 0, 0),
        insn(op::MOV64_X, 3, 2, 0, 0),
        insn(op::RSH32_K, 3, 0, 0, 16),
        insn(op::AND32_K, 2, 0, 0, 0xffff),
        insn(op::LDX_W, 4, 1, 4, 0),
        insn(op::LDX_W, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(block(rule));
        // The rules before this one can decide nothing more, and the verifier refuses dead code.
        if rule.is_everything() && rule.access == Access::ALL {
            break;
        }
    }
    program.extend([insn(op::MOV64_K, 0, 0, 0, 0), insn(op::EXIT, 0, 0, 0, 0)]);
    program
}

fn block(rule: &DeviceRule) -> Vec<Insn> {
    let tests =
        [(2, kind_number(rule.kind)), (4, rule.major.map(|n| n as i32)), (5, rule.minor.map(|n| n as i32))];
    let tests: Vec<_> = tests.into_iter().filter_map(|(reg, value)| Some((reg, value?))).collect();
    let access = i32::from(rule.access.bits());
    let verdict = |value| [insn(op::MOV64_K, 0, 0, 0, value), insn(op::EXIT, 0, 0, 0, 0)];
    let decide = if rule.allow {
        let mut code = vec![insn(op::AND32_K, 3, 0, 0, !access), insn(op::JNE32_K, 3, 0, 2, 0)];
        code.extend(verdict(1));
        code
    } else {
        let mut code = vec![insn(op::MOV64_X, 0, 3, 0, 0), insn(op::AND32_K, 0, 0, 0, access)];
        code.push(insn(op::JEQ32_K, 0, 0, 2, 0));
        code.extend(verdict(0));
        code
    };
    let length = tests.len() + decide.len();
    let skip =
        |(i, (reg, value)): (usize, (u8, i32))| insn(op::JNE32_K, reg, 0, (length - i - 1) as i16, value);
    tests.into_iter().enumerate().map(skip).chain(decide).collect()
}

/// Loads the program and attaches it to the cgroup, in the place of ours that is there already: at no
/// moment is there none. Programs of others (systemd's) stay; the kernel asks all of them.
pub(crate) fn install(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    let failed = |command: &'static str| move |e: Errno| Call::Bpf(command, dir.to_owned()).failed(e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup =
        rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| Call::Open(dir.to_owned()).failed(e))?;
    let program = bpf::prog_load(bpf::PROG_TYPE_CGROUP_DEVICE, &assemble(rules), "Apache-2.0", NAME)
        .map_err(failed("BPF_PROG_LOAD"))?;
    let mut ours = Vec::new();
    for id in bpf::prog_query(&cgroup, bpf::CGROUP_DEVICE).map_err(failed("BPF_PROG_QUERY"))? {
        let fd = match bpf::prog_get_fd_by_id(id) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(failed("BPF_PROG_GET_FD_BY_ID")(e)),
        };
        if bpf::prog_name(&fd).map_err(failed("BPF_OBJ_GET_INFO_BY_FD"))? == NAME {
            ours.push(fd);
        }
    }
    let old = ours.first().map(AsFd::as_fd);
    bpf::prog_attach_multi(&cgroup, &program, bpf::CGROUP_DEVICE, old).map_err(failed("BPF_PROG_ATTACH"))
}

#[cfg(test)]
#[path = "bpf_tests.rs"]
mod tests;
