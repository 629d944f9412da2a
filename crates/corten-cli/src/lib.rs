//! One file a command: flags in, engine call, text out
