//! `corten events`: what was done, and what is done meanwhile.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::pty::Terminal;
use common::{Host, text, until};

fn past(host: &Host, args: &[&str]) -> Vec<String> {
    let mut all = vec!["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"];
    all.extend(args);
    let output = host.corten(&all);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_life_of_containers_images_and_volumes_is_told() {
    let host = need_host!();
    assert_eq!(past(&host, &[]), ["image import"]);
    assert_eq!(host.sh(&["--name", "short", "-l", "tier=a"], "exit 3").0, 3);
    let life = ["create", "attach", "start", "die", "destroy"].map(|action| format!("container {action}"));
    assert_eq!(past(&host, &["-f", "container=short"]), life);
    assert_eq!(past(&host, &["-f", "label=tier=a", "-f", "event=die"]), ["container die"]);
    let mut args = vec!["events", "--since", "1h", "--until", "0s"];
    args.extend([
        "--format",
        "{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.name}} {{.from}}",
        "-f",
        "event=die",
    ]);
    assert_eq!(text(&host.corten(&args).stdout), "3 short busybox\n");
    assert!(host.corten(&["run", "-d", "--name", "long", "busybox", "sleep", "1000"]).status.success());
    assert!(host.corten(&["rm", "-f", "long"]).status.success());
    let life = ["create", "start", "kill", "die", "destroy"].map(|action| format!("container {action}"));
    assert_eq!(past(&host, &["-f", "container=long"]), life);
    host.corten(&["volume", "create", "data"]);
    host.corten(&["volume", "rm", "data"]);
    assert_eq!(past(&host, &["-f", "volume=data"]), ["volume create", "volume destroy"]);
    assert_eq!(host.corten(&["run", "--rm", "--name", "bad", "busybox", "/nope"]).status.code(), Some(127));
    assert_eq!(past(&host, &["-f", "container=bad"]), ["container create", "container destroy"]);
    let id = text(&host.corten(&["images", "-q", "--no-trunc", "busybox"]).stdout).trim().to_owned();
    host.corten(&["tag", "busybox", "other:2"]);
    host.corten(&["rmi", "other:2"]);
    host.corten(&["rmi", "busybox"]);
    let told = ["import", "tag", "untag", "untag", "delete"].map(|action| format!("image {action}"));
    assert_eq!(past(&host, &["-f", "type=image"]), told);
    let actors =
        ["events", "--since", "1h", "--until", "0s", "-f", "type=image", "--format", "{{.Actor.ID}}"];
    assert!(text(&host.corten(&actors).stdout).lines().all(|line| line == id), "{id}");
    let mut args = actors.to_vec();
    args.splice(7.., ["--format", "{{.Actor.Attributes.name}}", "-f", "event=tag"]);
    assert_eq!(text(&host.corten(&args).stdout), "other:2\n");
}

#[test]
fn a_prune_tells_what_it_gave_back() {
    let host = need_host!();
    ok(&host, &["run", "--name", "web", "-v", "data:/data", "busybox", "sh", "-c", "echo 1234567 > /file"]);
    ok(&host, &["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo 12345 > /data/file"]);
    let size = ok(&host, &["images", "--format", "{{.Size}}"]);
    let before = ["container", "image", "volume"].map(|kind| past(&host, &["-f", &format!("type={kind}")]));
    for what in ["container", "volume", "image", "image"] {
        let args = if what == "container" { vec![] } else { vec!["-a"] };
        ok(&host, &[&[what, "prune", "-f"], &args[..]].concat());
    }
    let told = ["events", "--since", "1h", "--until", "0s", "-f", "event=prune", "--format", "json"];
    let told = ok(&host, &told);
    let told: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = told.iter().map(|event| event["Type"].as_str().unwrap()).collect();
    assert_eq!(seen, ["container", "volume", "image", "image"]);
    for event in &told {
        assert_eq!((&event["Action"], &event["Actor"]["ID"]), (&"prune".into(), &"".into()), "{event}");
        assert!(event.get("id").is_none() && event.get("from").is_none(), "{event}");
        assert_eq!(event["Actor"]["Attributes"].as_object().unwrap().len(), 1, "{event}");
    }
    let reclaimed = |at: usize| told[at]["Actor"]["Attributes"]["reclaimed"].as_str().unwrap();
    assert!(
        size.trim().ends_with("MB") && reclaimed(2).parse::<u64>().unwrap() > 500_000,
        "{size}: {told:?}"
    );
    // Blocks, or bytes of a file system that keeps small files elsewhere.
    assert!([0, 1].iter().all(|at| reclaimed(*at).parse::<u64>().unwrap() >= 6), "{told:?}");
    assert_eq!(reclaimed(3), "0", "nothing was there to remove");
    // What was removed was told one by one.
    for (kind, before) in ["container", "image", "volume"].into_iter().zip(before) {
        let now = past(&host, &["-f", &format!("type={kind}")]);
        assert!(now.len() > before.len() + 1, "{kind}: {now:?}");
    }
}

#[test]
fn who_removes_itself_ends_under_its_new_name() {
    let host = need_host!();
    for made in [&["run", "-d"][..], &["create"]] {
        let args = [made, &["--rm", "--name", "old", "busybox", "sh", "-c", "while :; do sleep 1000; done"]];
        let id = ok(&host, &args.concat());
        ok(&host, &["start", "old"]);
        ok(&host, &["rename", "old", "new"]);
        ok(&host, &["run", "-d", "--name", "old", "busybox", "sleep", "1000"]);
        ok(&host, &["kill", "new"]);
        let format = "{{.Action}} {{.Actor.Attributes.name}}";
        let args = ["events", "--since", "1h", "--until", "0s", "--format", format];
        let filter = format!("container={}", id.trim());
        let args = [&args[..], &["-f", &filter]].concat();
        let mut told = String::new();
        until("it is gone", || {
            told = ok(&host, &args);
            told.contains("destroy ")
        });
        let told: Vec<&str> = told.lines().skip_while(|line| !line.starts_with("rename")).collect();
        assert_eq!(told, ["rename new", "kill new", "die new", "destroy new"], "{made:?}");
        let names: Vec<_> = std::fs::read_dir(host.path("root/names")).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(ok(&host, &["inspect", "-f", "{{.Name}} {{.State.Running}}", "old"]), "/old true\n");
        ok(&host, &["rm", "-f", "old"]);
    }
    host.assert_clean(&[]);
}

#[test]
fn a_follower_is_told_at_once() {
    let host = need_host!();
    let mut child = host
        .command(&["events", "--format", "json", "-f", "type=container"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Only what happens from then on is shown: until the first is seen, again.
    let run = |name: &str| {
        assert!(host.corten(&["run", "--rm", "--name", name, "busybox", "true"]).status.success())
    };
    let watched = host.path("run/events");
    let is_watching = || {
        std::fs::read_dir(format!("/proc/{}/fd", child.id())).is_ok_and(|entries| {
            entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == watched))
        })
    };
    while !is_watching() {
        std::thread::yield_now();
    }
    run("first");
    run("second");
    let mut seen = Vec::new();
    loop {
        let event: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let name = event["Actor"]["Attributes"]["name"].as_str().unwrap().to_owned();
        let action = event["Action"].as_str().unwrap().to_owned();
        let last = name == "second" && action == "destroy";
        assert_eq!(event["from"], "busybox");
        if name == "second" {
            seen.push(action);
        }
        if last {
            break;
        }
    }
    assert_eq!(seen, ["create", "attach", "start", "die", "destroy"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_end_that_nobody_saw_is_told_by_who_finds_it() {
    let host = need_host!();
    let output = host.corten(&["run", "-d", "--name", "left", "busybox", "sleep", "1000"]);
    let id = text(&output.stdout).trim().to_owned();
    // The monitor is the parent of the first process.
    let pid = text(&host.corten(&["inspect", "-f", "{{.State.Pid}}", "left"]).stdout);
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    for victim in [monitor.as_str(), pid.trim()] {
        let pid = rustix::process::Pid::from_raw(victim.parse().unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
    }
    host.corten(&["ps"]);
    let told = past(&host, &["-f", &format!("container={id}")]);
    assert_eq!(told, ["container create", "container start", "container die"]);
}

/// Each event of a container as `ACTION NAME=VALUE …`, its usual attributes and what no test can know left out.
fn story(host: &Host, name: &str) -> Vec<String> {
    let args = ["events", "--since", "1h", "--until", "0s", "--format", "json", "-f"];
    let output = host.corten(&[&args[..], &[&format!("container={name}")]].concat());
    let line = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let attributes = event["Actor"]["Attributes"].as_object().unwrap();
        let usual = ["image", "name", "execID", "execDuration", "imageID"];
        let more = attributes.iter().filter(|(name, _)| !usual.contains(&name.as_str()));
        let more: String = more.map(|(name, value)| format!(" {name}={}", value.as_str().unwrap())).collect();
        event["Action"].as_str().unwrap().to_owned() + &more
    };
    text(&output.stdout).lines().map(line).collect()
}

#[track_caller]
fn ok(host: &Host, args: &[&str]) -> String {
    let output = host.corten(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Waits until its script has come so far.
fn is_up(host: &Host, name: &str) {
    while !host.corten(&["exec", name, "rm", "/up"]).status.success() {}
}

#[test]
fn what_is_done_to_a_container_is_told_once_and_in_order() {
    let host = need_host!();
    let script = "trap 'exit 7' TERM; trap : HUP; echo up > /up; while :; do sleep 0.05; done";
    let id = ok(&host, &["create", "--name", "box", "busybox", "sh", "-c", script]);
    let mut known = 0;
    let mut told = |wanted: &[&str]| {
        // Waiting for it to be up is an exec too, or many.
        let story = story(&host, id.trim());
        let told: Vec<&str> =
            story.iter().map(String::as_str).filter(|line| !line.contains("exec_")).collect();
        assert_eq!(told[known..], *wanted);
        known = told.len();
    };
    ok(&host, &["start", "box"]);
    ok(&host, &["start", "box"]);
    is_up(&host, "box");
    told(&["create", "start"]);
    ok(&host, &["kill", "-s", "HUP", "box"]);
    ok(&host, &["pause", "box"]);
    ok(&host, &["unpause", "box"]);
    told(&["kill signal=1", "pause", "unpause"]);
    let (file, tar) = (host.path("passwd"), host.path("root.tar"));
    let (file, tar) = (file.to_str().unwrap(), tar.to_str().unwrap());
    ok(&host, &["top", "box"]);
    ok(&host, &["cp", "box:/etc/passwd", file]);
    ok(&host, &["cp", file, "box:/tmp/passwd"]);
    ok(&host, &["export", "-o", tar, "box"]);
    ok(&host, &["commit", "-m", "why", "box", "made:1"]);
    told(&["top", "archive-path", "extract-to-dir", "export", "commit comment=why imageRef=made:1"]);
    assert_eq!(past(&host, &["-f", "image=made:1"]), ["image tag"]);
    ok(&host, &["rename", "box", "tin"]);
    ok(&host, &["update", "--pids-limit", "100", "tin"]);
    ok(&host, &["stop", "tin"]);
    ok(&host, &["stop", "tin"]);
    told(&["rename oldName=/box", "update", "kill signal=15", "die exitCode=7", "stop"]);
    let renamed = past(&host, &["-f", "container=tin", "-f", "event=die"]);
    assert_eq!(renamed, ["container die"], "its monitor knows its name");
    ok(&host, &["restart", "tin"]);
    is_up(&host, "tin");
    ok(&host, &["restart", "-t", "0", "-s", "HUP", "tin"]);
    let ended = ["kill signal=1", "kill signal=9", "die exitCode=137", "stop", "start", "restart"];
    told(&[&["start", "restart"][..], &ended].concat());
    is_up(&host, "tin");
    ok(&host, &["pause", "tin"]);
    ok(&host, &["stop", "tin"]);
    told(&["pause", "kill signal=15", "unpause", "die exitCode=7", "stop"]);
    for args in [&["pause", "tin"][..], &["kill", "tin"], &["top", "tin"], &["rename", "tin", "tin"]] {
        assert!(!host.corten(args).status.success());
    }
    ok(&host, &["rm", "tin"]);
    told(&["destroy"]);
}

fn until_told(host: &Host, what: &str) {
    while !story(host, "box").iter().any(|line| line == what) {
        std::thread::yield_now();
    }
}

#[test]
fn who_comes_and_goes_is_told() {
    let host = need_host!();
    let mut terminal = Terminal::new(24, 80);
    let script = "stty raw -echo; echo up; exec sleep 1000";
    terminal.run(&host.command(&["run", "-it", "--name", "box", "busybox", "sh", "-c", script]));
    terminal.expect("up\n");
    until_told(&host, "resize height=24 width=80");
    terminal.type_in("\u{10}\u{11}");
    assert_eq!(terminal.wait().code(), Some(0));
    let (come, size) = (["create", "attach", "start"], "resize height=24 width=80");
    assert_eq!(story(&host, "box"), [&come[..], &[size, "detach"]].concat());
    let mut terminal = Terminal::new(40, 100);
    terminal.run(&host.command(&["attach", "box"]));
    // Its client has made the terminal raw before it tells the size.
    until_told(&host, "resize height=40 width=100");
    terminal.type_in("\u{10}\u{11}");
    assert_eq!(terminal.wait().code(), Some(0));
    assert_eq!(story(&host, "box")[5..], ["attach", "resize height=40 width=100", "detach"]);
    let mut terminal = Terminal::new(24, 80);
    terminal.run(&host.command(&["exec", "-it", "box", "sh", "-c", script]));
    terminal.expect("up\n");
    terminal.type_in("\u{10}\u{11}");
    assert_eq!(terminal.wait().code(), Some(0));
    let command = format!("sh -c {script}");
    let told = ["exec_create: ", "exec_start: "].map(|action| action.to_owned() + &command);
    assert_eq!(story(&host, "box")[8..], [&told[..], &["exec_detach".to_owned()]].concat());
    // A signal that the client passes on.
    let mut client = host.command(&["attach", "--no-stdin", "box"]);
    let mut client = client.stdout(Stdio::null()).spawn().unwrap();
    while story(&host, "box").len() < 12 {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&client);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(143));
    let told = story(&host, "box");
    let at = told.iter().position(|line| line == "kill signal=15").unwrap();
    // Whoever attends the exec sees its end at the same time as the monitor its container's.
    let rest = told[at + 1..].iter().map(String::as_str);
    let rest: Vec<&str> = rest.filter(|line| !line.starts_with("exec_die")).collect();
    assert_eq!((told[11].as_str(), rest), ("attach", vec!["die exitCode=143"]));
}

#[test]
fn an_exec_is_told_from_its_making_to_its_end() {
    let host = need_host!();
    ok(&host, &["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    assert_eq!(host.corten(&["exec", "box", "sh", "-c", "exit 3"]).status.code(), Some(3));
    assert_eq!(host.corten(&["exec", "box", "/nope"]).status.code(), Some(127));
    let told = story(&host, "box");
    let exec = ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die exitCode=3"];
    assert_eq!(told[2..], [&exec[..], &["exec_create: /nope "]].concat());
    let mut args = vec!["events", "--since", "1h", "--until", "0s", "-f", "container=box"];
    args.extend(["-f", "event=exec_create", "-f", "event=exec_die", "--format"]);
    args.push("{{.Actor.Attributes.execID}}");
    let ids = text(&host.corten(&args).stdout);
    let ids: Vec<&str> = ids.lines().collect();
    assert!(ids.len() == 3 && ids[0].len() == 64 && ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    ok(&host, &["rm", "-f", "box"]);
}

#[test]
fn volumes_are_told_of_with_their_containers() {
    let host = need_host!();
    let flags = ["run", "--rm", "--name", "box", "-v", "data:/data:ro", "-v", "/scratch"];
    ok(&host, &[&flags[..], &["busybox", "true"]].concat());
    let all = past(&host, &[]);
    let wanted = [
        "image import",
        "volume create",
        "volume create",
        "container create",
        "container attach",
        "volume mount",
        "volume mount",
        "container start",
        "container die",
        "volume unmount",
        "volume unmount",
        "volume destroy",
        "container destroy",
    ];
    assert_eq!(all, wanted);
    let args = ["events", "--since", "1h", "--until", "0s", "-f", "volume=data", "--format"];
    let format = "{{.Action}} {{json .Actor.Attributes}}";
    let told = text(&host.corten(&[&args[..], &[format]].concat()).stdout);
    let id = told.split("\"container\":\"").nth(1).unwrap()[..64].to_owned();
    let with = format!("\"container\":\"{id}\"");
    let wanted = format!(
        "create {{\"driver\":\"local\"}}\nmount {{{with},\"destination\":\"/data\",\"driver\":\"local\",\
         \"propagation\":\"\",\"read/write\":\"false\"}}\nunmount {{{with},\"driver\":\"local\"}}\n"
    );
    assert_eq!(told, wanted);
}

#[test]
fn a_kill_for_memory_is_told_when_it_happens() {
    let host = need_host!();
    let eat = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let script = format!(
        "trap 'exit 0' TERM; while :; do [ -e /flag/go ] && rm /flag/go && sh -c '{eat}'; sleep 0.02; done"
    );
    let flag = format!("{}:/flag", host.path("flag").display());
    std::fs::create_dir(host.path("flag")).unwrap();
    ok(&host, &["run", "-d", "--name", "box", "-m", "16m", "-v", &flag, "busybox", "sh", "-c", &script]);
    let id = ok(&host, &["inspect", "-f", "{{.Id}}", "box"]).trim().to_owned();
    let count = || story(&host, "box").iter().filter(|line| *line == "oom").count();
    let shown = || ok(&host, &["inspect", "-f", "{{.State.OOMKilled}} {{.State.Running}}", "box"]);
    assert_eq!(shown(), "false true\n");
    for kill_monitor in [false, true] {
        let before = count();
        std::fs::write(host.path("flag/go"), "").unwrap();
        until("it is told", || count() > before);
        assert_eq!(shown(), "true true\n", "before it is told");
        if kill_monitor {
            common::kill(common::holder(&host.path("run").join(&id)).expect("a monitor"));
        }
    }
    let told = count();
    ok(&host, &["stop", "box"]);
    let story = story(&host, "box");
    assert_eq!(story.iter().filter(|line| *line == "oom").count(), told, "each once: {story:?}");
    assert_eq!(ok(&host, &["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "box"]), "true 0\n");
    ok(&host, &["rm", "box"]);
    host.assert_clean(&[id]);
}

#[test]
fn a_kill_for_memory_that_nobody_saw_is_told_too() {
    let host = need_host!();
    let script = "while ! [ -e /flag/go ]; do sleep 0.02; done; x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let flag = format!("{}:/flag", host.dir.path().display());
    ok(&host, &["run", "-d", "--name", "box", "-m", "16m", "-v", &flag, "busybox", "sh", "-c", script]);
    let id = ok(&host, &["inspect", "-f", "{{.Id}}", "box"]).trim().to_owned();
    let pid: i32 = ok(&host, &["inspect", "-f", "{{.State.Pid}}", "box"]).trim().parse().unwrap();
    let init = hold(pid);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let monitor = hold(monitor.parse().unwrap());
    rustix::process::pidfd_send_signal(&monitor, rustix::process::Signal::KILL).unwrap();
    ended(&monitor);
    std::fs::write(host.path("go"), "").unwrap();
    ended(&init);
    ok(&host, &["ps"]);
    let wanted = ["create", "start", "oom", "die exitCode=137"];
    assert_eq!(story(&host, &id), wanted);
    assert_eq!(ok(&host, &["inspect", "-f", "{{.State.OOMKilled}}", "box"]), "true\n");
    ok(&host, &["rm", "box"]);
    host.assert_clean(&[id]);
}

fn hold(pid: i32) -> rustix::fd::OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

fn ended(pidfd: &rustix::fd::OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}
