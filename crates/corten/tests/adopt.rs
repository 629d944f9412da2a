//! Containers whose monitor was killed: what the one that adopts them does as the first would have done it.

mod common;

use common::{Host, holder, kill, text, until};

impl Host {
    /// Runs it; its standard output without the newline. It must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.corten(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    fn inspect(&self, name: &str, field: &str) -> String {
        self.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
    }

    fn kill_monitor(&self, name: &str) {
        kill(holder(&self.path("run").join(self.inspect(name, ".Id"))).expect("a monitor"));
    }
}

#[test]
fn cve_2019_5736_the_binary_of_who_adopts_cannot_be_written() {
    // A command that needs no seal itself forks the monitor, and the container's policy starts it again from there.
    let host = need_host!();
    let own = host.path("own");
    std::fs::copy(env!("CARGO_BIN_EXE_corten"), &own).unwrap();
    let before = std::fs::read(&own).unwrap();
    host.image("spell", &[], |tree| {
        std::os::unix::fs::symlink("/proc/self/exe", tree.join("bin/spell")).unwrap();
    });
    // Whoever executes a link to the process that it is executes Corten, whose file is held by who sees it. The
    // first was started by a command that was sealed.
    let program = ["spell", "spell", "--root", "/tmp/a", "--run-root", "/tmp/b", "events"];
    let find = "for p in /proc/[0-9]*; do c=; read c < $p/comm; [ \"$c\" = spell ] && f=$p; done 2>/dev/null";
    let script = format!(
        "while [ ! -e /tmp/begin ]; do :; done; {find}; kill -9 ${{f#/proc/}}; while [ -e $f ]; do :; done; {}",
        common::SPY
    );
    for flags in [&["--userns", "host"][..], &["--privileged"]] {
        let run = |name: &str, more: &[&str], image: &[&str]| {
            host.ok(&[&["run", "-d", "--name", name], flags, more, image].concat());
        };
        let is_there = |file: &str| host.corten(&["exec", "spy", "ls", file]).status.success();
        run("spy", &[], &["busybox", "sh", "-c", &script]);
        let more = ["--pid", "container:spy", "--restart", "always"];
        run("web", &more, &program);
        let pid = host.inspect("web", ".State.Pid");
        until("it is Corten", || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "spell\n");
        host.kill_monitor("web");
        let mut adopts = std::process::Command::new(&own);
        assert!(adopts.args(host.command(&["ps"]).get_args()).status().unwrap().success());
        host.ok(&["exec", "spy", "touch", "/tmp/begin"]);
        until("it is held", || is_there("/tmp/held"));
        until("it is its second start", || host.inspect("web", ".RestartCount") == "1");
        // Nobody executes it any more.
        host.ok(&["rm", "-f", "web"]);
        host.ok(&["exec", "spy", "touch", "/tmp/go"]);
        until("it was tried", || is_there("/tmp/result"));
        assert_eq!(host.ok(&["exec", "spy", "cat", "/tmp/result"]), "refused", "{flags:?}");
        assert!(std::fs::read(&own).unwrap() == before, "{flags:?}");
        host.ok(&["rm", "-f", "spy"]);
    }
    host.assert_clean(&[]);
}
