//! Every command but `run`: what it prints and what it asks of the engine.

mod common;

use std::collections::BTreeSet;

use common::{Call, corten, corten_with};
use corten_cli::engine_api::{CopyDirection, Import, Load, RemoveContainer};
use corten_engine::config::{EnvVar, User};
use corten_engine::exec::ExecConfig;

#[test]
fn ps() {
    assert_eq!(
        corten(&["ps"]).stdout,
        "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES\n\
         aaaaaaaaaaaa   busybox   \"sh -c 'while true; …\"   5 minutes ago   Up 4 minutes             web\n"
    );
    let got =
        corten(&["container", "ls", "-a", "--format", "{{.Names}}|{{.State}}|{{.Status}}|{{.RunningFor}}"]);
    assert_eq!(
        got.stdout,
        "web|running|Up 4 minutes|5 minutes ago\njob|exited|Exited (137) 2 hours ago|3 hours \
         ago\nfresh|created|Created|25 hours ago\n"
    );
    for (args, want) in [
        (&["-q"][..], "aaaaaaaaaaaa\n"),
        (&["-aq"], "aaaaaaaaaaaa\nbbbbbbbbbbbb\ncccccccccccc\n"),
        (&["-ln1", "--format={{.Names}}"], "web\n"),
        (&["-n", "2", "--format={{.Names}}"], "web\njob\n"),
        (&["-f", "status=exited", "--format={{.Names}}"], "job\n"),
        (&["-af", "name=e", "--format={{.Names}}"], "web\nfresh\n"),
        (&["-af", "name=^/job$", "--format={{.Names}}"], "job\n"),
        (&["-f", "exited=137", "--format={{.Names}}"], "job\n"),
        (&["-af", "before=web", "--format={{.Names}}"], "job\nfresh\n"),
        (&["-af", "since=fresh", "-f", "id=b", "--format={{.Names}}"], "job\n"),
        (&["-f", "ancestor=busybox:latest", "--format={{.Names}}"], "web\n"),
        (&["-f", "label=com.example.team-name=b", "-q"], ""),
        (&["--format", "{{.Label \"com.example.team-name\"}}{{.Label \"none\"}}"], "a\n"),
        (
            &["--format", "table {{json .Names}}\\t{{.Label \"com.example.team-name\"}}"],
            "NAMES     team name\n\"web\"     a\n",
        ),
        (&["-s", "--format", "{{.Size}}"], "2.05kB (virtual 4.26MB)\n"),
    ] {
        let args: Vec<&str> = ["ps"].iter().chain(args).copied().collect();
        let got = corten(&args);
        assert_eq!((got.stdout.as_str(), got.code), (want, 0), "{args:?}: {}", got.stderr);
    }
    let json = corten(&["ps", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 15);
    assert_eq!(json["Labels"], "com.example.team-name=a");
    let got = corten(&["ps", "--format", "{{.Nope"]);
    assert_eq!(
        (got.code, got.stderr.as_str()),
        (1, "error: template parsing error: template: :1: unclosed action\n")
    );
    assert!(corten(&["ps", "-f", "wat=1"]).stderr.starts_with("error: invalid filter 'wat'\n"));
    assert!(corten(&["ps", "x"]).stderr.starts_with("error: 'corten ps' accepts no arguments"));
}

#[test]
fn images() {
    assert_eq!(
        corten(&["images"]).stdout,
        "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE\n\
         busybox      latest    dddddddddddd   2 weeks ago   4.26MB\n\
         debian       latest    eeeeeeeeeeee   2 weeks ago   117MB\n\
         <none>       <none>    ffffffffffff   2 weeks ago   12B\n"
    );
    for (args, want) in [
        (&["-q"][..], "dddddddddddd\neeeeeeeeeeee\nffffffffffff\n"),
        (&["-q", "deb*"], "eeeeeeeeeeee\n"),
        (&["-q", "busybox:latest"], "dddddddddddd\n"),
        (&["-q", "busybox:1"], ""),
        (&["-qf", "dangling=true"], "ffffffffffff\n"),
        (&["-qf", "reference=*box"], "dddddddddddd\n"),
        (&["--format", "{{.Repository}}:{{.Tag}} {{.Size}}", "busybox"], "busybox:latest 4.26MB\n"),
    ] {
        let args: Vec<&str> = ["images"].iter().chain(args).copied().collect();
        assert_eq!(corten(&args).stdout, want, "{args:?}");
    }
    assert!(corten(&["image", "ls", "--tree"]).stderr.contains("--tree is refused"));
}

#[test]
fn rm_goes_on_after_a_failure() {
    let got = corten(&["rm", "-fv", "a", "nope", "b", "nada"]);
    assert_eq!((got.code, got.stdout.as_str()), (1, "a\nb\n"));
    assert_eq!(got.stderr, "error: No such container: nope\nerror: No such container: nada\n");
    let options = RemoveContainer { force: true, volumes: true };
    assert!(got.calls.contains(&Call::RemoveContainer("b".into(), options)));
    let got = corten(&["rm"]);
    assert_eq!(got.code, 1);
    assert!(got.stderr.starts_with("error: 'corten rm' requires at least 1 argument\n"), "{}", got.stderr);
    assert_eq!(corten(&["rmi", "busybox"]).stdout, "Untagged: busybox:latest\nDeleted: sha256:dd\n");
}

#[test]
fn import_and_load() {
    let got = corten(&["import", "-c", "CMD sh", "--message=m", "-", "base:1"]);
    assert_eq!(got.stdout, "sha256:dd\n");
    let want = Import {
        reference: Some("base:1".into()),
        changes: vec!["CMD sh".into()],
        message: Some("m".into()),
        ..Import::default()
    };
    assert_eq!(got.calls.last(), Some(&Call::Import(want)));
    assert!(
        corten(&["import", "https://x/y.tar"])
            .stderr
            .contains("curl -fsSL https://x/y.tar | corten import -")
    );
    let got = corten(&["load", "-qi", "/x.tar", "--platform=linux/amd64"]);
    assert_eq!(got.stdout, "Loaded image: busybox:latest\nLoaded image ID: sha256:ee\n");
    let want = Load { input: Some("/x.tar".into()), platforms: vec!["linux/amd64".into()], quiet: true };
    assert_eq!(got.calls.last(), Some(&Call::Load(want)));
}

#[test]
fn inspect() {
    let got = corten(&["inspect", "web", "nope", "busybox"]);
    assert_eq!((got.code, got.stderr.as_str()), (1, "error: No such object: nope\n"));
    assert!(got.stdout.starts_with("[\n    {\n        \"Id\": \"aa\",\n"), "{}", got.stdout);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&got.stdout).unwrap().as_array().unwrap().len(), 2);
    assert_eq!(corten(&["inspect", "nope"]).stdout, "[]\n");
    assert_eq!(corten(&["inspect", "web", "-f", "{{.State.Pid}}"]).stdout, "7\n");
    assert_eq!(corten(&["inspect", "-sf", "{{.SizeRw}}", "web"]).stdout, "1\n");
    assert_eq!(
        corten(&["inspect", "-f", "json", "busybox"]).stdout,
        "{\"Id\":\"sha256:dd\",\"RepoTags\":[\"busybox:latest\"]}\n"
    );
    assert_eq!(corten(&["inspect", "--type", "image", "web"]).stderr, "error: No such image: web\n");
    assert_eq!(corten(&["container", "inspect", "busybox"]).stderr, "error: No such container: busybox\n");
    assert_eq!(corten(&["image", "inspect", "web"]).stderr, "error: No such image: web\n");
    let got = corten(&["inspect", "-f", "{{.Nope}}", "web"]);
    let want = "error: template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \
                \"Nope\"\n";
    assert_eq!((got.code, got.stderr.as_str()), (1, want));
}

