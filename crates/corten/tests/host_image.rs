//! The image `host`: what of the machine is in it, and what is not. Secrets are planted in a mount
//! namespace of the test's own, on file systems mounted over directories of /usr there; the machine's own
//! /usr is never written.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{Host, text};

/// Mounts a tmpfs over /usr/local/lib and a directory of the disk over /usr/local/share, plants in both,
/// covers one more directory with a tmpfs that is private itself, and becomes corten.
const PLANT: &str = r#"
set -e
mount -t tmpfs -o mode=755 none /usr/local/lib
mount --bind "$1" /usr/local/share
mount -t tmpfs -o mode=700 none /usr/local/sbin
mount -t tmpfs -o mode=755 none /usr/local/src
mkdir /usr/local/src/closed /usr/local/src/closed/in
echo covered > /usr/local/src/closed/in/covered
chmod 700 /usr/local/src/closed
mount -t tmpfs -o mode=755 none /usr/local/src/closed/in
echo secret-sub > /usr/local/src/closed/in/secret
echo secret-sbin > /usr/local/sbin/secret
echo public > /usr/local/lib/file
mount --bind /usr/local/lib/file "$2"
for dir in /usr/local/lib /usr/local/share; do
  umask 022
  mkdir -p $dir/open $dir/closed
  echo public > $dir/open/public
  echo later > $dir/open/later
  echo secret-0600 > $dir/open/owner; chmod 600 $dir/open/owner
  echo secret-0640 > $dir/open/group; chown 0:4 $dir/open/group; chmod 640 $dir/open/group
  echo secret-dir > $dir/closed/file; chmod 700 $dir/closed
done
shift 2
exec "$@"
"#;

struct Planted {
    host: Host,
    disk: PathBuf,
    file: PathBuf,
}

impl Planted {
    fn new(host: Host) -> Option<Self> {
        let places = ["lib", "share", "sbin", "src"];
        if places.iter().any(|name| !PathBuf::from("/usr/local").join(name).is_dir()) {
            eprintln!("skipped: this machine lacks a directory of /usr/local to mount over");
            return None;
        }
        // A file to mount over: any that is there.
        let file = std::fs::canonicalize("/usr/bin/env").unwrap();
        let disk = host.path("disk");
        std::fs::create_dir(&disk).unwrap();
        std::fs::set_permissions(&disk, std::fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { host, disk, file })
    }

