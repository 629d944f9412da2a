//! `top`: the processes of a container, as ps(1) shows them on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::container::{self, Container};
use crate::dirs::Dirs;
use crate::error::{At, EngineError};
use crate::record;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Top {
    /// Its columns' names.
    pub titles: Vec<String>,
    /// One for each process.
    pub processes: Vec<Vec<String>>,
}

/// Clock ticks a second (USER_HZ): 100 on every architecture that we run on.
const TICKS: u64 = 100;

/// The processes of a container that runs: the columns of `ps -ef`, read here, or what the host's ps makes of
/// `options`.
///
/// # Errors
/// [`EngineError::NotRunning`]; ps fails, or shows no column PID.
pub fn top(dirs: &Dirs, name: &str, options: &[String]) -> Result<Top, EngineError> {
    let container = container::find(dirs, name)?;
    if !container.state.is_alive() {
        return Err(EngineError::NotRunning(container.record.id));
    }
    let pids = processes(&container)?;
    let top = match options {
        [] => own(&pids),
        options => ps(&pids, options)?,
    };
    crate::events::tell(dirs, &container.record, "top", &[]);
    Ok(top)
}

/// Those in its cgroup; without one, those in its pid namespace.
fn processes(container: &Container) -> Result<BTreeSet<i32>, EngineError> {
    if let Some(cgroup) = container::cgroup(&container.record)? {
        return Ok(cgroup.procs()?.into_iter().collect());
    }
    let namespace = |pid: i32| fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|meta| meta.ino());
    let own = namespace(container.state.pid);
    let numbers = fs::read_dir("/proc").at("opendir", "/proc")?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The host's, if it has none of its own: then only the first is known to be the container's.
    if own.is_none()
        || own == namespace(1)
        || own == namespace(rustix::process::getpid().as_raw_nonzero().get())
    {
        return Ok([container.state.pid].into());
    }
    Ok(numbers.filter(|pid| namespace(*pid) == own).collect())
}

/// `UID PID PPID C STIME TTY TIME CMD`.
fn own(pids: &BTreeSet<i32>) -> Top {
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
    let users = users(&fs::read_to_string("/etc/passwd").unwrap_or_default());
    let text = record::read_text("/proc/stat").unwrap_or_default();
    let booted = text.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).unwrap_or(0);
    let now = (record::now_ns() / 1_000_000_000) as u64;
    let row = |pid: &i32| {
        let path = format!("/proc/{pid}");
        let stat = Stat::parse(&record::read_text(&format!("{path}/stat"))?)?;
        let uid = fs::metadata(&path).ok()?.uid();
        let words = fs::read(format!("{path}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        let line = if line.is_empty() { format!("[{}]", stat.comm) } else { line };
        let started = booted + stat.start_ticks / TICKS;
        let used = stat.cpu_ticks / TICKS;
        let lived = now.saturating_sub(started).max(1);
        Some(vec![
            users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
            pid.to_string(),
            stat.parent.to_string(),
            (used * 100 / lived).min(99).to_string(),
            start_time(started, now),
            terminal(stat.terminal),
            format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60),
            line,
        ])
    };
    // One that ended meanwhile is none.
    Top { titles, processes: pids.iter().filter_map(row).collect() }
}

/// Names that ps would show: longer ones do not fit its column.
fn users(passwd: &str) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next().unwrap_or_default(), fields.nth(1).map(str::parse));
        if let (1..=8, Some(Ok(uid))) = (name.len(), uid) {
            users.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    users
}

/// Fields of proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    parent: i32,
    terminal: u32,
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        let (front, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of them is the third of all.
        let number = |nth: usize| fields.get(nth - 3)?.parse::<i64>().ok();
        Some(Self {
            comm: front.split_once('(')?.1.to_owned(),
            parent: number(4)? as i32,
            terminal: number(7)? as u32,
            cpu_ticks: (number(14)? + number(15)?) as u64,
            start_ticks: number(22)? as u64,
        })
    }
}