#[test]
fn volumes() {
    let got = corten(&["volume", "create", "--label", "a=b", "data"]);
    assert_eq!(got.stdout, "data\n");
    let labels = std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(got.calls.last(), Some(&Call::CreateVolume(Some("data".into()), labels)));
    assert_eq!(corten(&["volume", "create"]).stdout, "made-up\n");
    for (args, want) in [
        (&["-d", "nfs"][..], (1, "--driver nfs is refused")),
        (&["-o", "type=tmpfs"], (1, "--opt type=tmpfs is refused")),
        (&["--scope", "single"], (125, "--scope is refused: it is for cluster volumes only")),
    ] {
        let args: Vec<&str> = ["volume", "create"].iter().chain(args).copied().collect();
        let got = corten(&args);
        assert!(got.code == want.0 && got.stderr.contains(want.1), "{}", got.stderr);
    }
    let want = "DRIVER    VOLUME NAME\nlocal     data\nlocal     loose\nlocal     named\n";
    assert_eq!(corten(&["volume", "ls"]).stdout, want);
    assert_eq!(corten(&["volume", "ls", "-qf", "dangling=true", "-f", "name=oo"]).stdout, "loose\n");
    assert_eq!(corten(&["volume", "list", "-qf", "label=kind=data"]).stdout, "data\n");
    assert_eq!(corten(&["volume", "ls", "-f", "driver=x"]).stdout, "DRIVER    VOLUME NAME\n");
    assert_eq!(corten(&["volume", "inspect", "-f", "{{.Name}}", "data"]).stdout, "data\n");
    assert_eq!(corten(&["inspect", "--type", "volume", "-f", "{{.Driver}}", "data"]).stdout, "local\n");
    assert_eq!(corten(&["volume", "inspect", "nope"]).stderr, "error: get nope: no such volume\n");
    let got = corten(&["volume", "rm", "-f", "data", "nope"]);
    assert_eq!((got.code, got.stdout.as_str()), (1, "data\n"));
    let want = "Deleted Volumes:\nloose\n\nTotal reclaimed space: 1.5kB\n";
    assert_eq!(corten(&["volume", "prune", "-f"]).stdout, want);
    let got = corten(&["volume", "prune", "-f", "--all", "--filter", "label!=kind=loose"]);
    assert_eq!(got.stdout, "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 1.5kB\n");
    let got = corten(&["volume", "prune", "-f", "--filter", "label=no"]);
    assert_eq!(got.stdout, "Total reclaimed space: 0B\n");
}

