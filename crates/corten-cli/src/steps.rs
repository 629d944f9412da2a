//! `corten internal STEP …`: the steps of a start that no shell tool does, for the scripts of
//! `corten run --explain`. Words in, one call of [`corten_runtime::step`], a line or nothing out. The words are
//! ours and no promise to anybody: a script goes with the corten that printed it.

use std::path::{Path, PathBuf};

use corten_engine::dirs::Dirs;
use corten_engine::error::EngineError;
use corten_engine::explain::{self, Process};
use corten_runtime::spec::{Bind, BindIds, Overlay, Writable};
use corten_runtime::step::{self, BindChange, PlaceKind, Shift, StepError};
use corten_sys::mount::attr;

use crate::context::Context;
use crate::report::{ENGINE_FAILED, Report};

const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// Carries a step out; `None` if the first word is none.
pub(crate) fn run(words: &[String], cx: &mut Context<'_>) -> Option<Result<u8, Report>> {
    let (name, words) = words.split_first()?;
    let words = Words::new(words);
    let done = match name.as_str() {
        "overlay" => overlay(words),
        "bind" => bind(words, cx),
        "join" => join(words, cx),
        "taken" => taken(words),
        "running" => running(words, cx),
        "release" => release(words, cx),
        "volume" => volume(words, cx),
        "volume-fill" => volume_fill(words),
        "place" => place(words, cx),
        "user" => user(words, cx),
        "device-filter" => device_filter(words),
        "host-image" => host_image(words),
        "keyring" => keyring(words, cx),
        "seccomp" => seccomp(words, cx),
        "exec" => exec(words),
        "init" => init(words),
        _ => return None,
    };
    Some(done.map(|()| 0))
}

/// The words of a step: flags, then operands; what follows `--` is a command.
struct Words {
    flags: Vec<String>,
    command: Vec<String>,
}

impl Words {
    fn new(words: &[String]) -> Self {
        let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let command = words.get(at + 1..).unwrap_or_default().to_vec();
        Self { flags: words[..at].to_vec(), command }
    }

    fn switch(&mut self, name: &str) -> bool {
        let at = self.flags.iter().position(|word| word == name);
        at.map(|at| self.flags.remove(at)).is_some()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let at = self.flags.iter().position(|word| word == name).filter(|at| at + 1 < self.flags.len())?;
        self.flags.drain(at..at + 2).nth(1)
    }

    fn values(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.value(name)).collect()
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<T, Report> {
        self.value(name)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong(&format!("{name} wants a number")))
    }

    /// What is left, as exactly this many operands.
    fn operands<const N: usize>(self) -> Result<[String; N], Report> {
        let count = self.flags.len();
        self.flags.try_into().map_err(|_| wrong(&format!("want {N} operands, not {count}")))
    }
}

fn wrong(what: &str) -> Report {
    Report::user(format!("corten internal: {what}")).status(ENGINE_FAILED)
}

fn failed(step: &str) -> impl Fn(StepError) -> Report {
    move |error| Report::host(format!("{step}: {error}")).status(error.exit_code())
}

fn attributes(words: &mut Words) -> Result<u64, Report> {
    let mut bits = 0;
    for option in words.value("--options").unwrap_or_default().split(',').filter(|option| !option.is_empty())
    {
        bits |= match option {
            "ro" => attr::RDONLY,
            "nosuid" => attr::NOSUID,
            "nodev" => attr::NODEV,
            "noexec" => attr::NOEXEC,
            "noatime" => attr::NOATIME,
            "strictatime" => attr::STRICTATIME,
            "nodiratime" => attr::NODIRATIME,
            "nosymfollow" => attr::NOSYMFOLLOW,
            other => return Err(wrong(&format!("unknown mount option {other:?}"))),
        };
    }
    Ok(bits)
}

fn owner(words: &mut Words) -> Result<Option<(u32, u32)>, Report> {
    let Some(text) = words.value("--owner") else { return Ok(None) };
    let ids = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    ids.map(Some).ok_or_else(|| wrong("--owner wants UID:GID"))
}

