//! Why a profile cannot be read or compiled.

/// `field` is the path in the document, as `syscalls[3].args[0].op`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bound on what is parsed at all.
    #[error("seccomp profile: {size_bytes} bytes, more than {limit_bytes}")]
    TooLarge { size_bytes: usize, limit_bytes: usize },
    #[error("seccomp profile: not JSON")]
    Json(#[source] serde_json::Error),
    /// The field is absent though the specification requires it.
    #[error("seccomp profile: `{field}` is missing")]
    Missing { field: String },
    /// The field has another JSON type, or a number out of range.
    #[error("seccomp profile: `{field}` must be {expected}")]
    Type { field: String, expected: &'static str },
    /// The field holds a name that no kernel, specification or engine gives.
    #[error("seccomp profile: `{field}`: unknown {kind} `{name}`")]
    UnknownName { field: String, kind: &'static str, name: String },
    /// Two fields that exclude each other, or one that needs another.
    #[error("seccomp profile: `{field}` {conflict}")]
    Conflict { field: String, conflict: &'static str },
    /// The kernel takes at most [`crate::MAX_INSNS`] instructions.
    #[error("seccomp profile: the filter has {insns} instructions, the kernel takes {limit}", limit = crate::MAX_INSNS)]
    TooLong { insns: usize },
    /// Bytes that [`crate::Filter::to_bytes`] did not write.
    #[error("seccomp filter: {0}")]
    Corrupt(&'static str),
}
