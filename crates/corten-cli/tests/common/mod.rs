//! An engine that remembers what it was asked, and a command line run against it.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use corten_cli::context::Context;
use corten_cli::engine_api::*;
use corten_cli::report::{NOT_FOUND, Report};
use corten_engine::config::Config;
use corten_engine::exec::ExecConfig;
use corten_engine::log::read::{Output, Show};
use corten_engine::stats::Usage;
use corten_engine::top::Top;
use corten_engine::volume::Pruned;
use serde_json::{Value, json};

/// Noon of a day in 2024.
pub const NOW_S: i64 = 1_709_208_000;

#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Open(EngineOptions),
    Run(Box<Config>, RunOptions),
    RemoveContainer(String, RemoveContainer),
    RemoveImage(String, RemoveImage),
    Import(Import),
    Load(Load),
    CreateVolume(Option<String>, BTreeMap<String, String>),
    RemoveVolume(String, bool),
    Exec(String, Box<ExecConfig>),
    Internal(Vec<OsString>),
    Create(Box<Config>, RunOptions),
    Control(String, Control),
    Copy(Copy),
    Export(String),
    Commit(Commit),
    Rename(String, String),
    Update(String, Box<Update>),
    Tag(String, String),
    Logs(String, Show),
    Events(Option<i128>, Option<i128>),
    Usage(Vec<String>, bool),
    Top(String, Vec<String>),
}

struct Fake(Rc<RefCell<Vec<Call>>>);

impl Engine for Fake {
    fn run(&mut self, config: Config, options: RunOptions) -> Result<RunOutcome, Report> {
        let (detach, explain) = (options.detach, options.explain);
        let command = config.command.first().cloned();
        self.0.borrow_mut().push(Call::Run(Box::new(config), options));
        match command.as_deref() {
            Some("no-such-command") => {
                Err(Report::user("cannot start: no-such-command: not found").status(NOT_FOUND))
            }
            Some("exit-3") => Ok(RunOutcome::Exited { code: 3, oom_killed: false }),
            Some("broken") => Err(Report::host("cannot start container")),
            _ if explain => Ok(RunOutcome::Explained("unshare -m\n".into())),
            _ if detach => Ok(RunOutcome::Started("0123456789abcdef".repeat(4))),
            _ => Ok(RunOutcome::Exited { code: 0, oom_killed: false }),
        }
    }

    fn seal(&mut self, _host_root: bool) -> Result<(), Report> {
        Ok(())
    }

    fn create(&mut self, config: Config, options: RunOptions) -> Result<String, Report> {
        self.0.borrow_mut().push(Call::Create(Box::new(config), options));
        Ok("0123456789abcdef".repeat(4))
    }

    fn control(&mut self, name: &str, action: Control) -> Result<Controlled, Report> {
        if name == "nope" || name == "nada" {
            return Err(Report::user(format!("No such container: {name}")));
        }
        let ends = matches!(action, Control::Wait | Control::Attach(_) | Control::Start(Some(_)));
        self.0.borrow_mut().push(Call::Control(name.into(), action));
        Ok(if ends { Controlled::Exited { code: 3, oom_killed: false } } else { Controlled::Done })
    }

    fn doctor(&mut self) -> Result<Doctor, Report> {
        let finding = |mark, what, text: &str| DoctorFinding { mark, what, text: text.into() };
        Ok(Doctor {
            host: vec![
                finding("ok", "seccomp", "kill errno"),
                finding("LACK", "memory", "--memory is refused"),
            ],
            live: vec!["aaaaaaaaaaaa (web): attended".into()],
            leftovers: vec!["/run/corten/x: nobody attends it".into()],
        })
    }

    fn exec(&mut self, container: &str, config: ExecConfig) -> Result<RunOutcome, Report> {
        let code = config.command.len() as u8;
        self.0.borrow_mut().push(Call::Exec(container.into(), Box::new(config)));
        Ok(RunOutcome::Exited { code, oom_killed: false })
    }

    fn containers(&mut self, size: bool) -> Result<Vec<ContainerSummary>, Report> {
        let one = |id: char, name: &str, state, age_s| ContainerSummary {
            id: id.to_string().repeat(64),
            name: name.into(),
            image: "busybox".into(),
            image_id: format!("sha256:{}", "f".repeat(64)),
            command: "sh -c 'while true; do sleep 1; done'".into(),
            created_s: NOW_S - age_s,
            state,
            labels: BTreeMap::from([("com.example.team-name".into(), "a".into())]),
            networks: vec!["none".into()],
            size_rw_bytes: size.then_some(2_048),
            size_root_bytes: size.then_some(4_262_000),
            ..ContainerSummary::default()
        };
        Ok(vec![
            one('a', "web", ContainerState::Running { started_s: NOW_S - 290 }, 300),
            one('b', "job", ContainerState::Exited { code: 137, finished_s: NOW_S - 7200 }, 9000),
            one('c', "fresh", ContainerState::Created, 90_000),
        ])
    }