/// `12:34` of today, `Nov24` of another day, in UTC.
fn start_time(started_s: u64, now_s: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = corten_oci::time::rfc3339(std::time::UNIX_EPOCH + std::time::Duration::from_secs(started_s));
    if now_s.saturating_sub(started_s) < 86_400 && started_s / 86_400 == now_s / 86_400 {
        return text[11..16].to_owned();
    }
    let month = text[5..7].parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    format!("{}{}", month.unwrap_or(&""), &text[8..10])
}

/// The name of a controlling terminal, by the kernel's list of devices.
fn terminal(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match (major, minor) {
        (0, _) => "?".to_owned(),
        (4, 64..) => format!("ttyS{}", minor - 64),
        (4, _) => format!("tty{minor}"),
        (5, 1) => "console".to_owned(),
        (136..144, _) => format!("pts/{}", minor + (major - 136) * 256),
        _ => format!("{major}:{minor}"),
    }
}

/// What the host's ps shows of the container's processes.
fn ps(pids: &BTreeSet<i32>, options: &[String]) -> Result<Top, EngineError> {
    let run = |more: &[&str]| Command::new("ps").args(options).args(more).output().at("exec", "ps");
    // Without it ps shows those of the user's terminal alone, unless the options ask for more. Some options, and some
    // a ps, do not go with it.
    let list: Vec<String> = pids.iter().map(i32::to_string).collect();
    let mut output = run(&["-q", &list.join(",")])?;
    if !output.status.success() {
        output = run(&[])?;
    }
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(EngineError::Ps(message));
    }
    choose(&String::from_utf8_lossy(&output.stdout), pids)
}

fn choose(text: &str, pids: &BTreeSet<i32>) -> Result<Top, EngineError> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    let no_pid = || EngineError::Ps("Couldn't find PID field in ps output".to_owned());
    let at = titles.iter().position(|title| title == "PID").ok_or_else(no_pid)?;
    let mut processes = Vec::new();
    // Lines below a process without a number are its threads (`ps -m`).
    let mut is_ours = false;
    for line in lines {
        let mut cells: Vec<String> = Vec::new();
        let mut rest = line.trim_start();
        while cells.len() + 1 < titles.len()
            && let Some((cell, behind)) = rest.split_once(char::is_whitespace)
        {
            cells.push(cell.to_owned());
            rest = behind.trim_start();
        }
        cells.push(rest.to_owned());
        let pid = cells.get(at).map(String::as_str).unwrap_or_default();
        if pid != "-" {
            let pid: i32 = pid.parse().map_err(|_| EngineError::Ps(format!("Unexpected pid '{pid}'")))?;
            is_ours = pids.contains(&pid);
        }
        if is_ours {
            processes.push(cells);
        }
    }
    Ok(Top { titles, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_ps() {
        let text = "7 (a) (b) S 1 7 7 34817 7 4194560 90 0 0 0 150 50 0 0 20 0 1 0 4711 0 0";
        let want =
            Stat { comm: "a) (b".into(), parent: 1, terminal: 34817, cpu_ticks: 200, start_ticks: 4711 };
        assert_eq!(Stat::parse(text), Some(want));
        assert_eq!(terminal(34817), "pts/1");
        assert_eq!(terminal((137 << 8) | 3), "pts/259");
        assert_eq!((terminal(0), terminal(0x440)), ("?".into(), "ttyS0".into()));
        assert_eq!(start_time(1_709_208_000, 1_709_208_100), "12:00");
        assert_eq!(start_time(1_709_208_000, 1_709_294_400), "Feb29");
        let users = users("root:x:0:0::/:/bin/sh\nsystemd-network:x:998:\nbad\n");
        assert_eq!(users, [(0, "root".to_owned())].into());
    }

    #[test]
    fn only_the_containers_lines_are_chosen() {
        let text = "  PID TTY      CMD\n    7 ?        sleep  10 \n   77 ?        x\n    - -        thread\n";
        let top = choose(text, &[7].into()).unwrap();
        assert_eq!(top.processes, [["7", "?", "sleep  10 "]]);
        assert_eq!(choose(text, &[77].into()).unwrap().processes, [["77", "?", "x"], ["-", "-", "thread"]]);
        assert!(choose("TTY CMD\n", &[7].into()).is_err() && choose("PID\nx\n", &[7].into()).is_err());
    }
}
