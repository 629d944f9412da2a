//! The store's directory: opening it, its lock, and where things are.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_oci::layout::{BLOBS_DIR, ImageLayout, MARKER_FILE};
use corten_oci::{DiffId, Digest};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{At, Result, SysError};
use crate::sys::{Dir, retry, spread};

pub(crate) const LAYERS: &str = "layers";
pub(crate) const TMP: &str = "tmp";
const LOCK: &str = "store.lock";

/// A content store. Cheap to open, safe to share between processes and threads.
#[derive(Debug)]
pub struct Store {
    pub(crate) dir: Dir,
}

/// `store.lock` while it is held.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

impl Store {
    /// Opens the store at `root`, one system call if it is there; otherwise makes it, readable by its owner
    /// only (CVE-2021-41091: a setuid file in a layer is not for others to reach).
    pub fn open(root: &Path) -> Result<Store> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::open(root, flags, Mode::empty());
        let fd = match open() {
            Err(Errno::NOENT) => {
                make_private(root)?;
                open()
            }
            other => other,
        };
        Ok(Store { dir: Dir { fd: fd.at("open", root)?, path: root.into() } })
    }

    pub fn root(&self) -> &Path {
        &self.dir.path
    }

    /// Where a layer's files are: the directory to give to overlayfs. Whether it is there is not asked.
    pub fn layer_path(&self, layer: &DiffId) -> PathBuf {
        self.root().join(LAYERS).join(layer.hex()).join("fs")
    }

    /// Where a blob is, if it is there.
    pub fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.root().join(corten_oci::layout::blob_path(blob))
    }

    /// What every change starts with: tmp/, and with it all else, for it is made last.
    pub(crate) fn tmp(&self) -> Result<Dir> {
        match self.dir.open_at(TMP) {
            Err(error) if error.errno == Errno::NOENT => {}
            other => return Ok(other?),
        }
        let _lock = self.lock_exclusive()?;
        self.dir.make_at(BLOBS_DIR, 0o700)?.make_at("sha256", 0o700)?;
        self.dir.make_at(LAYERS, 0o700)?;
        // Another program may have made the layout, in a directory that it left open to all.
        rustix::fs::fchmod(&self.dir.fd, Mode::RWXU).at("fchmod", self.root())?;
        if self.dir.read(MARKER_FILE, 64, 4096)?.is_none() {
            let marker = serde_json::to_vec(&ImageLayout::current()).unwrap_or_default();
            self.dir.replace(MARKER_FILE, &marker, 0o600)?;
        }
        let tmp = self.dir.make_at(TMP, 0o700)?;
        // Layers are unpacked there.
        spread(&tmp.fd);
        Ok(tmp)
    }

    pub(crate) fn lock_shared(&self) -> Result<Lock, SysError> {
        self.lock(FlockOperation::LockShared)
    }

    pub(crate) fn lock_exclusive(&self) -> Result<Lock, SysError> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, operation: FlockOperation) -> Result<Lock, SysError> {
        let path = self.root().join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file =
            rustix::fs::openat(&self.dir.fd, LOCK, flags, Mode::from_raw_mode(0o600)).at("openat", &path)?;
        retry(|| rustix::fs::flock(&file, operation)).at("flock", &path)?;
        Ok(Lock { _file: file })
    }
}

/// `mkdir -p`, of which the last directory is 0700.
fn make_private(root: &Path) -> Result<(), SysError> {
    for parent in root.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
        if parent != Path::new("/") && !parent.as_os_str().is_empty() {
            make(parent, 0o755)?;
        }
    }
    make(root, 0o700)
}

fn make(path: &Path, mode: u32) -> Result<(), SysError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(SysError { call: "mkdir", path: path.into(), errno }),
    }
}
