//! What the first process does in the root file system, before the root changes and before the program.

use std::ffi::CStr;

use corten_sys::mount::attr;

use super::payload;
use super::text::{Text, quote};
use super::{ExplainError, refuse};
use crate::plan::{Actor, DevOp, Op, Plan};

pub(super) fn print(plan: &Plan) -> Result<Text, ExplainError> {
    let mut out = Text::of(&plan.spec.id);
    out.line("set -eu");
    out.comment("Its path may be closed to the container's root, the descriptor is not");
    out.line("corten=/proc/self/fd/9");
    out.comment("Paths are relative to the root file system, /etc/mtab is none of the container's business");
    out.line("mount() { command mount --no-canonicalize --no-mtab \"$@\"; }");
    out.comment("A link of the image would lead mount(8) to the host: `internal place` resolves a path inside the root");
    let mut child = Child { plan, masks: false, read_only: false };
    for (_, op) in plan.of(Actor::Child) {
        child.op(&mut out, op)?;
    }
    payload::print(&mut out, plan)?;
    Ok(out)
}

struct Child<'a> {
    plan: &'a Plan,
    /// Whether one was printed already: then the comment and what it needs stand above.
    masks: bool,
    read_only: bool,
}

fn show(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

/// A path below the root file system, which is the working directory.
fn below(target: &CStr) -> String {
    let text = show(target);
    if text.starts_with('-') { quote(&format!("./{text}")) } else { quote(&text) }
}

impl Child<'_> {
    fn op(&mut self, out: &mut Text, op: &Op) -> Result<(), ExplainError> {
        match op {
            // Done by who started this script: unshare --propagation, echo, cd, setpriv, unshare --cgroup.
            Op::PrivateMounts
            | Op::JoinCgroup { .. }
            | Op::EnterRoot { .. }
            | Op::BecomeRoot
            | Op::UnshareCgroup { .. } => {}
            Op::Attach { slot, target, .. } => {
                out.comment(&op.to_string());
                let at =
                    self.place(out, target, &format!("--like ../{}", slot.0), target.as_c_str() == c"dev");
                out.line(format!("mount --move ../{} {at}", slot.0));
            }
            Op::Mount { kind, target, flags, options } => {
                out.comment(&op.to_string());
                let kernel = kind.as_c_str() == c"proc" || kind.as_c_str() == c"sysfs";
                let at = self.place(out, target, "--directory", kernel);
                let source =
                    if kind.as_c_str() == c"tmpfs" && target.as_c_str() == c"dev/shm" { "shm" } else { "" };
                let mut all: Vec<String> = flag_names(*flags).into_iter().map(str::to_owned).collect();
                all.extend((!options.is_empty()).then(|| show(options)));
                let all =
                    if all.is_empty() { String::new() } else { format!(" -o {}", quote(&all.join(","))) };
                let kind = quote(&show(kind));
                let source = if source.is_empty() { &kind } else { source };
                out.line(format!("mount -t {kind}{all} {source} {at}"));
            }
            Op::MakeDirectory { target, mode } => {
                out.comment(&op.to_string());
                out.line(format!("mkdir -m {mode:o} {}", below(target)));
            }
            Op::Link { target, to } => {
                out.comment(&op.to_string());
                out.line(format!("ln -s {} {}", quote(&show(to)), below(target)));
            }
            Op::Sysctl { target, value } => {
                out.comment(&op.to_string());
                out.line(format!("printf %s {} > {}", quote(&show(value)), below(target)));
            }
            Op::LoopbackUp => {
                out.comment(&op.to_string());
                out.line("ip link set lo up");
            }
            Op::Mask { target } => self.mask(out, target),
            Op::ReadOnly { target } => self.read_only(out, target),
            Op::Seal { target } => {
                out.comment(&op.to_string());
                let flags = self.flags_at(target);
                out.line(format!("mount -o remount,bind,ro{flags} none {}", below(target)));
            }
            Op::Terminal { console, .. } => {
                out.comment("the terminal is the script's own; corten makes one in the container's devpts for its monitor to carry");
                if *console {
                    out.line("if tty=$(tty); then mount --bind \"$tty\" dev/console; fi");
                }
            }
            Op::Hostname(name) => {
                out.comment(&op.to_string());
                out.line(format!("hostname -- {}", quote(&show(name))));
            }
            Op::Domainname(name) => {
                out.comment(&op.to_string());
                out.line(format!("domainname -- {}", quote(&show(name))));
            }
            Op::RootReadOnly => {
                out.comment(&op.to_string());
                out.line("mount -o remount,bind,ro none .");
            }
            Op::Pivot => {
                out.comment("changing the root: from outside, once the last tool of the host's runs");
            }
            other => return Err(refuse(other, "it is none of the first process's")),
        }
        Ok(())
    }

    /// The place of a mount: as it stands where the mount it is on is the container's own, else resolved
    /// inside the root, since a link of the image would lead mount(8) out of it.
    fn place(&self, out: &mut Text, target: &CStr, kind: &str, no_links: bool) -> String {
        if self.is_own(target) {
            return below(target);
        }
        let no_links = if no_links { " --no-symlinks" } else { "" };
        out.line(format!("at=$(\"$corten\" internal place {kind}{no_links} {})", quote(&show(target))));
        "\"$at\"".to_owned()
    }

    /// Whether the place was made with a mount of the container's own.
    fn is_own(&self, target: &CStr) -> bool {
        let text = show(target);
        let made = |dev: &DevOp| {
            text.strip_prefix("dev/").is_some_and(|rest| {
                dev.directories.iter().any(|(known, _)| known.to_bytes() == rest.as_bytes())
            })
        };
        self.plan.ops.iter().any(|op| match op {
            Op::MakeDirectory { target: known, .. } => known.as_c_str() == target,
            Op::Dev { dev, slot } => {
                let attached = |op: &Op| {
                    matches!(op, Op::Attach { slot: s, target, .. } if s == slot && target.as_c_str() == c"dev")
                };
                made(dev) && self.plan.ops.iter().any(attached)
            }
            _ => false,
        })
    }

    /// The flags of the mount that a path is on, as `,nosuid,…`: a remount must name what is to stay.
    fn flags_at(&self, target: &CStr) -> String {
        let path = show(target);
        let on = |known: &CStr| {
            let known = show(known);
            path == known || path.starts_with(&format!("{known}/"))
        };
        let nearest = self
            .plan
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::Mount { target, flags, .. } if on(target) => Some((target.count_bytes(), *flags)),
                Op::Attach { slot, target, .. } if on(target) => {
                    let bits = self.plan.ops.iter().find_map(|op| match op {
                        Op::Bind { slot: s, attributes, .. } if s == slot => Some(*attributes),
                        _ => None,
                    });
                    Some((target.count_bytes(), bits.unwrap_or(0)))
                }
                _ => None,
            })
            .max_by_key(|(length, _)| *length);
        // MS_* and MOUNT_ATTR_* agree in the flags that matter here.
        let flags = nearest.map_or(0, |(_, flags)| flags & !attr::RDONLY & 0xf);
        super::parent::options(flags).into_iter().map(|name| format!(",{name}")).collect()
    }

    fn mask(&mut self, out: &mut Text, target: &CStr) {
        if !std::mem::replace(&mut self.masks, true) {
            out.comment(
                "masking: a file lies behind /dev/null, which must be that, a directory behind an empty one",
            );
            out.line("[ \"$(stat -c %F:%t:%T dev/null)\" = 'character special file:1:3' ]");
            out.line(
                "mask() {\n    if [ -d \"$1\" ]; then mount -t tmpfs -o ro,size=0k,nr_inodes=2,mode=755 tmpfs \"$1\"\n    \
                 elif [ -e \"$1\" ]; then mount --bind dev/null \"$1\"; fi\n}",
            );
        }
        match kernel(target) {
            true => out.line(format!("mask {}", below(target))),
            false => {
                out.line(format!("at=$(\"$corten\" internal place --existing {})", quote(&show(target))));
                out.line("[ -z \"$at\" ] || mask \"$at\"");
            }
        }
    }

    fn read_only(&mut self, out: &mut Text, target: &CStr) {
        if !std::mem::replace(&mut self.read_only, true) {
            out.comment(
                "making paths read-only: a mount of each over itself, with the flags of the one it is on",
            );
            out.line(
                "protect() { if [ -e \"$2\" ]; then mount --rbind \"$2\" \"$2\"; mount -o \"$1\" none \"$2\"; fi; }",
            );
        }
        let options = format!("remount,bind,ro{}", self.flags_at(target));
        match kernel(target) {
            true => out.line(format!("protect {options} {}", below(target))),
            false => {
                out.line(format!("at=$(\"$corten\" internal place --existing {})", quote(&show(target))));
                out.line(format!("[ -z \"$at\" ] || protect {options} \"$at\""));
            }
        }
    }
}

/// Below /proc or /sys, which are the kernel's and were checked to be no links.
fn kernel(target: &CStr) -> bool {
    let path = target.to_bytes();
    path.starts_with(b"proc/") || path.starts_with(b"sys/")
}

/// Flags of mount(2) by their names for mount(8).
fn flag_names(flags: u64) -> Vec<&'static str> {
    use rustix::mount::MountFlags;
    let bit = |flag: MountFlags| u64::from(flag.bits());
    [
        (bit(MountFlags::RDONLY), "ro"),
        (bit(MountFlags::NOSUID), "nosuid"),
        (bit(MountFlags::NODEV), "nodev"),
        (bit(MountFlags::NOEXEC), "noexec"),
        (bit(MountFlags::NOATIME), "noatime"),
        (bit(MountFlags::STRICTATIME), "strictatime"),
        (bit(MountFlags::NODIRATIME), "nodiratime"),
        (256, "nosymfollow"),
    ]
    .into_iter()
    .filter_map(|(bit, name)| (flags & bit != 0).then_some(name))
    .collect()
}
