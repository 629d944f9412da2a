//! The program: command, environment, user, capabilities, system-call filter.

use std::collections::BTreeSet;

use corten_runtime::spec::{Capabilities, Process, Rlimit, Seccomp, User};
use corten_sys::caps::CapSet;
use rustix::io::Errno;

use super::Context;
use crate::config::{CapabilityArg, Config, Init, PidMode, Seccomp as SeccompChoice, UsernsMode};
use crate::error::{At, EngineError};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's fourteen (field notes, "Default caps").
const DEFAULT_CAPS: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
/// Programs that are an init themselves.
const INITS: [&str; 9] =
    ["systemd", "init", "s6-svscan", "runit", "tini", "tini-static", "dumb-init", "catatonit", "openrc-init"];

/// The command as it is executed: entrypoint and arguments, each the user's or the image's.
pub(crate) fn command(
    config: &Config,
    image: Option<&corten_oci::ImageConfig>,
) -> Result<Vec<String>, EngineError> {
    let image = image.map(|image| &image.config);
    let entrypoint = match &config.entrypoint {
        Some(own) => own.clone(),
        None => image.and_then(|image| image.entrypoint.clone()).unwrap_or_default(),
    };
    let arguments = if config.command.is_empty() && config.entrypoint.is_none() {
        image.and_then(|image| image.cmd.clone()).unwrap_or_default()
    } else {
        config.command.clone()
    };
    let args: Vec<String> = entrypoint.into_iter().chain(arguments).collect();
    if args.is_empty() {
        let shell = config.image == "host";
        return if shell {
            Ok(vec!["sh".to_owned()])
        } else {
            Err(EngineError::refused("the start", "no command specified"))
        };
    }
    Ok(args)
}

/// The environment: PATH, the host name, the image's, the user's; a later one of a name wins.
pub(crate) fn environment(
    config: &Config,
    image: Option<&corten_oci::ImageConfig>,
    hostname: &str,
) -> Vec<String> {
    // Names, and what they are set to; `None` is a variable that is not to be there.
    let name_of = |entry: &str| entry.split_once('=').map_or(entry.to_owned(), |(name, _)| name.to_owned());
    let mut said: Vec<(String, Option<String>)> = Vec::new();
    let mut set = |entry: String| said.push((name_of(&entry), Some(entry)));
    set(DEFAULT_PATH.to_owned());
    set(format!("HOSTNAME={hostname}"));
    if config.tty {
        set("TERM=xterm".to_owned());
    }
    if let Some(image) = image {
        // An entry without `=` means nothing; it never takes a variable from the host (CVE-2026-57231).
        image.config.env.iter().filter(|entry| entry.contains('=')).cloned().for_each(&mut set);
    }
    for variable in &config.env {
        let entry = variable.value.as_ref().map(|value| format!("{}={value}", variable.name));
        said.push((variable.name.clone(), entry));
    }
    // From the end: an image may have any number of them. Ordered, as a hash would ask the kernel for a secret.
    let mut known = BTreeSet::new();
    let mut env: Vec<String> = said
        .into_iter()
        .rev()
        .filter(|(name, _)| known.insert(name.clone()))
        .filter_map(|(_, entry)| entry)
        .collect();
    env.reverse();
    env
}

pub(super) fn init(config: &Config, args: &[String]) -> bool {
    if matches!(config.pid, Some(PidMode::Host | PidMode::Container(_))) {
        return false;
    }
    match config.init.unwrap_or(Init::Auto) {
        Init::On => true,
        Init::Off => false,
        // Init would take the only place.
        Init::Auto if config.resources.pids_limit == Some(1) => false,
        Init::Auto => {
            let program = args.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
            !INITS.contains(&program)
        }
    }
}

pub(super) fn process(
    config: &Config,
    context: &Context<'_>,
    args: &[String],
    hostname: &str,
) -> Result<Process, EngineError> {
    let image = context.image.map(|image| &image.config);
    let bounding = capabilities(config)?;
    let workdir = config
        .workdir
        .clone()
        .or_else(|| image.map(|image| image.working_dir.clone()))
        .filter(|dir| !dir.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    let user = match &config.user {
        Some(user) => user.to_string(),
        None => image.map_or_else(String::new, |image| image.user.clone()),
    };
    Ok(Process {
        args: args.to_vec(),
        env: environment(config, context.image, hostname),
        cwd: workdir,
        create_cwd: true,
        user: User::Lookup { user, groups: config.group_add.iter().map(ToString::to_string).collect() },
        keep_groups: false,
        umask: Some(0o022),
        capabilities: Capabilities {
            bounding,
            effective: bounding,
            permitted: bounding,
            inheritable: CapSet::EMPTY,
            ambient: CapSet::EMPTY,
        },
        no_new_privileges: config.security_opts.no_new_privileges.unwrap_or(false),
        rlimits: rlimits(config)?,
        oom_score_adj: config.resources.oom_score_adj,
        apparmor_profile: apparmor(config),
        selinux_label: None,
        seccomp: seccomp(config, bounding)?,
        terminal: context.terminal,
    })
}

/// As asked for, if this machine can give it.
pub(crate) fn rlimits(config: &Config) -> Result<Vec<Rlimit>, EngineError> {
    let number = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
    config
        .resources
        .ulimits
        .iter()
        .map(|limit| {
            let resource = limit.resource as u32;
            let (soft, hard) = (limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX));
            let name = limit.resource.name();
            let most = most(config, resource).at("prlimit64", name)?;
            if hard > most {
                let flag = format!("--ulimit {name}={}:{}", number(limit.soft), number(limit.hard));
                let why = format!(
                    "{most} is the most that can be given here, the hard limit of whoever starts the container \
                     (`ulimit -H`, LimitNOFILE= of a service and its like)"
                );
                return Err(EngineError::refused(flag, why));
            }
            Ok(Rlimit { resource, soft, hard })
        })
        .collect()
}

