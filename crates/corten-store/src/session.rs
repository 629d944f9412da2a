//! One change under way: what it has written so far, what it holds, and its end.
//!
//! ```text
//! tmp/<16 hex>/
//!   lease      flock'ed exclusively by the process; lines `blob <digest>`, `layer <digest>`
//!   blob-<n>   becomes blobs/sha256/<hex>
//!   layer-<n>/ becomes layers/<hex>/   (fs/, layer.json)
//! ```
//!
//! A lease is alive as long as its lock is: no age, no pid, nothing to clean after a kill but the files.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_oci::layout::{BLOBS_DIR, blob_path};
use corten_oci::{Compression, Descriptor, DiffId, Digest, ImageId, MediaType, Reference};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::BlobWriter;
use crate::error::{At, Result, StoreError, SysError};
use crate::index;
use crate::layer::LayerRecord;
use crate::store::{LAYERS, Lock, Store, TMP};
use crate::sys::{Dir, write_all};
use crate::trash;
use crate::unpack::{UnpackError, UnpackOptions, Unpacked, unpack};

pub(crate) const LEASE: &str = "lease";

/// A change of the store. Dropped without [`Session::publish`], it leaves no trace.
#[derive(Debug)]
pub struct Session<'s> {
    pub(crate) store: &'s Store,
    pub(crate) dir: Dir,
    name: String,
    lease: OwnedFd,
    next: AtomicU64,
    staged: Mutex<Staged>,
}

#[derive(Debug, Default)]
struct Staged {
    /// name under the session's directory, and what it becomes
    blobs: Vec<(String, Digest)>,
    layers: Vec<(String, DiffId)>,
}

/// A finished file of a session's directory, hashed, not yet staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// An image to be named in index.json.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// of the manifest or index, whose blobs are staged or there already
    pub descriptor: Descriptor,
    /// of the config; `None` for an index of several platforms
    pub id: Option<ImageId>,
    /// taken from whoever has them; none makes an untagged image
    pub names: Vec<Reference>,
    pub size_bytes: Option<u64>,
}

impl Store {
    /// Begins a change, and first collects what killed processes left in tmp/.
    pub fn session(&self) -> Result<Session<'_>> {
        let tmp = self.tmp()?;
        self.sweep_tmp(&tmp)?;
        let mut random = [0u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .at("getrandom", self.root())?;
        let name = format!("{:016x}", u64::from_le_bytes(random));
        // A sweep between the directory's birth and its lock would take it for dead.
        let _lock = self.lock_shared()?;
        rustix::fs::mkdirat(&tmp.fd, &name, Mode::RWXU).at("mkdirat", tmp.path.join(&name))?;
        let dir = tmp.open_at(&name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::CLOEXEC;
        let path = dir.path.join(LEASE);
        let lease = rustix::fs::openat(&dir.fd, LEASE, flags, Mode::RUSR | Mode::WUSR).at("openat", &path)?;
        rustix::fs::flock(&lease, FlockOperation::NonBlockingLockExclusive).at("flock", &path)?;
        let staged = Mutex::default();
        Ok(Session { store: self, dir, name, lease, next: AtomicU64::new(0), staged })
    }
}

impl Session<'_> {
    /// From here on no sweep removes this blob; whether it is there already.
    pub fn hold_blob(&self, blob: &Digest) -> Result<bool> {
        let _lock = self.store.lock_shared()?;
        self.lease_line("blob", blob)?;
        Ok(self.store.has_blob(blob))
    }

    /// From here on no sweep removes this layer; whether it is there already.
    pub fn hold_layer(&self, layer: &DiffId) -> Result<bool> {
        let _lock = self.store.lock_shared()?;
        self.lease_line("layer", layer)?;
        Ok(self.store.has_layer(layer))
    }