    fn remove_container(&mut self, name: &str, options: RemoveContainer) -> Result<(), Report> {
        if name == "nope" || name == "nada" {
            return Err(Report::user(format!("No such container: {name}")));
        }
        self.0.borrow_mut().push(Call::RemoveContainer(name.into(), options));
        Ok(())
    }

    fn images(&mut self) -> Result<Vec<ImageSummary>, Report> {
        let one = |id: char, repository: Option<&str>, size_bytes| ImageSummary {
            id: format!("sha256:{}", id.to_string().repeat(64)),
            repository: repository.map(Into::into),
            tag: repository.map(|_| "latest".into()),
            digest: None,
            created_s: NOW_S - 86_400 * 20,
            size_bytes,
            labels: BTreeMap::new(),
            containers: None,
        };
        Ok(vec![
            one('d', Some("busybox"), 4_262_000),
            one('e', Some("debian"), 117_300_000),
            one('f', None, 12),
        ])
    }

    fn prune_images(
        &mut self,
        chosen: &dyn Fn(&ImageSummary) -> bool,
    ) -> Result<(Vec<ImageRemoval>, u64), Report> {
        let chosen = self.images()?.into_iter().filter(|image| chosen(image));
        Ok((chosen.map(|image| ImageRemoval::Deleted(image.id)).collect(), 0))
    }

    fn remove_image(&mut self, reference: &str, options: &RemoveImage) -> Result<Vec<ImageRemoval>, Report> {
        self.0.borrow_mut().push(Call::RemoveImage(reference.into(), options.clone()));
        Ok(vec![
            ImageRemoval::Untagged(format!("{reference}:latest")),
            ImageRemoval::Deleted("sha256:dd".into()),
        ])
    }

    fn import(&mut self, request: Import) -> Result<String, Report> {
        self.0.borrow_mut().push(Call::Import(request));
        Ok("sha256:dd".into())
    }

    fn load(&mut self, request: Load) -> Result<Vec<Loaded>, Report> {
        self.0.borrow_mut().push(Call::Load(request));
        Ok(vec![Loaded::Tagged("busybox:latest".into()), Loaded::Untagged("sha256:ee".into())])
    }

    fn inspect_container(&mut self, name: &str, size: bool) -> Result<Option<Value>, Report> {
        Ok((name == "web").then(|| json!({"Id": "aa", "State": {"Pid": 7}, "SizeRw": size.then_some(1)})))
    }

    fn inspect_image(&mut self, name: &str, _: Option<&str>) -> Result<Option<Value>, Report> {
        Ok((name == "busybox").then(|| json!({"Id": "sha256:dd", "RepoTags": ["busybox:latest"]})))
    }