#[test]
fn exec() {
    let got = corten(&["exec", "web", "ls", "-la", "--help"]);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let plain = ExecConfig { command: words(&["ls", "-la", "--help"]), ..ExecConfig::default() };
    assert_eq!((got.code, got.calls.last()), (3, Some(&Call::Exec("web".into(), Box::new(plain)))));
    let flags =
        ["-dit", "-u", "7:adm", "-w", "/srv", "-e", "A=1", "--env=HOME", "-e", "NOPE", "--privileged"];
    let args = [&["container", "exec"], &flags[..], &["--detach-keys", "a,b", "web", "sh"]].concat();
    let got = corten_with(&args, &[("HOME", "/root")]);
    let variable =
        |name: &str, value: Option<&str>| EnvVar { name: name.into(), value: value.map(Into::into) };
    let wanted = ExecConfig {
        command: words(&["sh"]),
        env: vec![variable("A", Some("1")), variable("HOME", Some("/root")), variable("NOPE", None)],
        user: Some(User::parse("7:adm").unwrap()),
        workdir: Some("/srv".into()),
        tty: true,
        interactive: true,
        privileged: true,
        detach: true,
        detach_keys: "a,b".parse().unwrap(),
    };
    assert_eq!((got.code, got.calls.last()), (1, Some(&Call::Exec("web".into(), Box::new(wanted)))));
    for (args, message) in [
        (&["web"][..], "'corten exec' requires at least 2 arguments"),
        (
            &["-w", "srv", "web", "ls"],
            "the working directory 'srv' is invalid, it needs to be an absolute path",
        ),
        (&["--nope", "web", "ls"], "unknown flag: --nope"),
    ] {
        let got = corten(&[&["exec"], args].concat());
        assert!(got.code != 0 && got.stderr.contains(message), "{args:?}: {}", got.stderr);
    }
}

