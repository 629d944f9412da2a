//! What `corten run …` makes of its flags.

mod common;

use std::path::Path;

use common::{corten, corten_at, corten_with};
use corten_engine::config::*;

#[test]
fn a_plain_run() {
    let got = corten(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_eq!((got.code, got.stdout.as_str(), got.stderr.as_str()), (0, "", ""));
    let (config, options) = got.ran();
    assert_eq!((config.image.as_str(), &config.command[..]), ("busybox", &["true".to_owned()][..]));
    assert!(config.auto_remove && options.sig_proxy && !options.detach);
    assert_eq!(config.networks[0].mode, NetworkMode::None);
}

/// pflag's spellings.
#[test]
fn spellings() {
    type Check = fn(&Config) -> bool;
    let cases: &[(&[&str], Check)] = &[
        (&["-it", "i"], |c| c.interactive && c.tty),
        (&["-ti", "i"], |c| c.interactive && c.tty),
        (&["-i=false", "-t=true", "i"], |c| !c.interactive && c.tty),
        (&["--rm=false", "i"], |c| !c.auto_remove),
        (&["--rm", "--rm=0", "i"], |c| !c.auto_remove),
        (&["--rm=T", "i"], |c| c.auto_remove),
        (&["-eK=V", "i"], |c| c.env[0].to_string() == "K=V"),
        (&["-e=K=V", "i"], |c| c.env[0].to_string() == "K=V"),
        (&["-e", "K=V", "--env=A=b", "--env", "C=", "i"], |c| {
            c.env.iter().map(ToString::to_string).collect::<Vec<_>>() == ["K=V", "A=b", "C="]
        }),
        (&["-e", "HOME", "-e", "UNKNOWN", "i"], |c| {
            c.env[0].value.as_deref() == Some("/root") && c.env[1].value.is_none()
        }),
        (&["-itu1000", "i"], |c| c.user == User::parse("1000").ok()),
        (&["--name", "aa", "--name=bb", "i"], |c| c.name.as_deref() == Some("bb")),
        (&["--name", "a-b", "i", "--rm", "-x", "--", "y"], |c| {
            c.command == ["--rm", "-x", "--", "y"] && !c.auto_remove
        }),
        (&["--", "i", "x"], |c| c.image == "i" && c.command == ["x"]),
        (&["i", "sh", "-c", "a b", "--help"], |c| c.command == ["sh", "-c", "a b", "--help"]),
        (&["i", ""], |c| c.command == [""]),
        (&["--entrypoint", "", "i"], |c| c.entrypoint == Some(vec![])),
        (&["--entrypoint=/bin/sh", "i"], |c| c.entrypoint == Some(vec!["/bin/sh".into()])),
        (&["--memory-swap", "-1", "i"], |c| c.resources.memory_swap_bytes == Some(-1)),
        (&["-m", "1.5g", "i"], |c| c.resources.memory_bytes == Some(3 << 29)),
        (&["--cpu-quota", "-1", "i"], |c| c.resources.cpu_quota_us == Some(-1)),
        (&["--cpus", "1.5", "-c", "512", "i"], |c| {
            c.resources.nano_cpus == Some(1_500_000_000) && c.resources.cpu_shares == Some(512)
        }),
        (&["--init", "i"], |c| c.init == Some(Init::On)),
        (&["--init=auto", "i"], |c| c.init == Some(Init::Auto)),
        (&["--init=false", "i"], |c| c.init == Some(Init::Off)),
        (&["i"], |c| c.init.is_none()),
        (&["-h", "box", "i"], |c| c.hostname.as_deref() == Some("box")),
        (&["-w", "/x", "i"], |c| c.workdir.as_deref() == Some("/x")),
        (&["-l", "a=b", "-l", "c", "i"], |c| c.labels["a"] == "b" && c.labels["c"].is_empty()),
        (&["--net=host", "i"], |c| c.networks[0].mode == NetworkMode::Host),
        (&["--cap-add=net_admin", "--cap-drop", "ALL", "i"], |c| {
            c.cap_add == [CapabilityArg::parse("CAP_NET_ADMIN").unwrap()]
                && c.cap_drop == [CapabilityArg::All]
        }),
        (&["-v", "/a:/b:ro", "--tmpfs", "/t", "--mount", "type=volume,dst=/v", "i"], |c| c.mounts.len() == 3),
        (&["-v", "./x/../y:/b", "i"], |c| match &c.mounts[0].source {
            MountSource::Bind(bind) => Path::new(&bind.source) == std::env::current_dir().unwrap().join("y"),
            _ => false,
        }),
        (&["--security-opt", "seccomp=unconfined", "--security-opt=no-new-privileges", "i"], |c| {
            c.security_opts.seccomp == Some(Seccomp::Unconfined)
                && c.security_opts.no_new_privileges == Some(true)
        }),
        (&["--pid=host", "--ipc=shareable", "--uts=host", "--userns=host", "--cgroupns=host", "i"], |c| {
            c.pid == Some(PidMode::Host) && c.ipc == Some(IpcMode::Shareable) && c.uts == Some(UtsMode::Host)
        }),
        (&["--sysctl", "net.ipv4.ip_forward=1", "i"], |c| c.sysctls["net.ipv4.ip_forward"] == "1"),
        (&["--ulimit", "nofile=1:2", "--ulimit", "core=0", "i"], |c| c.resources.ulimits.len() == 2),
        (
            &["--add-host", "a:1.2.3.4", "--dns", "1.1.1.1", "--dns-opt", "x", "--dns-search", "a.b", "i"],
            |c| {
                c.add_hosts.len() == 1
                    && c.dns.len() == 1
                    && c.dns_options == ["x"]
                    && c.dns_search == ["a.b"]
            },
        ),
        (
            &[
                "--device",
                "/dev/fuse",
                "--device-cgroup-rule",
                "c 1:3 r",
                "--device-read-bps",
                "/dev/sda:1m",
                "i",
            ],
            |c| c.resources.devices.len() == 1 && c.resources.blkio.read_bps[0].rate == 1 << 20,
        ),
        (&["--restart", "no", "--no-healthcheck", "--disable-content-trust", "i"], |c| {
            c.restart == Some(Restart::No)
                && c.health.as_ref().is_some_and(|health| health.test == Some(HealthTest::None))
        }),
        (
            &[
                "--health-cmd",
                "a b",
                "--health-interval",
                "1m30s",
                "--health-timeout=2s",
                "--health-start-period=3s",
                "--health-start-interval=4s",
                "--health-retries=5",
                "i",
            ],
            |c| {
                c.health
                    == Some(Health {
                        test: Some(HealthTest::Shell("a b".into())),
                        interval_ns: Some(90_000_000_000),
                        timeout_ns: Some(2_000_000_000),
                        start_period_ns: Some(3_000_000_000),
                        start_interval_ns: Some(4_000_000_000),
                        retries: Some(5),
                        shell: Vec::new(),
                    })
            },
        ),
        (&["--health-cmd", "", "i"], |c| c.health.is_none()),
    ];
    for (args, check) in cases {
        let args: Vec<&str> = ["run"].iter().chain(*args).copied().collect();
        let got = corten_at(&args, &[("HOME", "/root")], true);
        assert_eq!(got.code, 0, "{args:?}: {}", got.stderr);
        assert!(check(got.ran().0), "{args:?}: {:#?}", got.ran().0);
    }
}

#[test]
fn options_of_the_client() {
    let got =
        corten(&["run", "-d", "--sig-proxy=false", "--pull", "never", "-q", "--detach-keys", "ctrl-a", "i"]);
    let (_, options) = got.ran();
    assert!(options.detach && !options.sig_proxy && options.quiet);
    assert_eq!((options.pull, options.detach_keys.as_deref()), (PullPolicy::Never, Some("ctrl-a")));
    assert_eq!(got.stdout.trim_end().len(), 64);
    let got = corten(&["run", "--explain", "i"]);
    assert_eq!(got.stdout, "unshare -m\n");
    let got = corten_with(&["run", "i"], &[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")]);
    assert_eq!(got.ran().0.platform.as_deref(), Some("linux/arm64"));
}

#[test]
fn exit_codes() {
    for (args, code) in [
        (&["run", "i", "exit-3"][..], 3),
        (&["run", "i", "no-such-command"], 127),
        (&["run", "i", "broken"], 125),
        (&["run", "--foo", "i"], 125),
        (&["run"], 1),
        (&["container", "run", "i", "exit-3"], 3),
        (&["ps", "--foo"], 125),
        (&["foo"], 1),
        (&["--foo"], 125),
        (&["internal", "monitor", "--x"], 7),
    ] {
        assert_eq!(corten(args).code, code, "{args:?}");
    }
}

/// The words that people and scripts know, and nothing started.
#[test]
fn refusals() {
    let see = "See 'corten run --help'.";
    for (args, want) in [
        (&["--foo", "i"][..], "error: unknown flag: --foo\nSee"),
        (&["--memry=1g", "i"], "error: unknown flag: --memry\n  hint: did you mean --memory?\nSee"),
        (&["-X", "i"], "error: unknown shorthand flag: 'X' in -X\nSee"),
        (&["-itX", "i"], "error: unknown shorthand flag: 'X' in -X\nSee"),
        (&["--name"], "error: flag needs an argument: --name\nSee"),
        (&["-e"], "error: flag needs an argument: 'e' in -e\nSee"),
        (
            &["--memory", "x", "i"],
            "error: invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'\nSee",
        ),
        (
            &["-m", "x", "i"],
            "error: invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'\nSee",
        ),
        (
            &["--shm-size=", "i"],
            "error: invalid argument \"\" for \"--shm-size\" flag: invalid size: ''\nSee",
        ),
        (
            &["--rm=maybe", "i"],
            "error: invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid \
             syntax\nSee",
        ),
        (
            &["--pids-limit", "x", "i"],
            "error: invalid argument \"x\" for \"--pids-limit\" flag: parsing \"x\": invalid syntax\nSee",
        ),
        (
            &["--cpus", "all", "i"],
            "error: invalid argument \"all\" for \"--cpus\" flag: failed to parse all as a rational number\nSee",
        ),
        (
            &["-v", "/a:/b:wat", "i"],
            "error: invalid argument \"/a:/b:wat\" for \"-v, --volume\" flag: invalid mode: wat\nSee",
        ),
        (
            &["--cap-add", "fly", "i"],
            "error: invalid argument \"fly\" for \"--cap-add\" flag: unknown capability: \"fly\"\nSee",
        ),
        (
            &["-u", "4294967296", "i"],
            "error: invalid argument \"4294967296\" for \"-u, --user\" flag: uids and gids must be in range 0-4294967294: \"4294967296\"\nSee",
        ),
        (&["--gpus", "all", "i"], "error: --gpus is refused: GPUs are not supported yet\nSee"),
        (&["-p", "80:80", "i"], "error: --publish is refused: ports cannot be published yet\nSee"),
        (&["-P", "i"], "error: --publish-all is refused: ports cannot be published yet\nSee"),
        (
            &["--no-healthcheck", "--health-cmd", "x", "i"],
            "error: --no-healthcheck conflicts with --health-* options\n",
        ),
        (&["--cpu-count=2", "i"], "error: --cpu-count is refused: it is for Windows containers only\nSee"),
        (
            &["--use-api-socket", "i"],
            "error: --use-api-socket is refused: there is no API socket to hand in yet\nSee",
        ),
        (
            &["--rm", "--restart=always", "i"],
            "error: conflicting options: cannot specify both --restart and --rm\n",
        ),
        (
            &["-d", "-a", "stdin", "i"],
            "error: conflicting options: cannot specify both --attach and --detach\n",
        ),
        (&["--log-driver=none", "--log-opt=a=b", "i"], "error: invalid logging opts for driver none\n"),
        (&["--log-driver=syslog", "i"], "error: logger: no log driver named 'syslog' is registered"),
        (
            &["--time-offset=5", "i"],
            "error: invalid argument \"5\" for \"--time-offset\" flag: invalid time offset \"5\"",
        ),
        (&["-w", "x", "i"], "error: the working directory 'x' is invalid, it needs to be an absolute path\n"),
        (&["-v", "/a:/x", "--tmpfs", "/x", "i"], "error: Duplicate mount point: /x\n"),
        (&["-m", "4m", "i"], "error: Minimum memory limit allowed is 6MB\n"),
        (&["--env-file", "/nope", "i"], "error: open /nope: no such file or directory\n"),
        (
            &["--security-opt", "seccomp=/nope", "i"],
            "error: opening seccomp profile (/nope) failed: open /nope: no such file or directory\n",
        ),
        (&[""], "error: invalid reference format\n"),
    ] {
        let args: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        let got = corten(&args);
        assert_eq!(got.code, 125, "{args:?}");
        assert!(got.calls.is_empty(), "{args:?}: {:?}", got.calls);
        assert!(got.stderr.starts_with(want), "{args:?}:\n{}\n{want}", got.stderr);
        assert!(!want.ends_with("See") || got.stderr.trim_end().ends_with(see), "{args:?}: {}", got.stderr);
    }
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let env = file("env", b"# c\nA=1\nHOME\nNONE\n");
    let labels = file("labels", b"a=1\nb\n");
    let profile = file("seccomp.json", b"{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
    let seccomp = format!("seccomp={profile}");
    let args =
        ["run", "--env-file", &env, "-e", "A=2", "--label-file", &labels, "--security-opt", &seccomp, "i"];
    let got = corten_with(&args, &[("HOME", "/root")]);
    let (config, _) = got.ran();
    let vars: Vec<String> = config.env.iter().map(ToString::to_string).collect();
    assert_eq!(vars, ["A=1", "HOME=/root", "A=2"]);
    assert_eq!(config.labels.len(), 2);
    assert!(matches!(&config.security_opts.seccomp, Some(Seccomp::Json(json)) if json.contains("ALLOW")));

    let cidfile = file("cid", b"");
    let got = corten(&["run", "--cidfile", &cidfile, "i"]);
    assert!(got.stderr.starts_with("error: container ID file found"), "{}", got.stderr);
    let big = corten(&["run", "--env-file", "/dev/zero", "i"]);
    assert!(big.stderr.contains("larger than"), "{}", big.stderr);
    let bad = file("bad", b"A=\xff\n");
    assert!(corten(&["run", "--env-file", &bad, "i"]).stderr.contains("invalid utf8"));
}

proptest::proptest! {
    /// Whatever is typed: a container is run or a word is said, with Docker's exit codes.
    #[test]
    fn any_words(words in proptest::collection::vec(
        r#"(--?)?(rm|it|e|name|v|m|init|network|ulimit|user|help|é|x|K=V|/a:/b:ro|none|1g|=|-|--|)(=(true|1m|é|))?"#, 0..8)) {
        let args: Vec<&str> = ["run"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let got = corten(&args);
        proptest::prop_assert!(matches!(got.code, 0 | 1 | 125), "{got:?}");
        proptest::prop_assert!(got.code == 0 || got.stderr.starts_with("error: "), "{got:?}");
    }
}
