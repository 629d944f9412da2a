//! The words: digests, references, descriptors, platforms and the OCI documents.
//!
//! Everything here is pure: text and bytes in, values out. A value of one of these types is valid;
//! whatever came over an edge is checked once, where it is parsed, and what is wrong with it is said in
//! terms of the part that is wrong.
#![forbid(unsafe_code)]

pub mod descriptor;
pub mod digest;
pub mod id;
pub mod image;
pub mod layout;
pub mod media_type;
mod null;
pub mod platform;
pub mod reference;
pub mod time;

pub use descriptor::{Annotations, Descriptor, DescriptorError};
pub use digest::{Algorithm, Digest, DigestError, Digester};
pub use id::{ContainerId, ContainerName, DiffId, IdError, ImageId, NameError};
pub use image::config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use image::{Document, DocumentError, Index, Manifest};
pub use media_type::{Compression, Kind, MediaType, MediaTypeError};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