#[test]
fn the_rest() {
    assert_eq!(corten(&["--version"]).stdout, format!("Corten version {}\n", corten_cli::VERSION));
    assert_eq!(
        corten(&["version", "-f", "{{.Server.Version}}"]).stdout,
        format!("{}\n", corten_cli::VERSION)
    );
    let info = "Features:\n Idmapped Mounts: true\nKernel Version: 6.18\nWarnings: a b\n";
    assert_eq!(corten(&["info"]).stdout, info);
    assert_eq!(corten(&["system", "info", "-f", "{{.KernelVersion}}"]).stdout, "6.18\n");
    let got = corten(&["--root", "/a", "--run-root=/b", "-D", "ps", "-q"]);
    match got.calls.first() {
        Some(Call::Open(options)) => {
            assert_eq!(options.root.as_deref(), Some("/a".as_ref()));
            assert_eq!((options.run_root.as_deref(), options.debug), (Some("/b".as_ref()), true));
        }
        other => panic!("{other:?}"),
    }
    let got = corten_with(&["ps", "-q"], &[("CORTEN_ROOT", "/env")]);
    assert!(matches!(&got.calls[0], Call::Open(o) if o.root.as_deref() == Some("/env".as_ref())));
    for (args, want) in [
        (&["frobnicate"][..], "error: corten: 'frobnicate' is not a corten command.\nSee 'corten --help'.\n"),
        (
            &["imges"],
            "error: corten: 'imges' is not a corten command.\n  hint: did you mean `corten images`?\nSee 'corten --help'.\n",
        ),
        (
            &["container", "lss"],
            "error: corten: unknown command: corten container lss\n  hint: did you mean `corten container ls`?\nSee 'corten container --help'.\n",
        ),
        (
            &["-H", "tcp://x", "ps"],
            "error: -H is refused: there is no daemon to talk to\nSee 'corten --help'.\n",
        ),
        (
            &["build", "."],
            "error: corten build is not there\n  hint: nothing is built yet: `corten commit` makes an image of a container\nSee 'corten --help'.\n",
        ),
        (&["compose", "up"], "error: corten compose is not there\nSee 'corten --help'.\n"),
        (&["--what"], "error: unknown flag: --what\nSee 'corten --help'.\n"),
    ] {
        assert_eq!(corten(args).stderr, want, "{args:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = corten(&["completion", shell]).stdout;
        assert!(script.contains("cap-add") && script.contains("image"), "{shell}");
    }
    assert_eq!(corten(&["completion", "tcsh"]).code, 1);
}

/// The help of every command, as it is read.
#[test]
fn help_texts() {
    let mut all = String::new();
    let mut add = |args: &[&str]| {
        let got = corten(args);
        assert_eq!((got.code, got.stderr.as_str()), (0, ""), "{args:?}");
        all.push_str(&format!("$ corten {}\n{}\n", args.join(" "), got.stdout));
        got.stdout
    };
    let root = add(&["--help"]);
    assert_eq!(corten(&[]).stdout, root);
    assert_eq!(corten(&["help"]).stdout, root);
    for command in ["container", "image", "system", "volume"] {
        add(&[command, "--help"]);
    }
    for command in [
        "commit",
        "completion",
        "cp",
        "diff",
        "exec",
        "export",
        "help",
        "history",
        "images",
        "import",
        "info",
        "inspect",
        "load",
        "port",
        "ps",
        "rename",
        "rm",
        "rmi",
        "run",
        "tag",
        "update",
        "version",
    ] {
        let text = add(&[command, "--help"]);
        assert_eq!(corten(&["help", command]).stdout, text);
    }
    for command in ["inspect", "prune"] {
        add(&["container", command, "-h"]);
    }
    for command in ["inspect", "prune"] {
        add(&["image", command, "-h"]);
    }
    for command in ["create", "inspect", "ls", "prune", "rm"] {
        add(&["volume", command, "-h"]);
    }
    insta::assert_snapshot!("help", all);
}

/// Every flag that docker 28.2.2 has for these commands is known, with its shorthand and its kind.
#[test]
fn dockers_flags() {
    let tree = corten_cli::command_tree();
    let mut checked = 0;
    for line in include_str!("data/docker-28.2.2-flags.tsv").lines().skip(1) {
        let (path, flags) = line.split_once('\t').unwrap();
        let command = path.split(' ').fold(&tree, |at, word| {
            at.get_subcommands().find(|c| c.get_name() == word).unwrap_or_else(|| panic!("no command {path}"))
        });
        for flag in flags.split(' ').filter(|flag| !flag.is_empty()) {
            let (names, value) = flag.split_once('=').unwrap_or((flag, ""));
            let (short, long) = names.split_once(',').unwrap_or(("", names));
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_long() == long.strip_prefix("--"))
                .unwrap_or_else(|| panic!("{path} lacks {flag}"));
            assert_eq!(arg.get_short(), short.chars().nth(1), "{path} {flag}");
            let needs_value = arg.get_action().takes_values();
            assert_eq!(needs_value, !value.is_empty(), "{path} {flag}");
            checked += 1;
        }
    }
    assert!(checked > 250, "{checked}");
    // And no two commands share a name.
    let names: Vec<_> = tree.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    tree.debug_assert();
}

