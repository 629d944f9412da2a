//! What can go wrong between us and systemd.

use std::time::Duration;

use corten_sys::errno_name;
use rustix::io::Errno;

/// Why systemd could not be asked, or did not do what it was asked for. What another process said is
/// printed escaped and cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusFault {
    /// A system call on the socket was refused.
    #[error("{call} = {}", errno_name(*errno))]
    Call { call: &'static str, errno: Errno },
    /// The address is none of a unix socket.
    #[error("the address is neither unix:path=… nor unix:abstract=…")]
    Address,
    /// The bus does not let us in.
    #[error("AUTH EXTERNAL was answered with {}", shown(answer))]
    Rejected { answer: String },
    /// The other side closed the connection.
    #[error("the connection was closed while waiting for {waiting_for}")]
    Closed { waiting_for: &'static str },
    /// No answer in time.
    #[error("no answer to {waiting_for} within {} s", waited.as_secs())]
    Timeout { waiting_for: &'static str, waited: Duration },
    /// A message that no bus would send.
    #[error("a message that is not D-Bus's: {0}")]
    Malformed(&'static str),
    #[error("a message of {length_bytes} bytes, of which at most {} are taken", super::wire::MAX_MESSAGE)]
    TooLong { length_bytes: u64 },
    /// The method was answered with an error.
    #[error("{method}: {}: {}", shown(name), shown(text))]
    Refused { method: &'static str, name: String, text: String },
    /// The job for the unit ended otherwise than `done`.
    #[error("the job for {unit} ended as {}", shown(result))]
    Job { unit: String, result: String },
    /// systemd said that it is done, and the process is in another cgroup.
    #[error("{unit} is there, but process {pid} is in cgroup {} and not in {wanted}", shown(found))]
    Elsewhere { unit: String, pid: i32, wanted: String, found: String },
}

impl BusFault {
    /// Whether a method was answered with the error of this name.
    pub(crate) fn is(&self, error_name: &str) -> bool {
        matches!(self, BusFault::Refused { name, .. } if name == error_name)
    }

    /// Whether nobody listens at the address.
    pub(crate) fn is_nobody(&self) -> bool {
        let nobody = |errno: &Errno| matches!(*errno, Errno::NOENT | Errno::CONNREFUSED);
        matches!(self, BusFault::Call { call: "connect()", errno } if nobody(errno))
    }

    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            nobody if nobody.is_nobody() => Some("no D-Bus runs there; use `--cgroup-manager cgroupfs`"),
            BusFault::Refused { name, .. } if name == "org.freedesktop.DBus.Error.ServiceUnknown" => {
                Some("systemd is not this machine's init; use `--cgroup-manager cgroupfs`")
            }
            BusFault::Refused { name, .. }
                if name == "org.freedesktop.DBus.Error.AccessDenied"
                    || name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" =>
            {
                Some("an ordinary user's containers are made by the user's own systemd, not by the system's")
            }
            BusFault::Elsewhere { .. } => {
                Some("is that the systemd of this machine? a container's own makes no cgroups for others")
            }
            _ => None,
        }
    }
}

/// Another process's words: without control characters, and not endless.
fn shown(text: &str) -> String {
    let end = text.char_indices().nth(200).map_or(text.len(), |(at, _)| at);
    text[..end].escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_escaped_and_cut() {
        let text = "\x1b[2J".to_owned() + &"é".repeat(1000);
        let fault = BusFault::Refused { method: "StopUnit", name: "a.b".into(), text };
        let said = fault.to_string();
        assert!(said.starts_with(r"StopUnit: a.b: \u{1b}[2J"), "{said}");
        assert!(said.chars().count() < 300 && !said.contains('\x1b'));
    }
}
