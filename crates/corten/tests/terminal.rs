//! `corten run -t` by its effects, with a user at a real pseudo-terminal.

mod common;

use std::io::Read;
use std::time::{Duration, Instant};

use common::Host;
use common::pty::Terminal;
use common::text;
use rustix::process::{Signal, kill_process};
use rustix::termios::{LocalModes, Termios};

/// A shell of busybox that says when it listens.
fn shell(host: &Host, terminal: &mut Terminal, flags: &[&str]) {
    let mut args = vec!["run", "-it", "-e", "PS1=ready> "];
    args.extend(flags);
    args.extend(["busybox", "sh"]);
    terminal.run(&host.command(&args));
    terminal.expect("ready> ");
}

/// Runs a line in the shell; what it shows, without the echo.
fn line(terminal: &mut Terminal, line: &str) -> String {
    terminal.type_in(&format!("{line}\r"));
    let echo = terminal.expect("\r\n");
    // busybox asks the terminal where its cursor is.
    assert_eq!(echo.replace("\u{1b}[6n", ""), line, "the echo, once");
    let shown = terminal.expect("ready> ");
    shown.replace("\u{1b}[6n", "").replace("\r\n", "\n")
}

fn same(before: &Termios, after: &Termios) {
    assert_eq!(format!("{before:?}"), format!("{after:?}"), "the terminal's settings");
}

#[test]
fn the_program_has_a_terminal_of_the_size_outside() {
    let host = need_host!();
    let mut terminal = Terminal::new(37, 91);
    let before = terminal.settings();
    shell(&host, &mut terminal, &["--rm"]);
    assert!(
        !terminal.settings().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    );
    assert_eq!(line(&mut terminal, "test -t 0 && test -t 1 && test -t 2 && echo all"), "all\n");
    assert_eq!(line(&mut terminal, "stty size"), "37 91\n");
    assert_eq!(line(&mut terminal, "tty; readlink /proc/self/fd/0"), "/dev/pts/0\n/dev/pts/0\n");
    assert_eq!(line(&mut terminal, "echo $TERM"), "xterm\n");
    assert_eq!(line(&mut terminal, "stat -c '%u:%g %a' /dev/pts/0"), "0:5 620\n");
    assert_eq!(line(&mut terminal, "stat -c '%t %u' /dev/console; echo to the console > /dev/console"), {
        "88 0\nto the console\n"
    });
    assert_eq!(line(&mut terminal, "echo to the terminal > /dev/tty"), "to the terminal\n");
    // What is typed while nobody reads is echoed by the inner terminal alone, and once.
    terminal.type_in("echo go; cat\r");
    terminal.expect("\r\ngo\r\n");
    terminal.type_in("once\r");
    terminal.expect("once\r\nonce\r\n");
    terminal.type_in("\u{4}");
    terminal.expect("ready> ");
    terminal.type_in("exit 3\r");
    assert_eq!(terminal.wait().code(), Some(3));
    assert!(!terminal.shown.contains("once\r\nonce\r\nonce"), "{}", terminal.shown);
    same(&before, &terminal.settings());
    host.assert_clean(&[]);
}

#[test]
fn a_new_size_travels_with_its_signal() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    let script = "trap 'stty size; exit 5' WINCH; stty size; while :; do sleep 0.05; done";
    terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "sh", "-c", script]));
    terminal.expect("24 80\r\n");
    terminal.resize(50, 132);
    terminal.expect("50 132\r\n");
    assert_eq!(terminal.wait().code(), Some(5));
}

#[test]
fn control_characters_act_in_the_container() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    let script = "echo up; exec sleep 1000";
    terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "sh", "-c", script]));
    terminal.expect("up\r\n");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.wait().code(), Some(130), "{}", terminal.shown);

    let mut terminal = Terminal::new(24, 80);
    terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "sh", "-c", "echo up; cat; exit 4"]));
    terminal.expect("up\r\n");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait().code(), Some(4), "{}", terminal.shown);
}

#[test]
fn jobs_are_stopped_and_continued() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    shell(&host, &mut terminal, &["--rm"]);
    terminal.type_in("sh -c 'echo inner; read x; echo got $x'\r");
    terminal.expect("\r\ninner\r\n");
    terminal.type_in("\u{1a}");
    terminal.expect("Stopped");
    terminal.expect("ready> ");
    assert!(line(&mut terminal, "jobs").contains("Stopped"));
    terminal.type_in("fg\r");
    terminal.expect("fg\r\nsh -c ");
    terminal.expect("\r\n");
    terminal.type_in("word\r");
    terminal.expect("got word\r\n");
    terminal.expect("ready> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.shown);
}

#[test]
fn nothing_of_a_large_output_is_lost_at_the_end() {
    let host = need_host!();
    for _ in 0..3 {
        let mut terminal = Terminal::new(24, 80);
        let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789 $i; i=$((i+1)); done; echo the end";
        terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "sh", "-c", script]));
        assert_eq!(terminal.wait().code(), Some(0));
        assert!(terminal.shown.ends_with("0123456789 19999\r\nthe end\r\n"));
        assert_eq!(terminal.shown.lines().count(), 20001);
    }
}

#[test]
fn a_program_that_never_stops_writing_can_be_interrupted() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    let script =
        "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done";
    terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "sh", "-c", script]));
    terminal.expect("yyyy\r\nyyyy");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.wait().code(), Some(130));
}