#[test]
fn lives_of_containers() {
    use corten_cli::engine_api::{Attach, Control};
    let control = |name: &str, action| Call::Control(name.into(), action);
    for (args, want) in [
        (&["start", "a"][..], control("a", Control::Start(None))),
        (
            &["container", "stop", "-t", "3", "a"],
            control("a", Control::Stop { signal: None, timeout_s: Some(3) }),
        ),
        (
            &["stop", "--time=-1", "-s", "SIGINT", "a"],
            control("a", Control::Stop { signal: Some(2), timeout_s: Some(-1) }),
        ),
        (&["restart", "a"], control("a", Control::Restart { signal: None, timeout_s: None })),
        (&["kill", "a"], control("a", Control::Kill { signal: 9 })),
        (&["kill", "--signal", "15", "a"], control("a", Control::Kill { signal: 15 })),
        (&["pause", "a"], control("a", Control::Pause)),
        (&["unpause", "a"], control("a", Control::Unpause)),
    ] {
        let got = corten(args);
        assert_eq!((got.code, got.stdout.as_str(), got.calls.last()), (0, "a\n", Some(&want)), "{args:?}");
    }
    let got = corten(&["wait", "a", "nope", "b"]);
    assert_eq!((got.code, got.stdout.as_str()), (1, "3\n3\n"));
    assert!(got.stderr.contains("No such container: nope"), "{}", got.stderr);
    let got = corten(&["attach", "--no-stdin", "--sig-proxy=false", "a"]);
    let attach = Attach { input: false, sig_proxy: false, detach_keys: None };
    assert_eq!((got.code, got.calls.last()), (3, Some(&control("a", Control::Attach(attach)))));
    assert_eq!(corten(&["start", "-ai", "a"]).code, 3);
    assert_eq!(corten(&["create", "busybox"]).stdout.len(), 65);
    for (args, word) in [
        (&["stop"][..], "requires at least 1 argument"),
        (&["attach", "a", "b"], "requires"),
        (&["kill", "-s", "NOPE", "a"], "Invalid signal: NOPE"),
        (&["stop", "-t", "soon", "a"], "soon"),
    ] {
        let got = corten(args);
        assert!(
            got.code != 0 && got.stderr.contains(word) && got.calls.is_empty(),
            "{args:?}: {}",
            got.stderr
        );
    }
}

#[test]
fn doctor() {
    let got = corten(&["doctor"]);
    assert_eq!(
        (got.code, got.stdout.as_str()),
        (
            1,
            "ok   seccomp  kill errno\nLACK memory   --memory is refused\n\nunder way: \n  aaaaaaaaaaaa (web): \
             attended\n\nleft over: \n  /run/corten/x: nobody attends it\n"
        )
    );
    let got = corten(&["doctor", "--assert-clean"]);
    assert_eq!((got.code, got.stdout.as_str()), (1, "/run/corten/x: nobody attends it\n"));
}