/// The program sets its limits itself: with a user namespace of its own, it has no capability that could raise one.
fn most(config: &Config, resource: u32) -> Result<u64, Errno> {
    let (_, hard) = corten_sys::rlimit::get(resource)?;
    let raise = || -> Result<bool, Errno> {
        let effective = corten_sys::caps::get()?.effective;
        Ok(CapSet::from_names(["SYS_RESOURCE"]).is_some_and(|raise| effective & raise == raise))
    };
    let may_raise = super::shares_user_namespace(config) && raise()?;
    Ok(if may_raise { u64::MAX } else { hard })
}

pub(crate) fn apparmor(config: &Config) -> Option<String> {
    config.security_opts.apparmor.clone().filter(|profile| profile != "unconfined")
}

pub(crate) fn capabilities(config: &Config) -> Result<CapSet, EngineError> {
    let default = CapSet::from_names(DEFAULT_CAPS).unwrap_or_default();
    let mut set = if config.privileged { CapSet::ALL } else { default };
    let bit = |capability: &crate::config::Capability| CapSet(1 << capability.number());
    if config.cap_add.contains(&CapabilityArg::All) {
        set = CapSet::ALL;
    }
    if config.cap_drop.contains(&CapabilityArg::All) {
        set = CapSet::EMPTY;
        if config.cap_add.contains(&CapabilityArg::All) {
            set = CapSet::ALL;
        }
    }
    for arg in &config.cap_add {
        if let CapabilityArg::One(capability) = arg {
            set = set | bit(capability);
        }
    }
    for arg in &config.cap_drop {
        if let CapabilityArg::One(capability) = arg {
            set = set.without(bit(capability));
        }
    }
    if config.privileged || matches!(config.userns, Some(UsernsMode::Host)) {
        // In the host's user namespace nobody has more than we have.
        let ours = corten_sys::caps::get().at("capget", "self")?;
        set = set & ours.permitted;
    }
    Ok(set)
}

pub(crate) fn seccomp(config: &Config, caps: CapSet) -> Result<Option<Seccomp>, EngineError> {
    let own;
    let profile = match &config.security_opts.seccomp {
        Some(SeccompChoice::Unconfined) => return Ok(None),
        None if config.privileged => return Ok(None),
        None | Some(SeccompChoice::Builtin) => &corten_seccomp::DEFAULT,
        Some(SeccompChoice::File(path)) => {
            let text = std::fs::read(path).at("read", path)?;
            own = corten_seccomp::Profile::from_json(&text)
                .map_err(|error| EngineError::Seccomp(format!("{path}: {error}")))?;
            &own
        }
        Some(SeccompChoice::Json(text)) => {
            own = corten_seccomp::Profile::from_json(text.as_bytes())
                .map_err(|error| EngineError::Seccomp(error.to_string()))?;
            &own
        }
    };
    let native = if cfg!(target_arch = "x86_64") {
        corten_seccomp::Arch::X86_64
    } else {
        corten_seccomp::Arch::Aarch64
    };
    let context = corten_seccomp::Context { caps: caps.0, native, kernel: kernel() };
    let filter = corten_seccomp::compile(profile, &context)
        .map_err(|error| EngineError::Seccomp(error.to_string()))?;
    if filter.notify {
        return Err(EngineError::Seccomp(
            "seccomp profile: SCMP_ACT_NOTIFY needs an agent, which `corten run` has none for".to_owned(),
        ));
    }
    let program = filter
        .program
        .iter()
        .map(|insn| corten_sys::seccomp::Instruction { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
        .collect();
    Ok(Some(Seccomp { program, flags: filter.flags }))
}

/// Major and minor version of the running kernel.
fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EnvVar;

    #[test]
    fn the_last_of_a_name_counts() {
        let mut image = corten_oci::ImageConfig::new(&"linux/amd64".parse().unwrap());
        image.config.env = ["A=1", "B=2", "none", "PATH=/bin", "A=3"].map(str::to_owned).to_vec();
        let variable =
            |name: &str, value: Option<&str>| EnvVar { name: name.into(), value: value.map(Into::into) };
        let env = vec![variable("C", Some("4")), variable("B", None), variable("HOSTNAME", Some("own"))];
        let config = Config { env, ..Config::default() };
        let wanted = ["PATH=/bin", "A=3", "C=4", "HOSTNAME=own"];
        assert_eq!(environment(&config, Some(&image), "box"), wanted);
    }
}
