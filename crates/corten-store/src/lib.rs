//! Blobs, layers, images, leases; unpack and garbage collection.
//!
//! ```text
//! /var/lib/corten/                 0700
//!   oci-layout  index.json         the content store is an OCI image layout: skopeo and umoci read it in place
//!   blobs/sha256/<hex>             as they came; the bytes are the truth
//!   layers/<hex of diff-id>/       one layer, unpacked once, immutable, shared; ids unshifted (root is 0)
//!     fs/                          its files, in overlayfs' form: char 0:0 = whiteout, …overlay.opaque=y
//!     layer.json                   what was counted while it was unpacked
//!   tmp/<random>/                  one for each change under way
//!     lease                        flock'ed while its process lives; lists what the change holds
//!     …                            blobs and layers until they are renamed into place
//!   store.lock                     flock: below
//! ```
//!
//! **What is a root.** An entry of index.json, and through it its manifests, configs and layers; what a
//! lease lists whose process lives; what the engine says its containers use. Everything else is garbage.
//!
//! **What appears, appears whole.** Bytes are written under tmp/, verified, synced once, and renamed. After
//! a kill at any point there is tmp garbage whose lease nobody holds (the next change collects it), and at
//! worst a whole blob or layer that nothing names (`gc` collects it). Names change last, by one rename.
//!
//! **Locking.** Readers take no lock: they see one index.json or the next. `store.lock` is held shared to
//! add a lease or a line to one (so that a sweep, which holds it exclusively from its first look to its last
//! unlink, cannot miss it), exclusively to replace index.json. It is never held across input or unpacking.
//! Who uses an image has to say so before it resolves it (the engine: container record first, then
//! `resolve`), or be ready for its layers to be gone.
#![forbid(unsafe_code)]

pub mod blob;
pub mod commit;
mod ensure;
pub mod error;
pub mod gc;
pub mod import;
mod index;
pub mod layer;
pub mod list;
pub mod load;
pub mod remove;
pub mod resolve;
pub mod session;
pub mod store;
mod sys;
mod tag;
pub mod tar;
mod trash;
pub mod unpack;

pub use blob::BlobWriter;
pub use commit::Commit;
pub use error::{StoreError, SysError};
pub use gc::{Collected, InUse, InUseError, User};
pub use import::{ChangeError, ImportOptions};
pub use layer::LayerRecord;
pub use list::Listed;
pub use load::{LoadError, LoadOptions, Loaded};
pub use remove::{Conflict, RemoveOptions, Removed};
pub use resolve::Image;
pub use session::{NewImage, Session};
pub use store::Store;
pub use sys::spread;
pub use unpack::{Ids, Limits, OverlayXattr, Skipped, UnpackError, UnpackOptions, Unpacked};