    fn lease_line(&self, kind: &str, digest: &Digest) -> Result<(), SysError> {
        write_all(&self.lease, format!("{kind} {digest}\n").as_bytes()).at("write", self.dir.path.join(LEASE))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn next_name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn staged(&self) -> std::sync::MutexGuard<'_, Staged> {
        self.staged.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A blob to be written; [`BlobWriter::finish`] stages it.
    pub fn blob(&self) -> Result<BlobWriter<'_>> {
        BlobWriter::create(self, self.next_name("blob"))
    }

    /// A sealed file is to become a blob, unless the store has it.
    pub(crate) fn stage(&self, blob: &Sealed) -> Result<()> {
        if self.staged().blobs.iter().any(|(_, known)| *known == blob.digest) {
            return Ok(());
        }
        if !self.hold_blob(&blob.digest)? {
            self.staged().blobs.push((blob.name.clone(), blob.digest.clone()));
        }
        Ok(())
    }

    pub(crate) fn open_sealed(&self, blob: &Sealed) -> Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.dir.fd, &blob.name, flags, Mode::empty())
            .at("openat", self.path_of(&blob.name))?;
        Ok(file.into())
    }

    /// How a sealed file is compressed, by its first bytes.
    pub(crate) fn compression(&self, blob: &Sealed) -> Result<Compression> {
        let mut start = [0u8; 8];
        let file = self.open_sealed(blob)?;
        let n = rustix::io::read(&file, &mut start).at("read", self.path_of(&blob.name))?;
        let detected = crate::unpack::detect(&start[..n]);
        detected.map_err(|compression| UnpackError::OtherCompression { compression }.into())
    }

    pub(crate) fn is_staged(&self, layer: &DiffId) -> bool {
        self.staged().layers.iter().any(|(_, known)| known == layer)
    }

    /// Bytes of a layer that is staged or in the store.
    pub(crate) fn layer_size(&self, layer: &DiffId) -> Result<u64> {
        let staged = self.staged().layers.iter().find(|(_, known)| known == layer).map(|(n, _)| n.clone());
        let record = match staged {
            Some(name) => LayerRecord::read(&self.dir.open_at(name)?, crate::layer::RECORD)?,
            None => self.store.layer_record(layer)?,
        };
        Ok(record.map_or(0, |record| record.size_bytes))
    }

    /// A small blob at hand.
    pub fn put_blob(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        if !self.hold_blob(&descriptor.digest)? {
            let mut blob = self.blob()?;
            blob.append(bytes)?;
            blob.finish(Some(&descriptor))?;
        }
        Ok(descriptor)
    }

    /// Unpacks a layer (plain, gzip or zstd by its first bytes) and stages it. If `expected` is given and
    /// the content has another diff-id, nothing is staged. Several may be unpacked at once by threads that
    /// share the session.
    pub fn unpack(
        &self,
        expected: Option<&DiffId>,
        input: impl std::io::Read + Send,
        options: &UnpackOptions,
    ) -> Result<Unpacked> {
        let name = self.next_name("layer");
        let dir = self.dir.make_at(&name, 0o700)?;
        let fs = dir.make_at("fs", 0o700)?;
        let unpacked = unpack(input, fs.fd.as_fd(), &fs.path, options)?;
        if let Some(expected) = expected
            && unpacked.diff_id != *expected
        {
            let (expected, actual) = (expected.clone(), unpacked.diff_id);
            return Err(StoreError::DiffId { expected, actual });
        }
        LayerRecord::of(&unpacked).write(&dir)?;
        self.staged().layers.push((name, unpacked.diff_id.clone()));
        Ok(unpacked)
    }

    /// Makes all that is staged part of the store and names the images: syncs once, renames, and replaces
    /// index.json last.
    pub fn publish(self, images: &[NewImage]) -> Result<()> {
        let staged = std::mem::take(&mut *self.staged());
        if !staged.blobs.is_empty() || !staged.layers.is_empty() {
            rustix::fs::syncfs(&self.dir.fd).at("syncfs", &self.dir.path)?;
        }
        {
            let _lock = self.store.lock_shared()?;
            for (_, digest) in &staged.blobs {
                self.lease_line("blob", digest)?;
            }
            for (_, layer) in &staged.layers {
                self.lease_line("layer", layer)?;
            }
        }
        self.move_blobs(&staged.blobs)?;
        self.move_layers(&staged.layers)?;
        if images.is_empty() {
            return Ok(());
        }
        let lock = self.store.lock_exclusive()?;
        self.store.name_images(&lock, images)
    }

    fn move_blobs(&self, blobs: &[(String, Digest)]) -> Result<(), SysError> {
        let mut algorithms: Vec<&str> = blobs.iter().map(|(_, digest)| digest.algorithm_name()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let all = self.store.dir.open_at(BLOBS_DIR)?;
        for algorithm in &algorithms {
            all.make_at(algorithm, 0o700)?;
        }
        for (name, digest) in blobs {
            let to = blob_path(digest);
            rustix::fs::renameat(&self.dir.fd, name, &self.store.dir.fd, &to)
                .at("renameat", self.store.blob_path(digest))?;
        }
        for algorithm in &algorithms {
            all.open_at(algorithm)?.sync()?;
        }
        Ok(())
    }

    fn move_layers(&self, layers: &[(String, DiffId)]) -> Result<(), SysError> {
        if layers.is_empty() {
            return Ok(());
        }
        let all = self.store.dir.open_at(LAYERS)?;
        for (name, layer) in layers {
            match rustix::fs::renameat(&self.dir.fd, name, &all.fd, layer.hex()) {
                // Somebody else was faster; theirs has the same content, and ours goes with the session.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => {
                    return Err(SysError { call: "renameat", path: all.path.join(layer.hex()), errno });
                }
            }
        }
        all.sync()
    }

    /// Where something of this session is, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.dir.path.join(name)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let path = self.dir.path.clone();
        if let Ok(tmp) = self.store.dir.open_at(TMP) {
            let _ = trash::remove_at(tmp.fd.as_fd(), self.name.as_bytes(), &path);
        }
    }
}

