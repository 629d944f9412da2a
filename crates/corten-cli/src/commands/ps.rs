//! `corten ps`: the containers.

use serde_json::{Value, json};

use crate::command::Subcommand;
use crate::context::Context;
use crate::engine_api::{ContainerState, ContainerSummary};
use crate::filter::{Filters, name_fits};
use crate::flags::{self, flags};
use crate::format::{add_label_method, human, table};
use crate::report::Report;
use crate::values;

flags! {
    pub(crate) struct Args {
        /// Show all containers (default shows just running)
        all: bool = "all" 'a';
        /// Filter output based on conditions provided
        filter: Vec<String> = "filter" 'f' ["filter", flags::text];
        /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" ["string", flags::text];
        /// Show n last created containers (includes all states) (default -1)
        last: Option<i64> = "last" 'n' ["int", values::int::<i64>];
        /// Show the latest created container (includes all states)
        latest: bool = "latest" 'l';
        /// Don't truncate output
        no_trunc: bool = "no-trunc";
        /// Only display container IDs
        quiet: bool = "quiet" 'q';
        /// Display total file sizes
        size: bool = "size" 's';
    }
}

const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const COLUMNS: table::Columns = table::Columns {
    headers: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("Ports", "PORTS"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
    go_type: "*formatter.ContainerContext",
};

const DEFAULT: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

impl Subcommand for Args {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "List containers";
    const USAGE: &'static str = "[OPTIONS]";
    const ALIASES: &'static [&'static str] =
        &["corten container ls", "corten container list", "corten container ps", "corten ps"];
    const AFTER_HELP: &'static str =
        "Examples:\n  corten ps -a\n  corten ps -a --format '{{.Names}} {{.Status}}'";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let filters = Filters::parse(&self.filter, FILTERS)?;
        let format = self.format.as_deref().unwrap_or_default();
        // `-s` is also asked for by a template that shows it.
        let size = self.size || format.contains(".Size");
        let all = cx.engine()?.containers(size)?;
        let last = if self.latest { Some(1) } else { self.last.filter(|n| *n > 0) };
        let every = self.all
            || last.is_some()
            || ["status", "exited", "before", "since"].iter().any(|key| filters.has(key));
        let mut shown = select(&all, &filters)?;
        shown.retain(|one| every || matches!(state_name(one.state), "running" | "paused" | "restarting"));
        shown.truncate(last.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)));
        if self.quiet && format.is_empty() {
            for one in shown {
                let id = if self.no_trunc { &one.id } else { human::short_id(&one.id) };
                writeln!(cx.stdout, "{id}")?;
            }
            return Ok(0);
        }
        let default = if self.size { format!("{DEFAULT}\t{{{{.Size}}}}") } else { DEFAULT.to_owned() };
        let rows: Vec<Value> = shown.iter().map(|one| row(one, !self.no_trunc, cx.now_s)).collect();
        let text =
            table::render(format, &default, &COLUMNS, &rows).map_err(|e| Report::user(e.to_string()))?;
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn select<'a>(all: &'a [ContainerSummary], filters: &Filters) -> Result<Vec<&'a ContainerSummary>, Report> {
    // `before` and `since` name a container; what was made before or after it stays.
    let created = |key: &str| match filters.last(key) {
        None => Ok(None),
        Some(name) => match all.iter().position(|one| one.name == name || one.id.starts_with(name)) {
            Some(position) => Ok(Some(position)),
            None => Err(Report::user(format!("No such container: {name}"))),
        },
    };
    let (before, since) = (created("before")?, created("since")?);
    if let Some(status) = filters.last("status")
        && !["created", "running", "paused", "restarting", "removing", "exited", "dead"].contains(&status)
    {
        return Err(Report::user(format!("invalid filter 'status={status}'")));
    }
    if let Some(health) = filters.last("health")
        && !["starting", "healthy", "unhealthy", "none"].contains(&health)
    {
        return Err(Report::user(format!("invalid filter 'health={health}'")));
    }
    if let Some(code) = filters.last("exited").filter(|code| code.parse::<i32>().is_err()) {
        return Err(Report::user(format!("invalid filter 'exited={code}'")));
    }
    let task = filters.last("is-task").map(|text| {
        corten_engine::config::parse_bool(text)
            .ok_or_else(|| Report::user(format!("invalid filter 'is-task={text}'")))
    });
    let task = task.transpose()?;
    let ports = |key: &str| -> Result<Vec<(u16, u16, String)>, Report> {
        let wrong = |text: &str| Report::user(format!("invalid filter '{key}={text}'"));
        filters.values(key).map(|text| port_range(text).ok_or_else(|| wrong(text))).collect()
    };
    let (exposed, published) = (ports("expose")?, ports("publish")?);
    let fits = |position: usize, one: &ContainerSummary| {
        // Newest first.
        before.is_none_or(|at| position > at)
            && since.is_none_or(|at| position < at)
            && filters.any("id", |id| one.id.starts_with(id))
            && filters.any("name", |name| name_fits(&one.name, name))
            && filters.any("status", |status| state_name(one.state) == status)
            && filters.any("health", |health| one.health.as_deref().unwrap_or("none") == health)
            && filters.any("exited", |code| match one.state {
                ContainerState::Exited { code: exited, .. } => code.parse() == Ok(exited),
                _ => false,
            })
            && filters.any("ancestor", |image| {
                let id = one.image_id.strip_prefix("sha256:").unwrap_or(&one.image_id);
                one.image == image
                    || one.image.strip_suffix(":latest") == Some(image)
                    || image.strip_suffix(":latest") == Some(&one.image)
                    || id.starts_with(image.strip_prefix("sha256:").unwrap_or(image))
            })
            && filters.any("network", |network| one.networks.iter().any(|known| known == network))
            && filters.any("volume", |volume| {
                one.mounts.iter().chain(&one.targets).any(|known| known == volume)
            })
            // There is no swarm, no other isolation than the kernel's, and nothing is published yet.
            && task != Some(true)
            && filters.any("isolation", |isolation| matches!(isolation, "" | "default"))
            && published.is_empty()
            && (exposed.is_empty() || exposed.iter().any(|wanted| exposes(one, wanted)))
            && filters.labels(&one.labels)
    };
    Ok(all.iter().enumerate().filter(|(position, one)| fits(*position, one)).map(|(_, one)| one).collect())
}

