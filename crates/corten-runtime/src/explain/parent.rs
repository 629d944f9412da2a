//! What the parent does: with the host's capabilities, from outside the container's user namespace.

use std::ffi::CStr;
use std::path::Path;

use corten_sys::mount::attr;

use super::text::{Names, Text, command, quote};
use super::{ExplainError, Frame, refuse};
use crate::plan::{DevOp, NodeOp, Op, OverlayOp, Plan, Slot};
use crate::spec::{Bind, BindIds, IdMaps, User, Writable};

const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;
/// mount(2) takes a page of options; what is longer takes the newer calls.
const MAX_OPTIONS: usize = 3500;

/// Attributes of a mount by their names for mount(8).
pub(super) fn options(bits: u64) -> Vec<&'static str> {
    [
        (attr::RDONLY, "ro"),
        (attr::NOSUID, "nosuid"),
        (attr::NODEV, "nodev"),
        (attr::NOEXEC, "noexec"),
        (attr::NOATIME, "noatime"),
        (attr::STRICTATIME, "strictatime"),
        (attr::NODIRATIME, "nodiratime"),
        (attr::NOSYMFOLLOW, "nosymfollow"),
    ]
    .into_iter()
    .filter_map(|(bit, name)| (bits & bit != 0).then_some(name))
    .collect()
}

fn show(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

pub(super) struct Parent<'a> {
    pub(super) plan: &'a Plan,
    pub(super) names: &'a Names<'a>,
    pub(super) frame: &'a Frame,
}