impl Store {
    /// Collects the directories of sessions whose lock nobody holds.
    pub(crate) fn sweep_tmp(&self, tmp: &Dir) -> Result<u64> {
        let names = tmp.names()?;
        if names.is_empty() {
            return Ok(0);
        }
        let lock = self.lock_exclusive()?;
        let mut swept = 0;
        for name in names {
            if self.lease_of(&lock, tmp, &name)?.is_none() {
                trash::remove_at(tmp.fd.as_fd(), name.to_bytes(), &tmp.path)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The lease of a session that is alive.
    pub(crate) fn lease_of(&self, _lock: &Lock, tmp: &Dir, name: &CStr) -> Result<Option<String>> {
        let name = OsStr::from_bytes(name.to_bytes());
        let Ok(dir) = tmp.open_at(name) else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&dir.fd, LEASE, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.at("openat", dir.path.join(LEASE))?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(None),
            Err(Errno::AGAIN) => {
                let bytes = dir.read(LEASE, 4096, 64 << 20)?.unwrap_or_default();
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Err(errno) => Err(SysError { call: "flock", path: dir.path.join(LEASE), errno }.into()),
        }
    }

    /// Adds entries to index.json. A name moves from the image that had it, which stays, untagged.
    pub(crate) fn name_images(&self, lock: &Lock, images: &[NewImage]) -> Result<()> {
        let mut index = self.index()?;
        for image in images {
            for name in &image.names {
                index::take_name(&mut index, name);
            }
            index::add(&mut index, image);
        }
        Ok(self.replace_index(lock, &index)?)
    }
}

/// Removes a file of a session that did not come to anything.
pub(crate) fn discard(session: &Session<'_>, name: &str) {
    let _ = rustix::fs::unlinkat(&session.dir.fd, name, AtFlags::empty());
}
