//! Mark and sweep. The roots are in the crate's header.
//!
//! What is not marked is moved into a session's directory while the store's lock is held (a rename each)
//! and removed after it is released, so nobody waits for unlinking. A kill in between leaves a session that
//! nobody holds.

use std::collections::{BTreeMap, HashSet};

use corten_oci::image::MAX_INDEX_DEPTH;
use corten_oci::layout::BLOBS_DIR;
use corten_oci::{Descriptor, DiffId, Digest, Document, ImageId, Index};
use rustix::io::Errno;

use crate::error::{Result, StoreError, SysError};
use crate::session::Session;
use crate::store::{LAYERS, Lock, Store, TMP};

/// What the engine's containers use. It is asked for while the store's lock is held.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    pub images: BTreeMap<ImageId, Vec<User>>,
    pub layers: HashSet<DiffId>,
}

/// A container, as it is to be named in a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub container: String,
    pub running: bool,
}

/// Whoever asks containers what they use may fail at it; then nothing is removed.
pub type InUseError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    pub blobs: Vec<Digest>,
    pub layers: Vec<DiffId>,
    /// of the blobs, and of the layers' files as they were counted
    pub bytes: u64,
}

#[derive(Default)]
struct Marks {
    blobs: HashSet<Digest>,
    /// the hexadecimal half, for that is the directory's name
    layers: HashSet<String>,
}

impl Store {
    /// Removes blobs and layers that nothing holds.
    pub fn gc(&self, in_use: impl FnOnce() -> Result<InUse, InUseError>) -> Result<Collected> {
        let session = self.session()?;
        let lock = self.lock_exclusive()?;
        let in_use = in_use().map_err(StoreError::InUseUnknown)?;
        let index = self.index()?;
        self.sweep(&lock, &session, &index, &in_use)
    }

    pub(crate) fn sweep(
        &self,
        lock: &Lock,
        session: &Session<'_>,
        index: &Index,
        in_use: &InUse,
    ) -> Result<Collected> {
        let mut marks = Marks::default();
        for entry in &index.manifests {
            self.mark(entry, &mut marks)?;
        }
        marks.layers.extend(in_use.layers.iter().map(|layer| layer.hex().to_owned()));
        self.mark_leases(lock, session, &mut marks)?;
        let mut collected = Collected::default();
        self.sweep_blobs(session, &marks, &mut collected)?;
        self.sweep_layers(session, &marks, &mut collected)?;
        Ok(collected)
    }

    /// All that an index entry leads to. What is missing or damaged leads nowhere: such an image cannot run,
    /// and must not keep everything else from being collected.
    fn mark(&self, entry: &Descriptor, marks: &mut Marks) -> Result<()> {
        let mut todo = vec![(entry.clone(), 0)];
        while let Some((at, depth)) = todo.pop() {
            if !marks.blobs.insert(at.digest.clone()) || depth > MAX_INDEX_DEPTH {
                continue;
            }
            let manifest = match self.document(&at) {
                Ok(Document::Index(index)) => {
                    todo.extend(index.manifests.into_iter().map(|next| (next, depth + 1)));
                    continue;
                }
                Ok(Document::Manifest(manifest)) => manifest,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
            marks.blobs.insert(manifest.config.digest.clone());
            marks.blobs.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
            match self.config(&manifest) {
                Ok(config) => {
                    marks.layers.extend(config.rootfs.diff_ids.iter().map(|id| id.hex().to_owned()));
                }
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn mark_leases(&self, lock: &Lock, own: &Session<'_>, marks: &mut Marks) -> Result<()> {
        let tmp = self.dir.open_at(TMP)?;
        for name in tmp.names()? {
            if name.to_bytes() == own.name().as_bytes() {
                continue;
            }
            let lease = self.lease_of(lock, &tmp, &name)?.unwrap_or_default();
            for line in lease.lines() {
                match line.split_once(' ').map(|(kind, digest)| (kind, digest.parse::<Digest>())) {
                    Some(("blob", Ok(digest))) => drop(marks.blobs.insert(digest)),
                    Some(("layer", Ok(digest))) => drop(marks.layers.insert(digest.hex().to_owned())),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn sweep_blobs(&self, session: &Session<'_>, marks: &Marks, collected: &mut Collected) -> Result<()> {
        let all = self.dir.open_at(BLOBS_DIR)?;
        for algorithm in all.names()? {
            let Ok(algorithm) = algorithm.into_string() else { continue };
            let dir = all.open_at(&algorithm)?;
            for name in dir.names()? {
                let Ok(name) = name.into_string() else { continue };
                // What is not named by a digest is not ours to judge.
                let Ok(digest) = format!("{algorithm}:{name}").parse::<Digest>() else { continue };
                if marks.blobs.contains(&digest) {
                    continue;
                }
                let size = rustix::fs::statat(&dir.fd, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                collected.bytes += size.map_or(0, |stat| stat.st_size.unsigned_abs());
                session.take_garbage(&dir, &name)?;
                collected.blobs.push(digest);
            }
        }
        Ok(())
    }

    fn sweep_layers(&self, session: &Session<'_>, marks: &Marks, collected: &mut Collected) -> Result<()> {
        let all = self.dir.open_at(LAYERS)?;
        for name in all.names()? {
            let Ok(name) = name.into_string() else { continue };
            let Ok(layer) = Digest::from_sha256_hex(&name) else { continue };
            if marks.layers.contains(&name) {
                continue;
            }
            collected.bytes += self.layer_record(&layer)?.map_or(0, |record| record.size_bytes);
            session.take_garbage(&all, &name)?;
            collected.layers.push(layer);
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Moves something into the session's directory, to go with it.
    fn take_garbage(&self, from: &crate::sys::Dir, name: &str) -> Result<(), SysError> {
        let to = self.next_name("garbage");
        match rustix::fs::renameat(&from.fd, name, &self.dir.fd, &to) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(SysError { call: "renameat", path: from.path.join(name), errno }),
        }
    }
}
