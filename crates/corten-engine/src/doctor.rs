//! `corten doctor`: what this machine has of what Corten needs, what each lack means, and what is left that no
//! record owns. It looks and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use corten_cgroup::{CgroupPath, Kind, Layout};

use crate::dirs::Dirs;
use crate::hold::Hold;
use crate::record::{self, Record};

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Good,
    /// Something is slower, or is done another way.
    Note,
    /// Something does not work.
    Lack,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what it means.
    pub text: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The machine.
    pub host: Vec<Finding>,
    /// What is there and why: a line for each container that something is under way with.
    pub live: Vec<String>,
    /// What no record owns.
    pub leftovers: Vec<String>,
}

/// Looks at everything.
#[must_use]
pub fn examine(dirs: &Dirs) -> Report {
    let mut report = Report { host: host(dirs), ..Report::default() };
    state(dirs, &mut report);
    report
}

fn host(dirs: &Dirs) -> Vec<Finding> {
    let mut list = Vec::new();
    let mut find = |what, verdict, text: String| list.push(Finding { what, verdict, text });
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let kernel = version(&release);
    for (what, since, good, verdict, without) in [
        (
            "idmapped layers",
            (5, 19),
            "root in a container is nobody, without a chown",
            Verdict::Lack,
            "no container but with --userns host",
        ),
        (
            "layers by descriptor",
            (6, 15),
            "an overlay of detached mounts",
            Verdict::Note,
            "layers are attached in a private mount namespace first, which costs some calls a start",
        ),
        (
            "idmapped tmpfs",
            (6, 3),
            "binds from memory have the container's ids",
            Verdict::Note,
            "a writable bind from a tmpfs is refused, unless with :nomap",
        ),
        ("cgroup.kill", (5, 14), "one write kills a whole cgroup", Verdict::Note, "process by process"),
    ] {
        match kernel >= since {
            true => find(what, Verdict::Good, good.to_owned()),
            false => find(
                what,
                verdict,
                format!("Linux {}.{} has it, this is {release}: {without}", since.0, since.1),
            ),
        }
    }
    match Layout::detect() {
        Ok(layout) => {
            let names = layout.controllers().to_string();
            let kind = match layout.kind {
                Kind::V1 => "v1",
                Kind::Hybrid => "v1, and cgroup2 beside it",
                Kind::V2 => "v2",
            };
            find("control groups", Verdict::Good, format!("{kind}: {names}"));
            for (name, lack) in [
                ("memory", "--memory is refused"),
                ("pids", "--pids-limit is refused"),
                ("cpu", "--cpus and --cpu-shares are refused"),
            ] {
                if !names.split(' ').any(|known| known == name) {
                    find("control groups", Verdict::Lack, format!("no {name} controller: {lack}"));
                }
            }
        }
        Err(error) => find("control groups", Verdict::Lack, format!("{error}: no limits, no statistics")),
    }
    let text = |path: &str| record::read_text(path).map(|text| text.trim().to_owned());
    match text("/proc/sys/user/max_user_namespaces").as_deref() {
        Some("0") => find(
            "user namespaces",
            Verdict::Lack,
            "user.max_user_namespaces is 0: no container but with --userns host".to_owned(),
        ),
        Some(most) => find("user namespaces", Verdict::Good, format!("at most {most}")),
        None => find("user namespaces", Verdict::Lack, "the kernel has none".to_owned()),
    }
    for (path, name) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone is 0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "AppArmor restricts user namespaces"),
    ] {
        let bad = if path.ends_with("clone") { "0" } else { "1" };
        if text(path).as_deref() == Some(bad) {
            find("ordinary users", Verdict::Note, format!("{name}: only root can run containers"));
        }
    }
    match text("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) => find("seccomp", Verdict::Good, actions),
        None => {
            find("seccomp", Verdict::Lack, "no filters: only --security-opt seccomp=unconfined".to_owned())
        }
    }
    let lsm = text("/sys/kernel/security/lsm").unwrap_or_else(|| "none that is told of".to_owned());
    find("security modules", Verdict::Good, lsm);
    for (what, path) in [("store", &dirs.root), ("state of the running", &dirs.run)] {
        find(what, Verdict::Good, place(path));
    }
    list
}

