//! A blob on its way in: written under the session's directory, hashed as it passes, staged when it is what
//! it should be.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use corten_oci::{Algorithm, Descriptor, Digest, Digester};
use rustix::fs::{Mode, OFlags};

use crate::error::{At, Result, StoreError, SysError};
use crate::session::{Sealed, Session, discard};
use crate::sys::write_all;

#[derive(Debug)]
pub struct BlobWriter<'s> {
    session: &'s Session<'s>,
    name: Option<String>,
    file: OwnedFd,
    digester: HiddenDigester,
    size: u64,
    final_size: u64,
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
        let digester = HiddenDigester(Digester::new(Algorithm::Sha256));
        Ok(BlobWriter { session, name: Some(name), file, digester, size: 0, final_size: 0 })
    }

    /// Hashes by the algorithm of the digest that is expected (before anything is written).
    pub fn expecting(self, digest: &Digest) -> Result<BlobWriter<'s>> {
        let algorithm = digest.algorithm()?;
        Ok(self.hashing(algorithm))
    }

    pub(crate) fn hashing(mut self, algorithm: Algorithm) -> BlobWriter<'s> {
        self.digester = HiddenDigester(Digester::new(algorithm));
        self
    }

    /// The size that it will be padded to with zeros.
    pub(crate) fn of_size(mut self, size: u64) -> BlobWriter<'s> {
        self.final_size = size;
        self
    }

    pub(crate) fn pad_to(&mut self, offset: u64) -> Result<(), SysError> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while self.size < offset {
            let n = (offset - self.size).min(ZEROS.len() as u64) as usize;
            self.append(&ZEROS[..n])?;
        }
        Ok(())
    }

    /// The file with its digest, to be staged or not.
    pub(crate) fn seal(mut self) -> Result<Sealed, SysError> {
        self.pad_to(self.final_size)?;
        let digest = self.digester.0.clone().finish();
        Ok(Sealed { name: self.name.take().unwrap_or_default(), digest, size: self.size })
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SysError> {
        let path = || self.session.path_of(self.name.as_deref().unwrap_or_default());
        write_all(&self.file, bytes).map_err(|errno| SysError { call: "write", path: path(), errno })?;
        self.digester.0.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Stages the blob and says what it is. If it is not what `expected` says, it is gone.
    pub fn finish(self, expected: Option<&Descriptor>) -> Result<(Digest, u64)> {
        let session = self.session;
        let sealed = self.seal()?;
        let verdict = match expected {
            Some(expected) if expected.size != sealed.size => {
                let (digest, actual) = (expected.digest.clone(), sealed.size);
                Err(StoreError::BlobSize { digest, expected: expected.size, actual })
            }
            Some(expected) if expected.digest != sealed.digest => Err(StoreError::BlobDigest {
                expected: expected.digest.clone(),
                actual: sealed.digest.clone(),
            }),
            _ => session.stage(&sealed),
        };
        match verdict {
            Ok(()) => Ok((sealed.digest, sealed.size)),
            Err(error) => {
                discard(session, &sealed.name);
                Err(error)
            }
        }
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
