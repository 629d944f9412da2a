//! A seccomp profile, in OCI or Docker form, compiled to BPF