#[test]
fn programs_that_fill_the_pipe_at_once_can_be_ended() {
    let host = need_host!();
    let script = "for i in 1 2 3; do dd if=/dev/zero bs=64k & done; exec dd if=/dev/zero bs=64k";
    let mut run = host.command(&["run", "--rm", "busybox", "sh", "-c", script]);
    let mut child = run.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let mut buffer = vec![0; 1 << 20];
    shown.read_exact(&mut buffer).unwrap();
    kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    let started = Instant::now();
    while shown.read(&mut buffer).unwrap() > 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "the signal does not get through");
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn without_interactive_the_terminal_stays_as_it_is() {
    let host = need_host!();
    let mut terminal = Terminal::new(30, 100);
    let before = terminal.settings();
    let script = "stty size; echo up; exec sleep 1000";
    terminal.run(&host.command(&["run", "--rm", "-t", "busybox", "sh", "-c", script]));
    // Both terminals make two characters of a newline, and the second finds one in the other's.
    terminal.expect("30 100\r\r\nup\r\r\n");
    same(&before, &terminal.settings());
    // The outer terminal makes a signal of it, which is passed on.
    terminal.type_in("\u{3}");
    assert_eq!(terminal.wait().code(), Some(130), "{}", terminal.shown);

    let output = host.corten(&["run", "--rm", "-t", "busybox", "sh", "-c", "test -t 1 && echo yes"]);
    assert_eq!(text(&output.stdout), "yes\r\n", "{}", text(&output.stderr));
}

#[test]
fn an_input_that_is_no_terminal_is_refused() {
    let host = need_host!();
    let output = host.corten(&["run", "--rm", "-it", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: the input device is not a TTY\n");
    // In the background nobody needs one.
    let output = host.corten(&["run", "-dit", "--name", "quiet", "busybox", "sh"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let running = host.corten(&["inspect", "-f", "{{.State.Running}}", "quiet"]);
    assert_eq!(text(&running.stdout), "true\n");
}

#[test]
fn the_terminal_is_put_back_however_it_ends() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    // It cannot start.
    terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "/nope"]));
    assert_eq!(terminal.wait().code(), Some(127));
    same(&before, &terminal.settings());
    // The program is killed by the signal that was passed on.
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let script = "echo up; exec sleep 1000";
        terminal.run(&host.command(&["run", "--rm", "-it", "busybox", "sh", "-c", script]));
        terminal.expect("up\r\n");
        assert!(!terminal.settings().local_modes.contains(LocalModes::ECHO));
        kill_process(terminal.pid(), signal).unwrap();
        assert_eq!(terminal.wait().code(), Some(code), "{}", terminal.shown);
        same(&before, &terminal.settings());
    }
    host.assert_clean(&[]);
}

#[test]
fn without_proxy_a_signal_ends_the_client_alone() {
    use std::os::unix::process::ExitStatusExt;
    let host = need_host!();
    for (name, signal) in [("term", Signal::TERM), ("int", Signal::INT), ("hup", Signal::HUP)] {
        let mut terminal = Terminal::new(24, 80);
        let before = terminal.settings();
        shell(&host, &mut terminal, &["--name", name, "--sig-proxy=false"]);
        kill_process(terminal.pid(), signal).unwrap();
        assert_eq!(terminal.wait().signal(), Some(signal.as_raw()), "{}", terminal.shown);
        same(&before, &terminal.settings());
        let running = host.corten(&["inspect", "-f", "{{.State.Running}}", name]);
        assert_eq!(text(&running.stdout), "true\n");
    }
}

#[test]
fn the_detach_keys_leave_the_container_running() {
    let host = need_host!();
    for (name, flag, other, read, keys) in [
        ("default", None, "\u{10}a", "^Pa", "\u{10}\u{11}"),
        ("own", Some("--detach-keys=ctrl-x,x,DEL"), "\u{10}\u{11}\u{18}xq", "^P^Q^Xxq", "\u{18}x\u{7f}"),
    ] {
        let mut terminal = Terminal::new(24, 80);
        let before = terminal.settings();
        let script = format!(
            "stty raw -echo; echo up; dd bs=1 count={} 2>/dev/null | cat -v; exec sleep 1000",
            other.len()
        );
        let mut args = vec!["run", "-it", "--name", name];
        args.extend(flag);
        args.extend(["busybox", "sh", "-c", &script]);
        terminal.run(&host.command(&args));
        terminal.expect("up\n");
        // Half of the keys, and those of another setting, are passed on.
        terminal.type_in(other);
        terminal.expect(read);
        terminal.type_in(keys);
        assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.shown);
        assert!(terminal.shown.ends_with(read), "nothing is said: {}", terminal.shown);
        same(&before, &terminal.settings());
        let running = host.corten(&["inspect", "-f", "{{.State.Running}}", name]);
        assert_eq!(text(&running.stdout), "true\n");
    }
    let output = host.corten(&["run", "--rm", "--detach-keys", "ctrl-A,q", "busybox", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output.stderr).contains("invalid detach keys (ctrl-A,q) provided"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_terminal_belongs_to_the_programs_user() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    let script = "stat -c %u /dev/pts/0; echo again > /dev/stdout; echo still > /dev/tty";
    terminal.run(&host.command(&["run", "--rm", "-it", "-u", "web", "busybox", "sh", "-c", script]));
    assert_eq!(terminal.wait().code(), Some(0), "{}", terminal.shown);
    assert_eq!(terminal.shown, "1000\r\nagain\r\nstill\r\n");
}