fn overlay(mut words: Words) -> Result<(), Report> {
    let owner = owner(&mut words)?;
    let userns = words.value("--userns").map(PathBuf::from);
    let bits = attributes(&mut words)?;
    let in_memory = words.value("--in-memory").map(|mode| match u32::from_str_radix(&mode, 8) {
        Ok(mode @ 0..=0o7777) => Ok(Writable::Memory { mode }),
        _ => Err(wrong("--in-memory wants a mode in octal")),
    });
    let writable = match words.value("--writable") {
        Some(dir) => Some(Writable::Directory(PathBuf::from(dir))),
        None => in_memory.transpose()?,
    };
    let overlay = Overlay {
        lowers: words.values("--lower").into_iter().map(PathBuf::from).collect(),
        writable,
        volatile: words.switch("--volatile"),
        userxattr: words.switch("--userxattr"),
        idmap: userns.is_some(),
        screened: words.switch("--screened"),
        subpath: words.value("--subpath"),
    };
    let [at] = words.operands()?;
    let shift = Shift { userns: userns.as_deref(), owner };
    step::overlay(&overlay, bits, shift, Path::new(&at)).map_err(failed("overlay"))
}

fn bind(mut words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let userns = words.value("--userns").map(PathBuf::from);
    let ids = match (userns.is_some(), words.switch("--if-possible")) {
        (false, _) => BindIds::Host,
        (true, true) => BindIds::MapIfPossible,
        (true, false) => BindIds::Map,
    };
    let change = BindChange {
        attributes: attributes(&mut words)?,
        recursive_attributes: words.switch("--recursive-options"),
        propagation: match (words.switch("--slave"), words.switch("--shared")) {
            (true, _) => MS_SLAVE,
            (_, true) => MS_SHARED,
            _ => MS_PRIVATE,
        },
    };
    let recursive = words.switch("--recursive");
    let subpath = words.value("--subpath");
    let into = words.value("--into").ok_or_else(|| wrong("bind: into which mount namespace?"))?;
    let [source, at] = words.operands()?;
    let bind = Bind { source: source.into(), subpath, recursive, ids };
    let shift = Shift { userns: userns.as_deref(), owner: None };
    if step::bind(&bind, change, shift, Path::new(&into), Path::new(&at)).map_err(failed("bind"))? {
        let source = bind.source.display();
        writeln!(
            cx.stderr,
            "corten: the file system of {source} cannot shift ids: they look as on the host"
        )?;
    }
    Ok(())
}

/// A container that is joined, by what [`running`] printed.
fn process(text: &str) -> Result<Process, Report> {
    Process::open(text).ok_or_else(|| {
        Report::host(format!("the container of process {text:?} has ended")).status(ENGINE_FAILED)
    })
}

fn join(mut words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let mut processes = Vec::new();
    for kind in ["user", "net", "ipc", "uts", "cgroup"] {
        if let Some(text) = words.value(&format!("--{kind}")) {
            processes.push((kind, process(&text)?));
        }
    }
    let whose = |kind: &str| processes.iter().find(|(known, _)| *known == kind).map(|(_, of)| of.joined());
    step::join(whose).map_err(failed("join"))?;
    Err(go_on("join", &words, cx))
}

fn taken(mut words: Words) -> Result<(), Report> {
    let of = process(&words.value("--of").unwrap_or_default())?;
    let bits = attributes(&mut words)?;
    let into = words.value("--into").ok_or_else(|| wrong("taken: into which mount namespace?"))?;
    let [path, at] = words.operands()?;
    step::taken(of.joined(), &path, bits, Path::new(&into), Path::new(&at)).map_err(failed("taken"))
}

/// Only root runs a script.
fn dirs(cx: &Context<'_>) -> Dirs {
    let system = Dirs::system();
    Dirs {
        root: cx.options.root.clone().unwrap_or(system.root),
        run: cx.options.run_root.clone().unwrap_or(system.run),
        rootless: None,
    }
}

fn engine(step: &str) -> impl Fn(EngineError) -> Report {
    move |error| Report::host(format!("{step}: {error}")).status(ENGINE_FAILED)
}

fn running(words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let [id, first_id] = words.operands()?;
    let first_id = first_id.parse().map_err(|_| wrong("running: want a first id"))?;
    let process = explain::running(&dirs(cx), &id, first_id).map_err(engine("running"))?;
    Ok(writeln!(cx.stdout, "{process}")?)
}

fn release(words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let [id] = words.operands()?;
    explain::release(&dirs(cx), &id).map_err(engine("release"))
}

fn volume(words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let [name] = words.operands()?;
    explain::make_volume(&dirs(cx), &name).map_err(engine("volume"))
}