/// `80`, `80/udp`, `8000-8080/tcp`.
fn port_range(text: &str) -> Option<(u16, u16, String)> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let known = ["tcp", "udp", "sctp"].contains(&protocol);
    known.then(|| Some((first.parse().ok()?, last.parse().ok()?, protocol.to_owned())))?
}

fn exposes(one: &ContainerSummary, (first, last, protocol): &(u16, u16, String)) -> bool {
    one.exposed.iter().any(|(port, known)| known == protocol && (first..=last).contains(&port))
}

fn state_name(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running { .. } => "running",
        ContainerState::Paused { .. } => "paused",
        ContainerState::Restarting { .. } => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited { .. } => "exited",
        ContainerState::Dead => "dead",
    }
}

/// `Up 5 minutes (healthy)`, `Exited (0) 3 hours ago`.
pub(crate) fn status(one: &ContainerSummary, now_s: i64) -> String {
    let health = match one.health.as_deref() {
        Some("starting") => " (health: starting)".to_owned(),
        Some("none") | None => String::new(),
        Some(health) => format!(" ({health})"),
    };
    match one.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running { started_s } => format!("Up {}{health}", human::duration(now_s - started_s)),
        ContainerState::Paused { started_s } => format!("Up {} (Paused)", human::duration(now_s - started_s)),
        ContainerState::Restarting { code, since_s } => {
            format!("Restarting ({code}) {}", human::ago(since_s, now_s))
        }
        ContainerState::Removing => "Removal In Progress".to_owned(),
        ContainerState::Exited { code, finished_s } => {
            format!("Exited ({code}) {}", human::ago(finished_s, now_s))
        }
        ContainerState::Dead => "Dead".to_owned(),
    }
}

fn row(one: &ContainerSummary, truncate: bool, now_s: i64) -> Value {
    let cut =
        |text: &str, width: usize| if truncate { human::ellipsis(text, width) } else { text.to_owned() };
    let id = if truncate { human::short_id(&one.id) } else { &one.id };
    let mounts: Vec<String> = one.mounts.iter().map(|mount| cut(mount, 15)).collect();
    let labels: Vec<String> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let size = match (one.size_rw_bytes, one.size_root_bytes) {
        (Some(rw), Some(root)) if root > 0 => {
            format!("{} (virtual {})", human::size3(rw), human::size3(root))
        }
        (rw, _) => human::size3(rw.unwrap_or(0)),
    };
    let mut row = json!({
        "Command": format!("\"{}\"", cut(&one.command, 20)),
        "CreatedAt": human::timestamp(one.created_s),
        "ID": id,
        "Image": if one.image.is_empty() { "<no image>" } else { &one.image },
        "Labels": labels.join(","),
        "LocalVolumes": one.local_volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": one.name,
        "Networks": one.networks.join(","),
        "Platform": Value::Null,
        "Ports": one.ports.join(", "),
        "RunningFor": human::ago(one.created_s, now_s),
        "Size": size,
        "State": state_name(one.state),
        "Status": status(one, now_s),
    });
    add_label_method(&mut row, &one.labels);
    row
}
