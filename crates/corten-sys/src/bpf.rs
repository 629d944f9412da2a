//! bpf(2), as far as a control group's device filter needs it.
//!
//! Source: linux/bpf.h. Each command takes a prefix of `union bpf_attr`; the kernel reads as many bytes
//! as it is told and takes the rest for zero, so each is a struct of its own here.

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`
pub const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`, an attach type.
pub const CGROUP_DEVICE: u32 = 6;

const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_GET_FD_BY_ID: c_long = 13;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const PROG_QUERY: c_long = 16;

const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;
/// `BPF_OBJ_NAME_LEN`
const NAME_LEN: usize = 16;
/// `BPF_CGROUP_MAX_PROGS`
const MAX_PROGS: usize = 64;

/// `struct bpf_insn`; `regs` is the destination in the lower four bits and the source in the upper.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    pub regs: u8,
    pub off: i16,
    pub imm: i32,
}

/// `BPF_PROG_LOAD`: verifies the program and gives a descriptor of it, closed on exec.
pub fn prog_load(prog_type: u32, program: &[Insn], license: &str, name: &str) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; NAME_LEN],
    }
    let license = std::ffi::CString::new(license).map_err(|_| Errno::INVAL)?;
    let attr = Attr {
        prog_type,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: name_bytes(name)?,
    };
    // SAFETY: `insns` and `license` point to memory that outlives the call and that the kernel only
    // reads, `insn_cnt` instructions and a NUL-terminated string; the layout is that of linux/bpf.h.
    unsafe { bpf_fd(PROG_LOAD, &attr) }
}

/// `BPF_PROG_ATTACH` with `BPF_F_ALLOW_MULTI`: beside the programs of others; in the place of `replace` if
/// that is given (`BPF_F_REPLACE`, Linux 5.6).
pub fn prog_attach_multi(
    cgroup: impl AsFd,
    program: impl AsFd,
    attach_type: u32,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_bpf_fd: u32,
        attach_type: u32,
        attach_flags: u32,
        replace_bpf_fd: u32,
    }
    let attr = Attr {
        target_fd: number(cgroup.as_fd()),
        attach_bpf_fd: number(program.as_fd()),
        attach_type,
        attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, number),
    };
    // SAFETY: the command reads plain numbers; the layout is that of linux/bpf.h.
    unsafe { bpf(PROG_ATTACH, &attr) }.map(drop)
}

/// `BPF_PROG_QUERY`: the ids of the programs that are attached to this very cgroup.
pub fn prog_query(cgroup: impl AsFd, attach_type: u32) -> Result<Vec<u32>, Errno> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        // The kernel writes `revision` (Linux 6.6) at the end of what it knows of the union; this is room for it.
        rest: [u32; 7],
    }
    let mut ids = [0u32; MAX_PROGS];
    let attr = Attr {
        target_fd: number(cgroup.as_fd()),
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_PROGS as u32,
        rest: [0; 7],
    };
    let mut attr = attr;
    // SAFETY: `prog_ids` points to room for `prog_cnt` ids that outlives the call, and the kernel writes
    // no more than that; it also writes into `attr`, which is borrowed as mutable.
    unsafe { bpf_mut(PROG_QUERY, &mut attr) }?;
    Ok(ids[..(attr.prog_cnt as usize).min(MAX_PROGS)].to_vec())
}

/// `BPF_PROG_GET_FD_BY_ID`: needs CAP_SYS_ADMIN or CAP_BPF.
pub fn prog_get_fd_by_id(id: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        prog_id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let attr = Attr { prog_id: id, next_id: 0, open_flags: 0 };
    // SAFETY: the command reads plain numbers; the layout is that of linux/bpf.h.
    unsafe { bpf_fd(PROG_GET_FD_BY_ID, &attr) }
}

/// The name that a program was loaded with, of `BPF_OBJ_GET_INFO_BY_FD`.
pub fn prog_name(program: impl AsFd) -> Result<String, Errno> {
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    /// `struct bpf_prog_info` up to `name`; the kernel writes no more than `info_len`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        jited_prog_len: u32,
        xlated_prog_len: u32,
        jited_prog_insns: u64,
        xlated_prog_insns: u64,
        load_time: u64,
        created_by_uid: u32,
        nr_map_ids: u32,
        map_ids: u64,
        name: [u8; NAME_LEN],
    }
    let mut info = Info::default();
    let mut attr = Attr {
        bpf_fd: number(program.as_fd()),
        info_len: size_of::<Info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` points to `info_len` bytes that outlive the call, and every bit pattern is a valid
    // `Info`; its pointers are zero, so the kernel copies no instructions or map ids out.
    unsafe { bpf_mut(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let name = info.name.split(|b| *b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn name_bytes(name: &str) -> Result<[u8; NAME_LEN], Errno> {
    let mut bytes = [0; NAME_LEN];
    // The last byte stays NUL.
    bytes[..NAME_LEN - 1].get_mut(..name.len()).ok_or(Errno::INVAL)?.copy_from_slice(name.as_bytes());
    Ok(bytes)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// # Safety
/// `A` must be the layout that `command` has in `union bpf_attr`, and each pointer in it valid for what
/// the command does with it.
unsafe fn bpf<A>(command: c_long, attr: &A) -> Result<c_long, Errno> {
    // SAFETY: `attr` is valid for reads of its size; the caller answers for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<A>()) };
    crate::check(result)
}

/// # Safety
/// As for [`bpf`]; the command may also write into `attr`, of which every bit pattern must be valid.
unsafe fn bpf_mut<A>(command: c_long, attr: &mut A) -> Result<c_long, Errno> {
    // SAFETY: `attr` is valid for reads and writes of its size; the caller answers for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    crate::check(result)
}

/// # Safety
/// As for [`bpf`], and `command` must be one that returns a new descriptor.
unsafe fn bpf_fd<A>(command: c_long, attr: &A) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller answers for it.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `return 1`, and its name read back from the kernel.
    #[test]
    fn a_program_is_loaded_under_its_name() {
        let insn = |code, imm| Insn { code, regs: 0, off: 0, imm };
        match prog_load(PROG_TYPE_CGROUP_DEVICE, &[insn(0xb7, 1), insn(0x95, 0)], "Apache-2.0", "corten_test")
        {
            Ok(program) => assert_eq!(prog_name(&program).unwrap(), "corten_test"),
            Err(e @ (Errno::PERM | Errno::NOSYS)) => println!("skipped: bpf(BPF_PROG_LOAD) = {e}"),
            Err(e) => panic!("{e}"),
        }
        assert_eq!(name_bytes(&"x".repeat(16)), Err(Errno::INVAL));
    }

    /// The verifier sees an exit without a value in r0.
    #[test]
    fn a_bad_program_is_refused() {
        let exit = Insn { code: 0x95, regs: 0, off: 0, imm: 0 };
        let refused = prog_load(PROG_TYPE_CGROUP_DEVICE, &[exit], "Apache-2.0", "corten_test");
        assert!(matches!(refused, Err(Errno::ACCESS | Errno::PERM | Errno::INVAL | Errno::NOSYS)));
    }
}
