//! A cgroup for a test, which goes with it however the test ends, and the layouts to test in.
#![allow(dead_code)]

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corten_cgroup::{Cgroup, CgroupPath, Controller, Kind, Layout, Resources};

pub const PARENT: &str = "corten-test";

/// Every world that this kernel can show: as it is, and of a hybrid host each half by itself. Says why
/// if there is none.
pub fn layouts() -> Vec<(&'static str, Layout)> {
    let layout = match Layout::detect() {
        Ok(layout) => layout,
        Err(e) => return skip(&e.to_string()),
    };
    for h in layout.hierarchies() {
        let probe = h.mount.join(format!("corten-probe-{}-{}", std::process::id(), next()));
        if let Err(e) = std::fs::create_dir(&probe) {
            return skip(&format!("mkdir {}: {e}", probe.display()));
        }
        std::fs::remove_dir(&probe).unwrap();
    }
    match layout.kind {
        Kind::Hybrid => {
            let v1 = Layout { kind: Kind::V1, unified: None, ..layout.clone() };
            let v2 = Layout { kind: Kind::V2, v1: Vec::new(), ..layout.clone() };
            vec![("hybrid", layout), ("v1", v1), ("v2", v2)]
        }
        Kind::V1 => vec![("v1", layout)],
        Kind::V2 => vec![("v2", layout)],
    }
}

/// Those that can limit `controller`.
pub fn layouts_with(controller: Controller) -> Vec<(&'static str, Layout)> {
    let mut all = layouts();
    let any = !all.is_empty();
    all.retain(|(_, l)| l.controllers().contains(controller));
    if any && all.is_empty() {
        println!("skipped: this host has no {controller} controller");
    }
    all
}

fn skip<T>(why: &str) -> Vec<T> {
    println!("skipped: cgroups cannot be made here: {why}");
    Vec::new()
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn path(name: &str) -> CgroupPath {
    CgroupPath::new(&format!("{PARENT}/{name}-{}-{}", std::process::id(), next())).unwrap()
}

pub struct Scratch {
    cgroup: Option<Cgroup>,
    pub layout: Layout,
}

impl Scratch {
    pub fn new(name: &str, layout: &Layout, resources: &Resources) -> Scratch {
        let cgroup =
            Cgroup::create(layout, &path(name), resources).unwrap_or_else(|e| panic!("{e}: {:?}", e.hint()));
        Scratch { cgroup: Some(cgroup), layout: layout.clone() }
    }

    pub fn set(&mut self, resources: &Resources) -> corten_cgroup::Result<()> {
        let layout = self.layout.clone();
        self.cgroup.as_mut().unwrap().set(&layout, resources)
    }

    pub fn take(mut self) -> Cgroup {
        self.cgroup.take().unwrap()
    }

    /// A file of the hierarchy that has `controller`.
    pub fn read(&self, controller: Controller, file: &str) -> String {
        let mount = &self.layout.hierarchy(controller).unwrap().mount;
        let path = self.path().below(mount).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    }

    pub fn is_v2(&self, controller: Controller) -> bool {
        self.layout.hierarchy(controller).unwrap().version == corten_cgroup::Version::V2
    }

    /// Runs a shell script in the cgroup; it starts once it is inside.
    pub fn spawn(&self, script: &str) -> Payload {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.attach(child.id() as i32).unwrap_or_else(|e| panic!("{e}: {:?}", e.hint()));
        drop(std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n"));
        Payload(child)
    }
}

impl Deref for Scratch {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        self.cgroup.as_ref().unwrap()
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Cgroup {
        self.cgroup.as_mut().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(cgroup) = self.cgroup.take() else { return };
        let path = cgroup.path().clone();
        let killed = cgroup.kill_all().and_then(|()| cgroup.wait_empty(Duration::from_secs(10)));
        let removed = cgroup.remove();
        remove_parent(&self.layout);
        if !std::thread::panicking() {
            killed.unwrap();
            removed.unwrap();
            assert_nothing_left(&self.layout, &path);
        }
    }
}

pub fn assert_nothing_left(layout: &Layout, path: &CgroupPath) {
    for h in layout.hierarchies() {
        assert!(!path.below(&h.mount).exists(), "{} is left", path.below(&h.mount).display());
    }
}

/// Of no use once the last test is over; EBUSY before.
pub fn remove_parent(layout: &Layout) {
    for h in layout.hierarchies() {
        let _ = std::fs::remove_dir(Path::new(&h.mount).join(PARENT));
    }
}

/// A child that is killed and reaped.
pub struct Payload(Child);

impl Payload {
    pub fn of(child: Child) -> Payload {
        Payload(child)
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls for what the kernel does in its own time; false after ten seconds.
pub fn eventually(mut is: impl FnMut() -> bool) -> bool {
    for _ in 0..1000 {
        if is() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
