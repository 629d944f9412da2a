//! The threads before the tar reader: one inflates, one hashes. The buffers go round.

use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use corten_oci::{Algorithm, Compression, DiffId, Digester};

use rustix::io::Errno;

use super::inflate::inflate;
use super::{Limits, UnpackError};
use crate::error::{At, SysError};

const BUFFER: usize = 256 << 10;
/// Buffers under way between two threads; 4 MiB in all.
const DEPTH: usize = 8;

type Chunk = Result<Vec<u8>, UnpackError>;

pub(crate) struct Streamed {
    pub(crate) diff_id: DiffId,
    pub(crate) compression: Compression,
    pub(crate) bytes: u64,
}

/// What the consumer sees: chunks of the tar stream, each to be given back.
pub(crate) struct Chunks {
    receiver: Receiver<Chunk>,
    free: Sender<Vec<u8>>,
}

impl Chunks {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Chunk> {
        self.receiver.iter()
    }

    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        // Nobody waits for buffers any more when the input has ended.
        let _ = self.free.send(buffer);
    }
}

/// Runs `consume` on the uncompressed stream. If it fails the threads notice at their next buffer. The
/// outer error: there was no thread to be had.
pub(crate) fn with<T, E>(
    input: impl Read + Send,
    limits: &Limits,
    consume: impl FnOnce(&Chunks) -> Result<T, E>,
) -> Result<Result<(T, Streamed), E>, SysError> {
    thread::scope(|scope| {
        let (free, spare) = channel();
        let (to_hash, inflated) = sync_channel::<Chunk>(DEPTH);
        let (to_tar, receiver) = sync_channel::<Chunk>(DEPTH);
        let inflater = spawn(scope, move || produce(input, limits, &spare, &to_hash))?;
        let hasher = spawn(scope, move || hash(&inflated, &to_tar))?;
        let chunks = Chunks { receiver, free };
        let consumed = consume(&chunks);
        drop(chunks);
        let compression = join(inflater);
        let (diff_id, bytes) = join(hasher);
        let compression = compression.unwrap_or(Compression::None);
        Ok(consumed.map(|consumed| (consumed, Streamed { diff_id, compression, bytes })))
    })
}

/// As [`thread::Scope::spawn`], which takes a thread that cannot be had for a bug.
fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>, SysError> {
    let errno = |error: &std::io::Error| Errno::from_io_error(error).unwrap_or(Errno::AGAIN);
    thread::Builder::new().spawn_scoped(scope, run).map_err(|error| errno(&error)).at("clone", "unpacking")
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn produce(
    input: impl Read,
    limits: &Limits,
    spare: &Receiver<Vec<u8>>,
    output: &SyncSender<Chunk>,
) -> Option<Compression> {
    let fresh = || {
        let mut buffer = spare.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.reserve_exact(BUFFER);
        buffer
    };
    match inflate(input, limits, BUFFER, fresh, |buffer| output.send(Ok(buffer)).is_ok()) {
        Ok(compression) => Some(compression),
        Err(error) => {
            let _ = output.send(Err(error));
            None
        }
    }
}

fn hash(input: &Receiver<Chunk>, output: &SyncSender<Chunk>) -> (DiffId, u64) {
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut bytes = 0;
    for chunk in input.iter() {
        if let Ok(chunk) = &chunk {
            digester.update(chunk);
            bytes += chunk.len() as u64;
        }
        if output.send(chunk).is_err() {
            break;
        }
    }
    (digester.finish(), bytes)
}