    fn create_volume(
        &mut self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<String, Report> {
        self.0.borrow_mut().push(Call::CreateVolume(name.map(Into::into), labels));
        Ok(name.unwrap_or("made-up").into())
    }

    fn volumes(&mut self) -> Result<Vec<VolumeSummary>, Report> {
        let one = |name: &str, anonymous, containers| VolumeSummary {
            name: name.into(),
            mountpoint: format!("/v/{name}/_data"),
            labels: BTreeMap::from([("kind".into(), name.into())]),
            anonymous,
            containers,
        };
        Ok(vec![one("data", false, 1), one("loose", true, 0), one("named", false, 0)])
    }

    fn inspect_volume(&mut self, name: &str) -> Result<Option<Value>, Report> {
        Ok((name == "data").then(|| json!({"Name": "data", "Driver": "local"})))
    }

    fn remove_volume(&mut self, name: &str, force: bool) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::RemoveVolume(name.into(), force));
        if name == "nope" { Err(Report::user("get nope: no such volume")) } else { Ok(()) }
    }

    fn prune_volumes(&mut self, chosen: &dyn Fn(&VolumeSummary) -> bool) -> Result<Pruned, Report> {
        let unused = self.volumes()?.into_iter().filter(|one| one.containers == 0 && chosen(one));
        let names: Vec<String> = unused.map(|one| one.name).collect();
        Ok(Pruned { bytes: names.len() as u64 * 1500, names })
    }

    fn info(&mut self) -> Result<Value, Report> {
        Ok(json!({"KernelVersion": "6.18", "Features": {"IdmappedMounts": true}, "Warnings": ["a", "b"]}))
    }

    fn logs(&mut self, name: &str, show: &Show, output: Output<'_>) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::Logs(name.into(), show.clone()));
        output(false, b"out\n")?;
        output(true, b"err\n")?;
        Ok(())
    }

    fn events(
        &mut self,
        since_ns: Option<i128>,
        until_ns: Option<i128>,
        visit: Visit<'_>,
    ) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::Events(since_ns, until_ns));
        let event = |kind: &str, action: &str, id: &str, attributes: Value| {
            json!({"Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": attributes},
                   "scope": "local", "time": NOW_S, "timeNano": NOW_S as u64 * 1_000_000_000 + 7})
        };
        for event in [
            event("container", "start", "aaaa", json!({"image": "busybox", "name": "web", "tier": "b"})),
            event("container", "die", "bbbb", json!({"image": "debian:12", "name": "job", "exitCode": "3"})),
            event("volume", "create", "data", json!({"driver": "local"})),
            event("image", "import", "sha256:dd", json!({"name": "busybox:latest"})),
        ] {
            visit(&event)?;
        }
        Ok(())
    }

    fn usage(&mut self, names: &[String], all: bool) -> Result<Vec<ContainerUsage>, Report> {
        self.0.borrow_mut().push(Call::Usage(names.to_vec(), all));
        let usage = Usage {
            cpu_ns: Some(5),
            memory_bytes: Some(3 << 20),
            memory_limit_bytes: Some(64 << 20),
            network_bytes: (1500, 0),
            block_bytes: None,
            pids: Some(2),
        };
        let one = |id: char, name: &str, usage| ContainerUsage {
            id: id.to_string().repeat(64),
            name: name.into(),
            asked: name.into(),
            usage,
        };
        Ok(vec![one('a', "web", Some(usage)), one('b', "job", None)])
    }

    fn top(&mut self, name: &str, options: &[String]) -> Result<Top, Report> {
        self.0.borrow_mut().push(Call::Top(name.into(), options.to_vec()));
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        Ok(Top { titles: row(["UID", "PID", "CMD"]), processes: vec![row(["0", "7", "sh -c 'a\x1b[31m'"])] })
    }

    fn internal(&mut self, args: Vec<OsString>) -> Result<u8, Report> {
        self.0.borrow_mut().push(Call::Internal(args));
        Ok(7)
    }

    fn copy(&mut self, request: &Copy, _: &mut dyn FnMut(u64)) -> Result<Copied, Report> {
        self.0.borrow_mut().push(Call::Copy(request.clone()));
        Ok(Copied { bytes: 1536, devices_left: 0 })
    }

    fn export(&mut self, name: &str, _: OwnedFd) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::Export(name.into()));
        Ok(())
    }

    fn diff(&mut self, _: &str) -> Result<Vec<(char, PathBuf)>, Report> {
        Ok(vec![('A', "/a".into()), ('C', "/etc".into()), ('D', "/etc/x".into())])
    }

    fn commit(&mut self, request: Commit) -> Result<String, Report> {
        self.0.borrow_mut().push(Call::Commit(request));
        Ok("sha256:cc".into())
    }

    fn rename_container(&mut self, name: &str, new: &str) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::Rename(name.into(), new.into()));
        Ok(())
    }

    fn update_container(&mut self, name: &str, update: &Update) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::Update(name.into(), Box::new(update.clone())));
        Ok(())
    }

    fn prune_containers(&mut self, chosen: &dyn Fn(&ContainerSummary) -> bool) -> Result<Pruned, Report> {
        let stopped = |one: &ContainerSummary| !matches!(one.state, ContainerState::Running { .. });
        let all = self.containers(false)?.into_iter().filter(|one| stopped(one) && chosen(one));
        let names: Vec<String> = all.map(|one| one.name).collect();
        Ok(Pruned { bytes: names.len() as u64 * 1500, names })
    }

    fn image_history(&mut self, name: &str, _: Option<&str>) -> Result<Vec<ImageStep>, Report> {
        let step = |id: Option<&str>, command: &str| ImageStep {
            id: id.map(Into::into),
            created_s: Some(NOW_S - 7200),
            created_by: command.into(),
            comment: name.into(),
            size_bytes: 2048,
        };
        Ok(vec![step(Some("sha256:0123456789abcdef"), "sh -c second"), step(None, "first")])
    }

    fn tag_image(&mut self, source: &str, target: &str) -> Result<(), Report> {
        self.0.borrow_mut().push(Call::Tag(source.into(), target.into()));
        Ok(())
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
    pub calls: Vec<Call>,
}

impl Outcome {
    /// What `run` handed to the engine.
    #[track_caller]
    pub fn ran(&self) -> (&Config, &RunOptions) {
        match self.calls.last() {
            Some(Call::Run(config, options)) => (config, options),
            _ => panic!("nothing was run: {self:?}"),
        }
    }
}

pub fn corten(args: &[&str]) -> Outcome {
    corten_with(args, &[])
}

pub fn corten_with(args: &[&str], env: &[(&str, &str)]) -> Outcome {
    corten_at(args, env, false)
}

pub fn corten_at(args: &[&str], env: &[(&str, &str)], terminal: bool) -> Outcome {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let calls = Rc::new(RefCell::new(Vec::new()));
    let open = |options: &EngineOptions| -> Result<Box<dyn Engine>, Report> {
        calls.borrow_mut().push(Call::Open(options.clone()));
        Ok(Box::new(Fake(calls.clone())))
    };
    let lookup = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut cx = Context::new(&mut stdout, &mut stderr, &lookup, &open);
    cx.now_s = NOW_S;
    cx.now_fraction_ns = 0;
    cx.fixed_columns = Some(100);
    cx.fixed_stdin_is_terminal = Some(terminal);
    let code = corten_cli::run(&args, &mut cx);
    drop(cx);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let calls = calls.take();
    Outcome { code, stdout: text(stdout), stderr: text(stderr), calls }
}
