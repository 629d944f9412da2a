//! Layers of an image that are not unpacked: another program put the image into the layout (skopeo copies
//! to `oci:/var/lib/corten:name`), or the image is of another platform than the one that was pulled.

use std::fs::File;

use corten_oci::{Descriptor, DiffId};
use rustix::fs::{Mode, OFlags};

use crate::error::{At, Result, StoreError};
use crate::resolve::Image;
use crate::session::Session;
use crate::store::Store;
use crate::unpack::{Skipped, UnpackOptions};

impl Store {
    /// Unpacks the layers of an image that are missing. Without any, it costs one access(2) a layer.
    pub fn ensure_layers(&self, image: &Image, options: &UnpackOptions) -> Result<Skipped> {
        if image.diff_ids().iter().all(|layer| self.has_layer(layer)) {
            return Ok(Skipped::default());
        }
        let session = self.session()?;
        let mut jobs = Vec::new();
        for (layer, blob) in image.diff_ids().iter().zip(&image.manifest.layers) {
            if !session.hold_layer(layer)? {
                jobs.push((layer.clone(), blob.clone()));
            }
        }
        let opened = |(layer, blob): &(DiffId, Descriptor)| Ok((layer.clone(), self.open_blob(blob)?));
        let files: Result<Vec<(DiffId, File)>> = jobs.iter().map(opened).collect();
        let skipped = session.unpack_all(files?, options)?;
        session.publish(&[])?;
        Ok(skipped)
    }

    /// A blob to be read. It was verified when it came in; whoever needs more verifies again.
    pub fn open_blob(&self, blob: &Descriptor) -> Result<File> {
        let path = self.blob_path(&blob.digest);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = corten_oci::layout::blob_path(&blob.digest);
        match rustix::fs::openat(&self.dir.fd, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => Err(StoreError::MissingBlob { path }),
            other => Ok(other.at("openat", path)?.into()),
        }
    }
}

impl Session<'_> {
    /// Unpacks several layers at once, as many as there are processors; the first failure is the result.
    pub fn unpack_all(&self, layers: Vec<(DiffId, File)>, options: &UnpackOptions) -> Result<Skipped> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
        // The largest first: it takes longest.
        let mut layers = layers;
        layers.sort_by_key(|(_, file)| file.metadata().map_or(0, |m| m.len()));
        let queue = std::sync::Mutex::new(layers);
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let work = || -> Result<Skipped> {
            let mut skipped = Skipped::default();
            while let Some((layer, file)) = next() {
                let unpacked =
                    self.unpack(Some(&layer), file, options).inspect_err(|_| while next().is_some() {})?;
                skipped.add(&unpacked.skipped);
            }
            Ok(skipped)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let mut total = Skipped::default();
            for thread in threads {
                total.add(&thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(total)
        })
    }
}