fn volume_fill(mut words: Words) -> Result<(), Report> {
    let scratch = words.value("--scratch").ok_or_else(|| wrong("volume-fill: what is its scratch?"))?;
    let path = words.value("--path").unwrap_or_default();
    let lowers: Vec<PathBuf> = words.values("--lower").into_iter().map(PathBuf::from).collect();
    let [volume] = words.operands()?;
    explain::fill_volume(Path::new(&volume), &path, &lowers, Path::new(&scratch))
        .map_err(engine("volume-fill"))
}

fn place(mut words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let no_symlinks = words.switch("--no-symlinks");
    let kind = if words.switch("--directory") {
        PlaceKind::Directory
    } else if words.switch("--existing") {
        PlaceKind::Existing
    } else {
        let like = words.value("--like").ok_or_else(|| wrong("place: of what kind?"))?;
        match step::is_directory(&like).map_err(failed("place"))? {
            true => PlaceKind::Directory,
            false => PlaceKind::File,
        }
    };
    let [path] = words.operands()?;
    match step::place(&path, kind, no_symlinks).map_err(failed("place"))? {
        Some(place) => Ok(writeln!(cx.stdout, "{place}")?),
        None => Ok(()),
    }
}

fn user(words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let [root, user, groups @ ..] = words.flags.as_slice() else { return Err(wrong("user: want ROOT USER")) };
    let found = step::find_user(Path::new(root), user, groups).map_err(failed("user"))?;
    let groups: Vec<String> = found.groups.iter().map(ToString::to_string).collect();
    writeln!(cx.stdout, "{}\n{}\n{}\n{}", found.uid, found.gid, groups.join(","), found.home)?;
    Ok(())
}

fn device_filter(words: Words) -> Result<(), Report> {
    let Some((dir, rules)) = words.flags.split_first() else { return Err(wrong("device-filter: want DIR")) };
    let rules: Vec<corten_cgroup::DeviceRule> = rules
        .iter()
        .map(|rule| rule.parse().map_err(|error: corten_cgroup::RuleError| wrong(&error.to_string())))
        .collect::<Result<_, _>>()?;
    corten_cgroup::install_device_filter(Path::new(dir), &rules)
        .map_err(|error| Report::host(format!("device-filter: {error}")).status(ENGINE_FAILED))
}

fn host_image(words: Words) -> Result<(), Report> {
    let [dir] = words.operands()?;
    explain::prepare_host_image(Path::new(&dir))
        .map_err(|error| Report::host(format!("host-image: {error}")).status(ENGINE_FAILED))
}

/// Executes the command of a step that has changed this process.
fn go_on(step: &str, words: &Words, cx: &Context<'_>) -> Report {
    let path = (cx.env)("PATH").map(|path| path.to_string_lossy().into_owned());
    failed(step)(step::execute(&words.command, path.as_deref(), &crate::env::all()))
}

fn keyring(words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    step::keyring().map_err(failed("keyring"))?;
    Err(go_on("keyring", &words, cx))
}

fn seccomp(mut words: Words, cx: &mut Context<'_>) -> Result<(), Report> {
    let flags = words.number("--flags")?;
    let [program] = std::array::from_fn(|_| words.flags.pop().unwrap_or_default());
    step::seccomp(&program, flags).map_err(failed("seccomp"))?;
    Err(go_on("seccomp", &words, cx))
}

fn exec(mut words: Words) -> Result<(), Report> {
    let (ready, wait) = (words.number("--ready")?, words.number("--wait")?);
    let env = crate::env::all();
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    Err(failed("exec")(step::exec(&words.command, path, &env, ready, wait)))
}

fn init(mut words: Words) -> Result<(), Report> {
    let record = words.number("--record")?;
    let [payload] = words.operands()?;
    let payload = payload.parse().map_err(|_| wrong("init: want a process id"))?;
    Err(failed("init")(step::init(payload, record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_flags_operands_and_a_command() {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let mut words =
            Words::new(&list(&["--lower", "a", "--volatile", "--lower", "b", "x", "--", "--lower", "c"]));
        assert_eq!(words.values("--lower"), ["a", "b"]);
        assert!(words.switch("--volatile") && !words.switch("--volatile"));
        assert_eq!(words.command, ["--lower", "c"]);
        assert_eq!(words.operands::<1>().unwrap(), ["x"]);
        assert!(Words::new(&list(&["x", "--nope"])).operands::<1>().is_err());
    }
}