#[test]
fn files() {
    let copied = |args: &[&str]| match corten(args).calls.pop() {
        Some(Call::Copy(copy)) => copy,
        other => panic!("{args:?}: {other:?}"),
    };
    let copy = copied(&["cp", "-aL", "web:/etc", "."]);
    assert_eq!((copy.direction, copy.container.as_str()), (CopyDirection::Out, "web"));
    assert!(copy.archive && copy.follow_link && copy.path.ends_with("etc"));
    assert_eq!(copied(&["cp", "web:/etc", "-"]).local, None);
    assert_eq!(copied(&["cp", "./a:b", "web:c:d"]).path.to_str(), Some("c:d"));
    assert_eq!(corten(&["cp", "-q=false", "a", "web:/b"]).stderr, "Successfully copied 1.536kB to web:/b\n");
    assert_eq!(corten(&["cp", "a", "web:/b"]).stderr, "");
    for (args, error) in [
        (&["cp", "a:/x", "b:/y"][..], "copying between containers is not supported"),
        (&["cp", "a", "b"], "must specify at least one container source"),
        (&["cp", "", "b:/x"], "source can not be empty"),
        (&["cp", "a"], "'corten cp' requires 2 arguments"),
    ] {
        let got = corten(args);
        assert!(got.code == 1 && got.stderr.contains(error), "{args:?}: {got:?}");
    }
    assert_eq!(corten(&["diff", "web"]).stdout, "A /a\nC /etc\nD /etc/x\n");
    assert_eq!(corten(&["commit", "-a", "me", "web", "x:1"]).stdout, "sha256:cc\n");
}

