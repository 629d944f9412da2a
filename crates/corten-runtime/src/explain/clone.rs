//! The clone: unshare(1) with the namespaces, and a shell that waits in them.

use corten_sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER, CLONE_NEWUTS,
};

use super::text::{Text, command};
use super::{ExplainError, Frame, refuse};
use crate::plan::{CloneOp, Op, Plan};

pub(super) fn print(out: &mut Text, plan: &Plan, clone: &CloneOp, frame: &Frame) -> Result<(), ExplainError> {
    let has = |bit: i32| clone.namespaces & bit as u64 != 0;
    let mut words = join(clone, frame)?;
    words.extend(["unshare", "--mount", "--propagation", "private"].map(str::to_owned));
    for (bit, flag) in
        [(CLONE_NEWPID, "--pid"), (CLONE_NEWNET, "--net"), (CLONE_NEWIPC, "--ipc"), (CLONE_NEWUTS, "--uts")]
    {
        words.extend(has(bit).then(|| flag.to_owned()));
    }
    if has(CLONE_NEWUSER) {
        words.extend(["--user", "--keep-caps"].map(str::to_owned));
    }
    if let (true, Some(time)) = (has(CLONE_NEWTIME), plan.spec.namespaces.time) {
        if time.monotonic.1 != 0 || time.boottime.1 != 0 {
            return Err(refuse("offsets of a time namespace", "unshare(1) takes whole seconds only"));
        }
        words.push("--time".to_owned());
        words.push(format!("--monotonic={}", time.monotonic.0));
        words.push(format!("--boottime={}", time.boottime.0));
    }
    words.extend(["--fork", "sh", "-euc"].map(str::to_owned));
    out.section("The first process, in its namespaces");
    out.comment("Two pipes: 6 to 4 from it to us, 5 to 7 from us to it");
    out.line("mkfifo \"$run/up\" \"$run/down\"");
    out.line("exec 3<&0 4<> \"$run/up\" 6> \"$run/up\" 5<> \"$run/down\" 7< \"$run/down\"");
    out.line("exec 4< \"$run/up\" 5> \"$run/down\"");
    out.comment("It says which process it is and waits for its mounts and its user");
    if !clone.join.is_empty() {
        out.comment("The namespaces of another container: nsenter(1) would lose its capabilities on the way into the user's");
    }
    if has(CLONE_NEWUSER) {
        out.comment("--keep-caps: until its ids are mapped it is no root, and only ambient capabilities outlive an exec");
    }
    let unshares_cgroup =
        has(CLONE_NEWCGROUP) || plan.ops.iter().any(|op| matches!(op, Op::UnshareCgroup { .. }));
    let root = plan.ops.iter().any(|op| matches!(op, Op::BecomeRoot));
    // Not a tty's: a background job would have none, and only with -i or -t does the program read.
    let input = if frame.interactive || plan.spec.process.terminal.is_some() { "<&3" } else { "< /dev/null" };
    out.line(format!(
        "{} '\n    read -r pid _ < /proc/self/stat\n    echo \"$pid\" >&6\n    \
         read -r uid <&7; read -r gid <&7; read -r groups <&7; IFS= read -r home <&7\n    \
         export uid gid groups home\n    cd \"$stage/root\"\n    exec 9< \"$stage/corten\"\n    \
         exec {}sh -eu ../inside\n' {input} 3<&- 4> \"$run/exit\" 5>&- &",
        command(&words),
        then(unshares_cgroup, root),
    ));
    out.line("child=$!");
    out.line("exec 3<&- 6>&- 7<&-");
    out.line("read -r PID <&4");
    out.line("export PID");
    out.comment(
        "To work as the host's root, but in the container's mount namespace: nobody else sees those mounts",
    );
    out.line("there() { nsenter --target \"$PID\" --mount -- \"$@\"; }");
    Ok(())
}

/// What enters the namespaces of other containers.
fn join(clone: &CloneOp, frame: &Frame) -> Result<Vec<String>, ExplainError> {
    let mut words = Vec::new();
    for (name, bit, path) in &clone.join {
        let refuse = |why| refuse(format!("joining the {name} namespace {}", path.display()), why);
        if *bit == CLONE_NEWPID {
            // Corten's own child is not dumpable and executes nothing until its root has changed.
            return Err(refuse(
                "that container's processes would see each tool of the script, whose root directory is the \
                 host's, and reach the host through it",
            ));
        }
        let other =
            frame.other(path).ok_or_else(|| refuse("it is of no container that this script knows"))?;
        words.push(format!("--{name} \"${other}\""));
    }
    if !words.is_empty() {
        words.insert(0, "\"$corten\" internal join".to_owned());
        words.push("--".to_owned());
    }
    Ok(words)
}

/// What the first process executes to go on.
fn then(unshares_cgroup: bool, root: bool) -> String {
    let mut words = String::new();
    if unshares_cgroup {
        // A cgroup namespace is rooted where the process is: after it has joined.
        words += "unshare --cgroup ";
    }
    if root {
        words += "setpriv --reuid 0 --regid 0 --keep-groups --inh-caps=-all --ambient-caps=-all ";
    }
    words
}
