//! A blob on its way in: written under the session's directory, hashed as it passes, staged when it is what
//! it should be.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use corten_oci::{Algorithm, Descriptor, Digest, Digester};
use rustix::fs::{Mode, OFlags};

use crate::error::{At, Result, StoreError, SysError};
use crate::session::{Session, discard};
use crate::sys::write_all;

#[derive(Debug)]
pub struct BlobWriter<'s> {
    session: &'s Session<'s>,
    name: Option<String>,
    file: OwnedFd,
    digester: Option<HiddenDigester>,
    size: u64,
}

/// `Digester` has nothing to show.
struct HiddenDigester(Digester);

impl std::fmt::Debug for HiddenDigester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

impl<'s> BlobWriter<'s> {
    pub(crate) fn create(session: &'s Session<'s>, name: String) -> Result<BlobWriter<'s>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&session.dir.fd, &name, flags, Mode::RUSR | Mode::WUSR)
            .at("openat", session.path_of(&name))?;
        let digester = Some(HiddenDigester(Digester::new(Algorithm::Sha256)));
        Ok(BlobWriter { session, name: Some(name), file, digester, size: 0 })
    }

    /// Hashes by the algorithm of the digest that is expected (before anything is written).
    pub fn expecting(mut self, digest: &Digest) -> Result<BlobWriter<'s>> {
        self.digester = Some(HiddenDigester(Digester::new(digest.algorithm()?)));
        Ok(self)
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SysError> {
        let path = || self.session.path_of(self.name.as_deref().unwrap_or_default());
        write_all(&self.file, bytes).map_err(|errno| SysError { call: "write", path: path(), errno })?;
        if let Some(digester) = &mut self.digester {
            digester.0.update(bytes);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Stages the blob and says what it is. If it is not what `expected` says, it is gone.
    pub fn finish(mut self, expected: Option<&Descriptor>) -> Result<(Digest, u64)> {
        let digest = match self.digester.take() {
            Some(digester) => digester.0.finish(),
            None => Digester::new(Algorithm::Sha256).finish(),
        };
        if let Some(expected) = expected {
            if expected.size != self.size {
                let (digest, actual) = (expected.digest.clone(), self.size);
                return Err(StoreError::BlobSize { digest, expected: expected.size, actual });
            }
            if expected.digest != digest {
                return Err(StoreError::BlobDigest { expected: expected.digest.clone(), actual: digest });
            }
        }
        if let Some(name) = self.name.take() {
            self.session.stage_blob(name, digest.clone());
        }
        Ok((digest, self.size))
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            discard(self.session, &name);
        }
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whatever is read from it is written to the blob.
pub(crate) struct Tee<'a, 's, R> {
    pub(crate) input: R,
    pub(crate) blob: &'a mut BlobWriter<'s>,
}

impl<R: Read> Read for Tee<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.blob.write_all(&buffer[..n])?;
        Ok(n)
    }
}