#[test]
fn records() {
    let updated = |args: &[&str]| match corten(args).calls.pop() {
        Some(Call::Update(_, update)) => update,
        other => panic!("{args:?}: {other:?}"),
    };
    let update = updated(&["update", "-m", "64m", "--cpus", "1.5", "--restart", "on-failure:3", "web"]);
    assert_eq!(
        (update.resources.memory_bytes, update.resources.nano_cpus),
        (Some(64 << 20), Some(1_500_000_000))
    );
    assert!(update.restart.is_some() && update.resources.pids_limit.is_none());
    assert!(corten(&["update", "web"]).stderr.contains("one or more flags"));
    assert!(
        corten(&["update", "--kernel-memory", "1g", "web"]).stderr.contains("--kernel-memory is refused")
    );
    assert_eq!(corten(&["update", "-c", "2", "a", "b"]).stdout, "a\nb\n");
    let history = "IMAGE          CREATED       CREATED BY     SIZE      COMMENT\n\
                   0123456789ab   2 hours ago   sh -c second   2.05kB    x\n\
                   <missing>      2 hours ago   first          2.05kB    x\n";
    assert_eq!(corten(&["history", "x"]).stdout, history);
    assert_eq!(
        corten(&["image", "history", "-H=false", "--format", "{{.Size}}", "x"]).stdout,
        "2048\n2048\n"
    );
    let pruned = corten(&["image", "prune", "-f"]);
    assert_eq!(pruned.stdout, "Total reclaimed space: 0B\n", "it is not known whether containers use it");
    let pruned = corten(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(pruned.stdout, "Deleted Containers:\njob\nfresh\n\nTotal reclaimed space: 3kB\n");
    assert!(corten(&["container", "prune", "-f", "--filter", "until=soon"]).stderr.contains("until=soon"));
    assert!(matches!(corten(&["image", "tag", "a", "b"]).calls.last(), Some(Call::Tag(..))));
    for (filter, names) in [
        ("since=job", "web"),
        ("before=job", "fresh"),
        ("is-task=true", ""),
        ("isolation=default", "web"),
        ("publish=80", ""),
        ("expose=80/tcp", ""),
    ] {
        let got = corten(&["ps", "--format", "{{.Names}}", "--filter", filter]).stdout;
        assert_eq!(got.lines().collect::<Vec<_>>().join(" "), names, "{filter}");
    }
    for filter in ["health=x", "exited=x", "is-task=x", "expose=x", "publish=80/icmp"] {
        let got = corten(&["ps", "--filter", filter]);
        assert!(got.code == 1 && got.stderr.contains(&format!("invalid filter '{filter}'")), "{got:?}");
    }
}

#[test]
fn logs() {
    let got = corten(&["logs", "-ft", "--since", "10m", "--until=2024-02-29T12:00:00.5Z", "-n3", "web"]);
    assert_eq!((got.code, got.stdout.as_str(), got.stderr.as_str()), (0, "out\n", "err\n"));
    let Some(Call::Logs(name, show)) = got.calls.last() else { panic!("{got:?}") };
    let now_ns = i128::from(common::NOW_S) * 1_000_000_000;
    assert!(name == "web" && show.follow && show.timestamps && !show.details);
    assert_eq!((show.since_ns, show.until_ns), (Some(now_ns - 600_000_000_000), Some(now_ns + 500_000_000)));
    assert_eq!(show.tail, Some(3));
    for (tail, want) in [("all", None), ("0", Some(0)), ("-1", None)] {
        let got = corten(&["container", "logs", "--tail", tail, "web"]);
        let Some(Call::Logs(_, show)) = got.calls.last() else { panic!("{got:?}") };
        assert_eq!(show.tail, want, "{tail}");
    }
    for (args, want) in [
        (
            &["logs", "--since", "yesterday", "web"][..],
            "invalid value for \"since\": failed to parse value as time",
        ),
        (&["logs", "--tail", "x", "web"], "invalid value for \"tail\""),
        (&["logs"], "'corten logs' requires 1 argument"),
    ] {
        let got = corten(args);
        assert!(got.code != 0 && got.stderr.contains(want), "{args:?}: {}", got.stderr);
    }
}

#[test]
fn events() {
    assert_eq!(
        corten(&["events", "-f", "container=web"]).stdout,
        "2024-02-29T12:00:00.000000007Z container start aaaa (image=busybox, name=web, tier=b)\n"
    );
    for (filters, want) in [
        (&["type=container"][..], "start;die;"),
        (&["type=volume", "type=image"], "create;import;"),
        (&["event=die"], "die;"),
        (&["container=bb"], "die;"),
        (&["image=busybox"], "start;import;"),
        (&["image=debian"], "die;"),
        (&["volume=data"], "create;"),
        (&["label=tier=b"], "start;"),
        (&["label=tier=c"], ""),
    ] {
        let mut args = vec!["system", "events", "--format", "{{.Action}};"];
        filters.iter().for_each(|filter| args.extend(["-f", filter]));
        let got = corten(&args);
        assert_eq!(got.stdout.replace('\n', ""), want, "{filters:?}: {}", got.stderr);
    }
    let got = corten(&["events", "--format", "json", "-f", "event=die"]);
    let event: serde_json::Value = serde_json::from_str(&got.stdout).unwrap();
    assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
    assert!(corten(&["events", "-f", "x=1"]).stderr.contains("invalid filter 'x'"));
}

#[test]
fn stats_and_top() {
    let got = corten(&["stats", "--no-stream", "-a"]);
    assert_eq!(
        got.stdout,
        "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O      BLOCK I/O   PIDS\n\
         aaaaaaaaaaaa   web       0.00%     3MiB / 64MiB        4.69%     1.5kB / 0B   --          2\n\
         bbbbbbbbbbbb   job       0.00%     0B / 0B             0.00%     0B / 0B      0B / 0B     0\n"
    );
    assert_eq!(got.calls.last(), Some(&Call::Usage(Vec::new(), true)));
    let got = corten(&[
        "stats",
        "--no-stream",
        "--no-trunc",
        "--format",
        "{{.Container}} {{.ID}} {{.PIDs}}",
        "web",
    ]);
    assert!(got.stdout.starts_with(&format!("web {} 2\n", "a".repeat(64))), "{}", got.stdout);
    let got = corten(&["top", "web", "-o", "pid,cmd"]);
    assert_eq!(got.calls.last(), Some(&Call::Top("web".into(), vec!["-o".into(), "pid,cmd".into()])));
    let want = format!("{:<20}{:<20}CMD\n{:<20}{:<20}sh -c 'a?[31m'\n", "UID", "PID", "0", "7");
    assert_eq!(got.stdout, want);
}
