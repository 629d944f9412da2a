//! The program: a chain in which each tool does one thing to itself and executes the next.

use corten_sys::caps::CapSet;

use super::text::{Text, quote};
use super::{ExplainError, refuse};
use crate::plan::{Actor, Op, Plan};
use crate::spec::{Capabilities, User};

/// One tool of the chain: what it is for, its words.
struct Link {
    comment: String,
    words: String,
}

pub(super) fn print(out: &mut Text, plan: &Plan) -> Result<(), ExplainError> {
    let mut chain: Vec<Link> = Vec::new();
    let mut last = None;
    for (_, op) in plan.of(Actor::Payload) {
        match op {
            Op::Umask(mask) => {
                out.comment(&op.to_string());
                out.line(format!("umask {mask:04o}"));
            }
            Op::WorkingDirectory { path, create } => {
                let kind = if *create { "--directory" } else { "--existing" };
                let path = path.to_string_lossy();
                if path != "/" {
                    out.comment(&op.to_string());
                    out.line(format!("at=$(\"$corten\" internal place {kind} {})", quote(&path)));
                    out.line("cd -P \"$at\"");
                }
            }
            Op::Exec { args } => last = Some(args.iter().map(|arg| quote(&arg.to_string_lossy())).collect()),
            op => chain.extend(link(op, plan)?),
        }
    }
    let args: Vec<String> = last.unwrap_or_default();
    // The filter comes before what drops CAP_SYS_ADMIN, or after no_new_privs; the plan says which.
    if plan.spec.init {
        out.comment("Input by another number: that of a job in the background would be empty");
        out.line("exec 3<&0");
    }
    out.comment("The program, by a chain of tools: each does one thing to itself and executes the next");
    for link in &chain {
        out.comment(&format!("  {}", link.comment));
    }
    out.comment("  its environment");
    out.comment("  no tool waits for the new root, checks that the working directory is in it, closes every descriptor,");
    out.comment("  resets signals and looks for the program in the container's PATH");
    let links: String = chain.iter().map(|link| format!("{} \\\n    ", link.words)).collect();
    let env = environment(plan);
    let program = format!(
        "{links}env -i -- {env}\\\n    \"$corten\" internal exec --ready 6 --wait 7 -- {}",
        args.join(" ")
    );
    if plan.spec.init {
        out.line(format!("{program} <&3 3<&- &"));
        out.comment("corten's init, process 1: it keeps CAP_KILL only, reaps orphans and passes signals on");
        out.line("exec \"$corten\" internal init --record 4 $! < /dev/null 3<&-");
    } else {
        out.line(format!("exec {program}"));
    }
    Ok(())
}

fn environment(plan: &Plan) -> String {
    let count = plan.env.iter().count() - usize::from(plan.fill_home);
    let mut env: String =
        plan.env.iter().take(count).map(|entry| format!("{} ", quote(&entry.to_string_lossy()))).collect();
    if plan.fill_home {
        env += "\"HOME=$home\" ";
    }
    env
}

fn link(op: &Op, plan: &Plan) -> Result<Option<Link>, ExplainError> {
    let made = |words: String| Ok(Some(Link { comment: op.to_string(), words }));
    match op {
        // It stays in the session of the terminal that it is given.
        Op::Session { terminal: true } => Ok(None),
        Op::Session { terminal: false } => made("setsid".to_owned()),
        Op::Keyring => Ok(Some(Link {
            comment: format!("{op}, which takes keyutils"),
            words: "\"$corten\" internal keyring --".to_owned(),
        })),
        Op::Rlimit(limit) => {
            let name = corten_sys::rlimit::NAMES.iter().find(|(_, number)| *number == limit.resource);
            let Some((name, _)) = name else { return Err(refuse(op, "prlimit(1) knows no such limit")) };
            let value =
                |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
            made(format!("prlimit --{name}={}:{} --", value(limit.soft), value(limit.hard)))
        }
        // setpriv does all of it in one process: between two, the exec would take what the second needs.
        Op::Bounding(_) | Op::Label { .. } | Op::NoNewPrivileges | Op::User(_) => Ok(None),
        Op::Capabilities(capabilities) => {
            Ok(Some(Link { comment: identity_comment(plan), words: identity(plan, capabilities) }))
        }
        Op::Seccomp(filter) => {
            let mut text = String::new();
            for (index, insn) in filter.program.iter().enumerate() {
                let separator = if index == 0 {
                    ""
                } else if index % 8 == 0 {
                    "\n"
                } else {
                    " "
                };
                text += &format!("{separator}{},{},{},{}", insn.code, insn.jt, insn.jf, insn.k);
            }
            Ok(Some(Link {
                comment: format!("{op}, which no tool does: BPF, each instruction as code,jt,jf,k"),
                words: format!("\"$corten\" internal seccomp --flags {} '\n{text}' --", filter.flags),
            }))
        }
        other => Err(refuse(other, "it is none of the program's")),
    }
}

fn has(plan: &Plan, test: impl Fn(&Op) -> bool) -> bool {
    plan.ops.iter().any(test)
}

fn identity_comment(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if has(plan, |op| matches!(op, Op::Label { .. })) {
        parts.push("the LSM's label");
    }
    if has(plan, |op| matches!(op, Op::Bounding(_))) {
        parts.push("the bounding set");
    }
    parts.extend(["the user and its groups", "the capabilities"]);
    if has(plan, |op| matches!(op, Op::NoNewPrivileges)) {
        parts.push("no_new_privs");
    }
    parts.join(", ")
}

fn identity(plan: &Plan, capabilities: &Capabilities) -> String {
    let mut words = vec!["setpriv".to_owned()];
    for op in &plan.ops {
        match op {
            Op::Label { label, lsm: "AppArmor", .. } => {
                let label = label.to_string_lossy();
                let label = label.strip_prefix("exec ").unwrap_or(&label);
                words.push(format!("--apparmor-profile={}", quote(label)));
            }
            Op::Label { label, .. } => {
                words.push(format!("--selinux-label={}", quote(&label.to_string_lossy())));
            }
            Op::Bounding(_) => words.push(format!("--bounding-set={}", set(capabilities.bounding))),
            _ => {}
        }
    }
    words.push("--reuid=\"$uid\" --regid=\"$gid\"".to_owned());
    words.push(match plan.spec.process.keep_groups {
        true => "--keep-groups".to_owned(),
        false => match &plan.spec.process.user {
            User::Ids { groups, .. } if groups.is_empty() => "--clear-groups".to_owned(),
            _ => "--groups=\"$groups\"".to_owned(),
        },
    });
    words.push(format!("--inh-caps={}", set(capabilities.inheritable)));
    words.push(format!("--ambient-caps={}", set(capabilities.ambient)));
    if has(plan, |op| matches!(op, Op::NoNewPrivileges)) {
        words.push("--no-new-privs".to_owned());
    }
    words.push("--".to_owned());
    words.join(" \\\n        ")
}

/// Exactly these, as setpriv(1) takes them. All of them are every one that the kernel has: it may have fewer.
fn set(caps: CapSet) -> String {
    if caps == CapSet::ALL {
        return "+all".to_owned();
    }
    let names = caps.names();
    let plus = names.iter().map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_ascii_lowercase()));
    std::iter::once("-all".to_owned()).chain(plus).collect()
}
