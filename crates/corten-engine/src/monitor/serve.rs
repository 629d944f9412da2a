//! The monitor's loop: bytes from the container to its log and its clients, bytes and signals back.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use corten_sys::wait::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::clients::Clients;
use super::{Monitor, Running};
use crate::log::Log;
use crate::record;
use crate::session::{self, Heard, RECORD, RESIZE, SIGNAL, STARTED, STDERR, STDIN, STDOUT, STOPPING};
use crate::stdio::window_size;

/// What one look at all descriptors found.
struct Found {
    ended: bool,
    /// The attendant of a health check's probe has ended.
    probed: bool,
    /// Its memory was not enough.
    oom: bool,
    new: bool,
    /// The positions of clients that said something or went.
    heard: Vec<usize>,
    behind: bool,
}

impl Monitor {
    /// Carries bytes and signals until the first process has ended and everything it wrote is read; how it
    /// ended, if anybody knows.
    pub(super) fn serve(
        &mut self,
        running: &mut Running,
        clients: &mut Clients,
        buffer: &mut [u8],
    ) -> Option<Exit> {
        let dir = self.dirs.container(&self.id);
        let mut log = self.log.clone().and_then(|sink| Log::open(dir, sink).ok());
        while let Ok(found) = {
            let idle = running.checks.as_ref().and_then(|checks| checks.idle());
            look(Some(running), clients, idle)
        } {
            if found.ended {
                break;
            }
            self.attend_health(running, found.probed);
            if found.oom {
                self.attend_memory(running);
            }
            // First, while the positions are right; from the last on, since one may be let go.
            for position in found.heard.into_iter().rev() {
                self.obey(running, clients, position, buffer);
                running.streams.input.flush();
            }
            let starter = clients.has_starter();
            pump(running, buffer, &mut log, clients, 1);
            if found.behind {
                clients.catch_up();
            }
            if starter && !clients.has_starter() {
                running.streams.input.end();
            }
            running.streams.input.flush();
            if found.new {
                clients.accept();
            }
        }
        self.attend_memory(running);
        pump(running, buffer, &mut log, clients, usize::MAX);
        let record = running.streams.exit_record();
        // While nobody attended it; or it ended in the moment before we did.
        for (kind, bytes) in corten_runtime::init::unread(&record) {
            bytes.chunks(session::CHUNK - 1).for_each(|bytes| hand_on(kind, bytes, &mut log, clients));
        }
        if let Some(log) = &mut log {
            log.finish();
        }
        if let Some(checks) = running.checks.take() {
            checks.finish();
        }
        // Not our child if we adopted it.
        let end = corten_sys::wait::wait_pidfd(running.pidfd.as_fd()).ok();
        corten_runtime::init::parse_record(&record).or(end)
    }

    /// Waits before the next start; whether the container was stopped meanwhile.
    pub(super) fn rest(&self, clients: &mut Clients, pause: Duration, buffer: &mut [u8]) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let Ok(found) = look(None, clients, Some(left)) else { return false };
            for position in found.heard.into_iter().rev() {
                match session::hear_now(clients.list[position].as_fd(), buffer) {
                    Heard::Message(STOPPING, _) => return true,
                    Heard::Gone => drop(clients.list.remove(position)),
                    // It is read before the next start.
                    Heard::Message(RECORD, _) => {
                        let _gone = clients.list[position].tell(&session::message(RECORD, &[]));
                    }
                    Heard::Message(kind, _) if super::clients::attaches(kind) => {
                        clients.list[position].attach();
                    }
                    _ => {}
                }
            }
            if found.behind {
                clients.catch_up();
            }
            if found.new {
                clients.accept();
            }
        }
    }

    /// Does what a client asks for.
    fn obey(&mut self, running: &mut Running, clients: &mut Clients, position: usize, buffer: &mut [u8]) {
        let Some(client) = clients.list.get_mut(position) else { return };
        match session::hear_now(client.as_fd(), buffer) {
            Heard::Nothing => {}
            Heard::Gone => {
                // Whoever typed is gone: for a pipe that is the end of the input.
                if clients.list.remove(position).starter {
                    running.streams.input.end();
                }
            }
            Heard::Message(STDIN, []) => running.streams.input.end(),
            Heard::Message(STDIN, bytes) => running.streams.input.put(bytes),
            Heard::Message(SIGNAL, [number, ..]) => {
                if let Some(signal) = Signal::from_named_raw(i32::from(*number)) {
                    self.tell(&[("kill", &[("signal", &number.to_string())], record::now_ns())]);
                    // Ended already: its exit is about to be told.
                    let _gone = pidfd_send_signal(&running.pidfd, signal);
                }
            }
            Heard::Message(RESIZE, body) => {
                if let Some(size) = window_size(body) {
                    let (height, width) = (size.ws_row.to_string(), size.ws_col.to_string());
                    if rustix::termios::tcsetwinsize(&running.streams.stdout, size).is_ok() {
                        let to = [("height", height.as_str()), ("width", width.as_str())];
                        self.tell(&[("resize", &to, record::now_ns())]);
                    }
                }
            }
            Heard::Message(kind, _) if super::clients::attaches(kind) => client.attach(),
            Heard::Message(RECORD, _) => {
                self.read_again();
                let _gone = client.tell(&session::message(RECORD, &[]));
            }
            // It came too late to keep the container from its next start.
            Heard::Message(STOPPING, _) => drop(client.tell(&session::message(STARTED, &[]))),
            Heard::Message(..) => {}
        }
    }
}

