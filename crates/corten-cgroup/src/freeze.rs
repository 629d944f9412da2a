//! Freeze and thaw. Sources: cgroup-v2.rst "cgroup.freeze", cgroup-v1/freezer-subsystem.rst.

use std::path::Path;
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::controller::Controller;
use crate::error::{Error, Result};
use crate::file;
use crate::wait::{self, Deadline};

/// A process in an uninterruptible call of a dead network file system is all that should take longer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process of the cgroup and below, and waits until they are. If they are not in 10
    /// seconds the cgroup is thawed again.
    pub fn freeze(&self) -> Result<()> {
        let frozen = match self.freezer()? {
            Freezer::V2(dir) => file::write(&dir.join("cgroup.freeze"), "1")
                .and_then(|()| wait::v2_event(dir, "frozen 1", "frozen", PATIENCE)),
            Freezer::V1(dir) => freeze_v1(dir),
        };
        if frozen.is_err() {
            // The failure to freeze is the one to report.
            let _ = self.thaw();
        }
        frozen
    }

    /// Lets them run on, and waits until the kernel says so.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer()? {
            Freezer::V2(dir) => {
                file::write(&dir.join("cgroup.freeze"), "0")?;
                wait::v2_event(dir, "frozen 0", "thawed", PATIENCE)
            }
            Freezer::V1(dir) => file::write(&dir.join("freezer.state"), "THAWED"),
        }
    }

    /// Whether it is frozen, by its own freezer or by one above it.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer()? {
            Freezer::V2(dir) => {
                let events = file::read_short(&dir.join("cgroup.events"))?;
                Ok(events.lines().any(|l| l == "frozen 1"))
            }
            Freezer::V1(dir) => Ok(file::read_short(&dir.join("freezer.state"))?.trim() == "FROZEN"),
        }
    }

    fn freezer(&self) -> Result<Freezer<'_>> {
        let v2 = self.unified().map(|m| Freezer::V2(&m.dir));
        v2.or_else(|| self.dir(Controller::Freezer).map(Freezer::V1)).ok_or_else(|| {
            Error::MissingController {
                controller: Controller::Freezer,
                field: "freeze",
                place: "any cgroup hierarchy of this host".to_owned(),
            }
        })
    }
}

enum Freezer<'a> {
    V2(&'a Path),
    V1(&'a Path),
}

/// v1 has no event for it: reading the state is what makes the kernel look again. A process forked while
/// FREEZING can escape the first pass, so the order is given again; and one stuck in vfork(2) on a
/// frozen child needs a moment of thaw (runc: fs/freezer.go, from 2020 on).
fn freeze_v1(dir: &Path) -> Result<()> {
    let path = dir.join("freezer.state");
    let deadline = Deadline::after(PATIENCE);
    let mut pause = Duration::from_micros(20);
    let mut round = 0;
    loop {
        round += 1;
        file::write(&path, "FROZEN")?;
        if file::read_short(&path)?.trim() == "FROZEN" {
            return Ok(());
        }
        let left = deadline.left().ok_or_else(|| deadline.passed(dir, "frozen"))?;
        if round % 25 == 0 {
            file::write(&path, "THAWED")?;
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
