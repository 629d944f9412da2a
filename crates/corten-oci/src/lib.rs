//! The words: digests, references, descriptors, platforms and the OCI documents