/// Where a directory is, and on what.
fn place(path: &Path) -> String {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let kind = match rustix::fs::statfs(there).map(|fs| fs.f_type as u32) {
        Ok(0x0102_1994) => "tmpfs",
        Ok(0xef53) => "ext",
        Ok(0x9123_683e) => "btrfs",
        Ok(0x5846_5342) => "xfs",
        Ok(0x794c_7630) => "overlay, on which another overlay cannot write",
        Ok(_) => "another file system",
        Err(_) => "an unknown file system",
    };
    format!("{} ({kind})", path.display())
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn state(dirs: &Dirs, report: &mut Report) {
    let containers = dirs.root.join("containers");
    let (mut known, mut attended) = (BTreeSet::new(), BTreeSet::new());
    let leases = dirs.leases();
    for id in names(&dirs.run).into_iter().filter(|name| crate::collect::is_id(name)) {
        let live = dirs.live(&id);
        // Held: whoever holds it owns it, whatever it has come to.
        if let Ok(None) = Hold::try_existing(dirs, &id) {
            let name = crate::container::find(dirs, &id).map(|found| found.record.name);
            let name = name.unwrap_or_else(|_| "no name yet".to_owned());
            report.live.push(format!("{} ({name}): attended", &id[..12]));
            attended.insert(id.clone());
            known.insert(id);
            continue;
        }
        match crate::container::find(dirs, &id) {
            Ok(found) if found.state.is_alive() => {
                report.live.push(format!(
                    "{} ({}): runs, its monitor was killed",
                    &id[..12],
                    found.record.name
                ));
                known.insert(id);
            }
            _ => report.leftovers.push(format!("{}: nobody attends it", live.display())),
        }
    }
    for id in names(&containers) {
        let path = containers.join(&id);
        let record = record::read::<Record>(&path.join("config.json"));
        let is_attended = attended.contains(&id);
        match record {
            Ok(Some(_)) => drop(known.insert(id)),
            _ if known.contains(&id) => {}
            _ => report.leftovers.push(format!("{}: a container without a record", path.display())),
        }
        // Of one that is attended somebody may be writing it.
        let partial = names(&path).into_iter().filter(|name| name.ends_with(".new") && !is_attended);
        for partial in partial {
            report.leftovers.push(format!("{}: a file that was not finished", path.join(partial).display()));
        }
    }
    for dir in [dirs.root.join("names"), dirs.leases()] {
        for link in names(&dir) {
            let owner = std::fs::read_link(dir.join(&link)).unwrap_or_default();
            // A lease is of one that something is under way with.
            let owned = |id: &str| known.contains(id) && (dir != leases || dirs.live(id).exists());
            if !owner.to_str().is_some_and(owned) {
                report
                    .leftovers
                    .push(format!("{}: of a container that is not there", dir.join(link).display()));
            }
        }
    }
    for name in names(&dirs.root.join("places")) {
        if crate::collect::is_id(&name) && !known.contains(&name) {
            report.leftovers.push(format!("{}: not finished", dirs.root.join("places").join(name).display()));
        }
    }
    // Below `corten/` there are those of other stores too, which this one does not know: only the machine's own
    // store can say that a cgroup is nobody's.
    if dirs.root == Dirs::system().root {
        cgroups(&known, report);
    }
    mounts(dirs, report);
}

/// Cgroups of nobody. One with processes may be of another store, and is its doctor's to judge.
fn cgroups(known: &BTreeSet<String>, report: &mut Report) {
    let (Ok(layout), Ok(parent)) = (Layout::detect(), CgroupPath::new("corten")) else { return };
    for found in corten_cgroup::leftovers(&layout, &parent).unwrap_or_default() {
        let path = found.path.to_string();
        let id = path.rsplit('/').next().unwrap_or_default();
        if found.populated || known.contains(id) || !crate::collect::is_id(id) {
            continue;
        }
        // One that was made in this moment is of a start.
        let young = found.dirs.first().and_then(|dir| dir.metadata().ok()?.modified().ok()?.elapsed().ok());
        if young.is_some_and(|age| age.as_secs() >= 10) {
            report.leftovers.push(format!("cgroup {path}: empty, and of no container of this store"));
        }
    }
}

/// Nothing of a container is ever mounted where the machine sees it.
fn mounts(dirs: &Dirs, report: &mut Report) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        let point = std::path::PathBuf::from(corten_sys::mountinfo::unescape(point));
        let ours = [dirs.root.join("containers"), dirs.root.join("layers")];
        let below_run = point.starts_with(&dirs.run) && point != dirs.run;
        if below_run || ours.iter().any(|dir| point.starts_with(dir)) {
            report.leftovers.push(format!("a mount at {}", point.display()));
        }
    }
}