/// Gives clients that are behind the rest, until all have it or are gone.
pub(super) fn linger(clients: &mut Clients) {
    let mut buffer = vec![0; session::CHUNK];
    while clients.list.iter().any(super::clients::Client::is_behind) {
        let Ok(found) = look(None, clients, None) else { return };
        for position in found.heard.into_iter().rev() {
            if let Heard::Gone = session::hear_now(clients.list[position].as_fd(), &mut buffer) {
                clients.list.remove(position);
            }
        }
        clients.catch_up();
    }
}

fn look(running: Option<&Running>, clients: &Clients, timeout: Option<Duration>) -> Result<Found, Errno> {
    let mut fds = Vec::with_capacity(5 + clients.list.len());
    let streams = running.map(|running| &running.streams);
    // Input that the program does not take is not read from a client either.
    let full = streams.is_some_and(|streams| streams.input.is_full());
    for client in &clients.list {
        let mut wanted = if full { PollFlags::empty() } else { PollFlags::IN };
        wanted.set(PollFlags::OUT, client.is_behind());
        fds.push(PollFd::new(client, wanted));
    }
    let listener = clients.listener().map(|listener| {
        fds.push(PollFd::new(listener, PollFlags::IN));
        fds.len() - 1
    });
    let mut pidfd = None;
    let (mut probe, mut oom) = (None, None);
    if let Some(running) = running {
        pidfd = Some(fds.len());
        fds.push(PollFd::new(&running.pidfd, PollFlags::IN));
        fds.push(PollFd::new(&running.streams.stdout, PollFlags::IN));
        fds.extend(running.streams.stderr.as_ref().map(|err| PollFd::new(err, PollFlags::IN)));
        // What there is room for is written after each wait.
        fds.extend(running.streams.input.waits().map(|input| PollFd::new(input, PollFlags::OUT)));
        if let Some(attendant) = running.checks.as_ref().and_then(|checks| checks.attendant()) {
            probe = Some(fds.len());
            fds.push(PollFd::from_borrowed_fd(attendant, PollFlags::IN));
        }
        if let Some(watch) = &running.oom {
            oom = Some(fds.len());
            fds.push(PollFd::new(watch, PollFlags::IN));
        }
    }
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
    let said = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let heard = (0..clients.list.len()).filter(|&at| fds[at].revents().intersects(said)).collect();
    Ok(Found {
        ended: ready(pidfd),
        probed: ready(probe),
        oom: ready(oom),
        new: ready(listener),
        heard,
        behind: (0..clients.list.len()).any(|at| fds[at].revents().contains(PollFlags::OUT)),
    })
}

/// Reads what the container wrote, `most` times from each stream or until nothing is there. A program that
/// never stops writing must not keep the user's interrupt from it.
fn pump(running: &Running, buffer: &mut [u8], log: &mut Option<Log>, clients: &mut Clients, most: usize) {
    let streams = &running.streams;
    let ends = [(STDOUT, Some(&streams.stdout)), (STDERR, streams.stderr.as_ref())];
    for (kind, fd) in ends.into_iter().filter_map(|(kind, fd)| fd.map(|fd| (kind, fd))) {
        // One byte less: the message's kind comes in front.
        for _ in 0..most {
            let Ok(count @ 1..) = rustix::io::read(fd, &mut buffer[1..]) else { break };
            hand_on(kind, &buffer[1..=count], log, clients);
        }
    }
}

fn hand_on(kind: u8, bytes: &[u8], log: &mut Option<Log>, clients: &mut Clients) {
    if let Some(log) = log {
        log.write(kind, bytes);
    }
    clients.output(kind, bytes);
}