    fn spawn(&self, flags: &[&str], script: &str) -> Child {
        let mut args = vec!["run", "--rm", "-i"];
        args.extend(flags);
        args.extend(["host", "sh", "-c", script]);
        let run = self.host.command(&args);
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", PLANT, "plant"])
            .args([&self.disk, &self.file])
            .arg(run.get_program())
            .args(run.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, flags: &[&str], script: &str) -> String {
        let output = self.spawn(flags, script).wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

#[test]
fn what_is_mounted_below_is_there_and_what_is_private_is_not() {
    let Some(planted) = Planted::new(need_host!()) else { return };
    let file = planted.file.display().to_string();
    for flags in [&[][..], &["--userns=host"]] {
        let list = planted.run(flags, "cd /usr/local; ls lib lib/open share share/open src; test ! -e sbin");
        let dir = "open\n\nX/open:\nlater\npublic\n";
        let lib = dir.replace('X', "lib");
        let share = dir.replace('X', "share");
        assert_eq!(list, format!("lib:\nfile\n{lib}\nshare:\n{share}\nsrc:\n"), "{flags:?}");
        let read = format!("cd /usr/local; cat lib/open/public share/open/public {file}");
        assert_eq!(planted.run(flags, &read), "public\npublic\npublic\n", "{flags:?}");
        let search =
            "grep -rI -e secret- -e covered /usr/local/lib /usr/local/share /usr/local/src; test $? = 1";
        assert_eq!(planted.run(flags, search), "", "{flags:?}");
    }
    planted.host.assert_clean(&[]);
}

#[test]
fn it_can_be_written_over_and_deleted_and_nothing_of_that_reaches_the_machine() {
    let Some(planted) = Planted::new(need_host!()) else { return };
    let script = "set -e; cd /usr/local; echo mine > share/open/owner; cat share/open/owner; \
                  echo more >> share/open/public; cat share/open/public; mkdir share/closed; \
                  stat -c %u:%a share/closed share/open/later; rm -r share/open lib/open lib/file; ls share lib";
    let shown = planted.run(&[], script);
    assert_eq!(shown, "mine\npublic\nmore\n0:755\n0:644\nlib:\n\nshare:\nclosed\n");
    let read = |name: &str| std::fs::read_to_string(planted.disk.join(name)).unwrap();
    assert_eq!(read("open/owner"), "secret-0600\n");
    assert_eq!(read("open/public"), "public\n");
    planted.host.assert_clean(&[]);
}

#[test]
fn what_is_written_is_in_memory_and_gone_with_the_run() {
    let host = need_host!();
    let script = "test ! -e /usr/written-below; echo x | tee /root/written-above /usr/written-below";
    let output = host.corten(&["run", "--name", "box", "host", "sh", "-c", script]);
    assert_eq!(text(&output.stdout), "x\n", "{}", text(&output.stderr));
    let find = Command::new("find").arg(host.path("root")).args(["-name", "written-*"]).output().unwrap();
    assert_eq!(text(&find.stdout), "");
    let again = host.corten(&["start", "-a", "box"]);
    assert_eq!(text(&again.stdout), "x\n", "{}", text(&again.stderr));
    assert!(host.corten(&["rm", "box"]).status.success());
    host.assert_clean(&[]);
}

#[test]
fn a_file_that_turns_private_later_cannot_be_read_any_more() {
    let Some(planted) = Planted::new(need_host!()) else { return };
    for flags in [&[][..], &["--userns=host"], &["--privileged"]] {
        let script = "cd /usr/local; cat lib/open/later share/open/later; read go; \
                      cat lib/open/later share/open/later; cp share/open/later /tmp/x; \
                      chmod 644 share/open/later; cat share/open/later; ls share/open; ls lib/open > /dev/null; exit 0";
        let mut child = planted.spawn(flags, script);
        let mut shown = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..2 {
            let mut line = String::new();
            shown.read_line(&mut line).unwrap();
            assert_eq!(line, "later\n", "{flags:?}");
        }
        // The mount namespace is that of the process which became corten.
        let outside = PathBuf::from(format!("/proc/{}/root/usr/local", child.id()));
        for name in ["lib/open/later", "share/open/later"] {
            std::fs::set_permissions(outside.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::set_permissions(outside.join("lib/open"), std::fs::Permissions::from_mode(0o700)).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let mut rest = String::new();
        for line in shown.lines() {
            rest += &line.unwrap();
            rest.push('\n');
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(rest, "later\npublic\n", "{flags:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr).matches("Permission denied").count(), 6, "{}", text(&output.stderr));
        for name in ["lib/open", "share/open/later", "lib/open/later"] {
            let path = planted.disk.join(name.trim_start_matches("share/"));
            if path.exists() {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
}

#[test]
fn a_package_manager_works_on_it() {
    let host = need_host!();
    if !std::path::Path::new("/var/lib/dpkg/info/attr.list").exists() {
        eprintln!("skipped: needs a machine of Debian's with the package attr");
        return;
    }
    let script = "dpkg --remove --force-depends attr >&2 && ! dpkg-query -W -f '${Status}' attr | grep -q installed$; \
                  test ! -e /usr/bin/getfattr && apt-get check -q >&2; echo done";
    let output = host.corten(&["run", "--rm", "host", "sh", "-c", script]);
    assert_eq!(text(&output.stdout), "done\n", "{}", text(&output.stderr));
    assert!(std::path::Path::new("/usr/bin/getfattr").exists());
    host.assert_clean(&[]);
}