impl Parent<'_> {
    pub(super) fn print(&self, out: &mut Text, op: &Op) -> Result<(), ExplainError> {
        if let Op::Overlay { slot: Slot(0), .. }
        | Op::RootDirectory { slot: Slot(0), .. }
        | Op::RootMemory { slot: Slot(0), .. } = op
        {
            self.stage(out);
        }
        match op {
            Op::Cgroup(plan) => {
                out.section("The control group");
                out.comment(&op.to_string());
                out.line(self.names.lines(&plan.to_string()));
            }
            Op::IdMap(maps) => id_maps(out, op, maps),
            Op::OomScoreAdj(value) => {
                out.comment(&op.to_string());
                out.line(format!("echo {value} > \"/proc/$PID/oom_score_adj\""));
            }
            Op::Overlay { slot, overlay, attributes } => {
                out.comment(&format!("{op}{}", self.whose(overlay)));
                self.overlay(out, *slot, overlay, *attributes);
            }
            Op::RootDirectory { slot, path } => {
                out.comment(&op.to_string());
                out.line(format!("there mkdir {}", place(*slot)));
                out.line(format!("there mount --rbind {} {}", self.names.path(path), place(*slot)));
            }
            Op::RootMemory { slot, size_bytes } => {
                out.comment(&op.to_string());
                out.line(format!("there mkdir {}", place(*slot)));
                let size = size_bytes.map(|size| format!(",size={size}")).unwrap_or_default();
                let options = format!("mode=755{size}{}", self.tmpfs_owner());
                out.line(format!("there mount -t tmpfs -o {options} tmpfs {}", place(*slot)));
            }
            Op::Dev { slot, dev } => {
                out.comment(&format!("{op}: the container's root may make no nodes"));
                self.dev(out, *slot, dev);
            }
            Op::Bind { slot, bind, attributes, recursive_attributes, propagation } => {
                self.bind(out, op, *slot, bind, *attributes, *recursive_attributes, *propagation);
            }
            Op::File { slot, path, content, attributes } => {
                out.comment(&op.to_string());
                self.file(out, *slot, path, content, *attributes);
            }
            Op::CgroupTree { slot, member } => {
                out.comment(&op.to_string());
                out.line(format!("there mkdir {}", place(*slot)));
                out.line(format!("there mount --bind {} {}", self.names.path(&member.dir), place(*slot)));
                out.line(format!("there mount -o remount,bind,ro,nosuid,nodev,noexec {}", place(*slot)));
            }
            Op::LookupUser { user, groups } => {
                out.comment(&format!(
                    "{op}, in the container's files: what the C library would read are the host's"
                ));
                let mut words =
                    vec!["there \"$corten\" internal user \"$stage/root\"".to_owned(), quote(user)];
                words.extend(groups.iter().map(|group| quote(group)));
                out.line(format!("who=$({})", command(&words)));
            }
            Op::FromContainer { slot, namespace, path, attributes } => {
                let Some(other) = self.frame.other(namespace) else {
                    return Err(refuse(op, "it is of no container that this script knows"));
                };
                out.comment(&format!("{op}: only from inside its mount namespace it can be taken"));
                let mut words = vec![
                    format!("\"$corten\" internal taken --of \"${other}\""),
                    "--into \"/proc/$PID/ns/mnt\"".to_owned(),
                ];
                words.extend(
                    (*attributes != 0).then(|| format!("--options {}", options(*attributes).join(","))),
                );
                words.push(quote(&show(path)));
                words.push(place(*slot));
                out.line(command(&words));
            }
            other => return Err(refuse(other, "it is none of the parent's")),
        }
        Ok(())
    }

    /// The tmpfs with one place a mount.
    fn stage(&self, out: &mut Text) {
        out.section("Its mounts, in the order of the plan");
        out.comment("The stage, and corten in it: read-only, and where the container's root may execute it");
        out.line("mkdir \"$stage\"");
        out.line("there mount -t tmpfs -o mode=755 stage \"$stage\"");
        out.line("there touch \"$stage/corten\"");
        out.line("there mount --bind \"$corten\" \"$stage/corten\"");
        out.line("there mount -o remount,bind,ro,nosuid,nodev \"$stage/corten\"");
        if let User::Ids { uid, gid, groups } = &self.plan.spec.process.user {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            out.line(format!("who='{uid}\n{gid}\n{}\n/'", groups.join(",")));
        }
    }

    /// After the clone, whatever the plan has of it.
    pub(super) fn join_cgroup(&self, out: &mut Text) {
        if self.plan.ops.iter().any(|op| matches!(op, Op::Cgroup(_))) {
            out.comment("joining the cgroup: on cgroup2 clone3 makes the process in it, those of v1 it joins by itself");
        }
        for op in &self.plan.ops {
            if let Op::Cgroup(plan) = op {
                plan.attach("$PID").iter().for_each(|op| out.line(self.names.lines(&op.to_string())));
            }
        }
    }

    fn maps(&self) -> Option<&IdMaps> {
        self.plan.spec.namespaces.user.maps()
    }

    /// The container's root, as the host knows it.
    fn owner(&self) -> Option<(u32, u32)> {
        let maps = self.maps()?;
        Some((maps.host_user(0)?, maps.host_group(0)?))
    }

    fn tmpfs_owner(&self) -> String {
        self.owner().map(|(uid, gid)| format!(",uid={uid},gid={gid}")).unwrap_or_default()
    }

    fn whose(&self, overlay: &OverlayOp) -> &'static str {
        match (overlay.screened, overlay.idmap && self.owner().is_some()) {
            (true, _) => {
                ", read as a stranger, who is \"other\" to each file: overlayfs works as who makes it"
            }
            (_, true) => {
                ", its layers idmapped; overlayfs works as who makes it, so that must be the container's root"
            }
            _ => "",
        }
    }

    fn overlay(&self, out: &mut Text, slot: Slot, overlay: &OverlayOp, bits: u64) {
        let path = |path: &CStr| self.names.path(Path::new(&show(path)));
        out.line(format!("there mkdir {}", place(slot)));
        let odd = |path: &CStr| path.to_bytes().iter().any(|byte| b":,\\\"".contains(byte));
        let length: usize = overlay.lowers.iter().map(|lower| lower.count_bytes() + 1).sum();
        let shifted = overlay.idmap && self.owner().is_some();
        // mount(8) wants a second layer where none is written to.
        let alone = overlay.writable.is_none() && overlay.lowers.len() == 1;
        if shifted
            || alone
            || overlay.subpath.is_some()
            || overlay.screened
            || length > MAX_OPTIONS
            || overlay.lowers.iter().any(|path| odd(path))
            || match &overlay.writable {
                Some(Writable::Directory(path)) => odd(path),
                Some(Writable::Memory { .. }) => true,
                None => false,
            }
        {
            let mut words = vec!["there \"$corten\" internal overlay".to_owned()];
            if let (true, Some((uid, gid))) = (shifted, self.owner()) {
                words.push("--userns \"/proc/$PID/ns/user\"".to_owned());
                words.push(format!("--owner {uid}:{gid}"));
            }
            words.extend(overlay.screened.then(|| "--screened".to_owned()));
            words.extend(overlay.volatile.then(|| "--volatile".to_owned()));
            words.extend(overlay.userxattr.then(|| "--userxattr".to_owned()));
            words.extend((bits != 0).then(|| format!("--options {}", options(bits).join(","))));
            words.extend(overlay.subpath.as_ref().map(|below| format!("--subpath {}", quote(below))));
            words.extend(overlay.lowers.iter().map(|lower| format!("--lower {}", path(lower))));
            words.extend(overlay.writable.as_ref().map(|own| match own {
                Writable::Directory(own) => format!("--writable {}", path(own)),
                Writable::Memory { mode } => format!("--in-memory {mode:o}"),
            }));
            words.push(place(slot));
            out.line(command(&words));
            return;
        }
        let lowers: Vec<String> = overlay.lowers.iter().map(|lower| path(lower)).collect();
        let mut words = vec![format!("there mount -t overlay -o lowerdir={}", lowers.join(":"))];
        if let Some(Writable::Directory(own)) = &overlay.writable {
            let own = path(own);
            words.push(format!("-o upperdir={own}/upper,workdir={own}/work"));
        }
        let mut flags = options(bits);
        flags.extend((overlay.volatile && overlay.writable.is_some()).then_some("volatile"));
        flags.extend(overlay.userxattr.then_some("userxattr"));
        words.extend((!flags.is_empty()).then(|| format!("-o {}", flags.join(","))));
        words.push("overlay".to_owned());
        words.push(place(slot));
        out.line(command(&words));
    }

    fn dev(&self, out: &mut Text, slot: Slot, dev: &DevOp) {
        let at = |path: &CStr| match show(path) {
            plain if quote(&plain) == plain => format!("\"$stage/{}/{plain}\"", slot.0),
            odd => format!("\"$stage/{}\"/{}", slot.0, quote(&odd)),
        };
        let options = format!("nosuid,noexec,strictatime,mode=755,size=65536k{}", self.tmpfs_owner());
        out.line(format!("there mkdir {}", place(slot)));
        out.line(format!("there mount -t tmpfs -o {options} tmpfs {}", place(slot)));
        for (path, mode) in &dev.directories {
            out.line(format!("there mkdir -m {mode:o} {}", at(path)));
        }
        for node in &dev.nodes {
            let NodeOp { path, mode, device, .. } = node;
            let kind = match mode & 0o170_000 {
                0o020_000 => "c",
                0o060_000 => "b",
                _ => "p",
            };
            let (major, minor) = (rustix::fs::major(*device), rustix::fs::minor(*device));
            let numbers = if kind == "p" { String::new() } else { format!(" {major} {minor}") };
            out.line(format!("there mknod -m {:o} {} {kind}{numbers}", mode & 0o7777, at(path)));
        }
        for (name, to) in &dev.links {
            out.line(format!("there ln -s {} {}", quote(&show(to)), at(name)));
        }
        for name in &dev.files {
            out.line(format!("there install -m 600 /dev/null {}", at(name)));
        }
        if let Some((uid, gid)) = self.owner() {
            out.line(format!("there chown -hR {uid}:{gid} {}", place(slot)));
        }
        for node in dev.nodes.iter().filter(|node| node.uid != 0 || node.gid != 0) {
            let (uid, gid) = match self.maps() {
                Some(maps) => (
                    maps.host_user(node.uid).unwrap_or(node.uid),
                    maps.host_group(node.gid).unwrap_or(node.gid),
                ),
                None => (node.uid, node.gid),
            };
            out.line(format!("there chown -h {uid}:{gid} {}", at(&node.path)));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of Op::Bind")]
    fn bind(
        &self,
        out: &mut Text,
        op: &Op,
        slot: Slot,
        bind: &Bind,
        bits: u64,
        recursive_attributes: bool,
        propagation: u64,
    ) {
        let shifted = bind.ids != BindIds::Host && self.maps().is_some();
        let tree = recursive_attributes && bits != 0;
        let source = self.names.path(&bind.source);
        let private = propagation & (MS_SLAVE | MS_SHARED) == 0;
        if !shifted && !tree && bind.recursive && private && bind.subpath.is_none() {
            out.comment(&op.to_string());
            out.line(format!(
                "if [ -d {source} ]; then there mkdir {at}; else there touch {at}; fi",
                at = place(slot)
            ));
            out.line(format!("there mount --rbind {source} {}", place(slot)));
            if bits != 0 {
                out.line(format!("there mount -o remount,bind,{} {}", options(bits).join(","), place(slot)));
            }
            return;
        }
        let why = match (shifted, bind.subpath.is_some(), private, tree) {
            (true, ..) => {
                "its ids as on the disk: mount(8) can shift them from util-linux 2.39 on, and not trees of mounts"
            }
            (_, true, ..) => "the path below it must not lead out of it",
            (_, _, false, _) => {
                "to share with the host it must be taken outside and handed in, which no shell can"
            }
            (.., true) => "mount(8) sets attributes of whole trees from util-linux 2.39 on only",
            _ => {
                "in the namespace of a user the kernel binds no mount without those that cover parts of it; taken outside"
            }
        };
        out.comment(&format!("{op}; {why}"));
        let mut words = vec!["\"$corten\" internal bind --into \"/proc/$PID/ns/mnt\"".to_owned()];
        if shifted {
            words.push("--userns \"/proc/$PID/ns/user\"".to_owned());
            words.extend((bind.ids == BindIds::MapIfPossible).then(|| "--if-possible".to_owned()));
        }
        words.extend(bind.recursive.then(|| "--recursive".to_owned()));
        words.extend((bits != 0).then(|| format!("--options {}", options(bits).join(","))));
        words.extend(tree.then(|| "--recursive-options".to_owned()));
        words.extend((propagation & MS_SLAVE != 0).then(|| "--slave".to_owned()));
        words.extend((propagation & MS_SHARED != 0).then(|| "--shared".to_owned()));
        words.extend(bind.subpath.as_ref().map(|below| format!("--subpath {}", quote(below))));
        words.push(source);
        words.push(place(slot));
        out.line(command(&words));
    }

    fn file(&self, out: &mut Text, slot: Slot, path: &Path, content: &[u8], bits: u64) {
        let file = self.names.path(path);
        out.line(format!("printf %s {} > {file}", quote(&String::from_utf8_lossy(content))));
        if let Some((uid, gid)) = self.owner() {
            out.line(format!("chown {uid}:{gid} {file}"));
        }
        out.line(format!("there touch {}", place(slot)));
        out.line(format!("there mount --bind {file} {}", place(slot)));
        if bits != 0 {
            out.line(format!("there mount -o remount,bind,{} {}", options(bits).join(","), place(slot)));
        }
    }
}

/// Where the mount of a slot waits.
fn place(slot: Slot) -> String {
    match slot.0 {
        0 => "\"$stage/root\"".to_owned(),
        number => format!("\"$stage/{number}\""),
    }
}

fn id_maps(out: &mut Text, op: &Op, maps: &IdMaps) {
    out.comment(&format!("{op}: first id inside, first id on the host, how many"));
    for (file, ranges) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        let lines: String = ranges
            .iter()
            .map(|range| format!("{} {} {}\\n", range.inside, range.outside, range.size))
            .collect();
        // One write: the kernel takes the map whole or not at all.
        out.line(format!("printf '{lines}' > \"/proc/$PID/{file}\""));
    }
}
