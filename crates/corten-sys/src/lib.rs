//! The kernel: man-page-named wrappers for what rustix lacks, and feature probes

pub mod bpf;
