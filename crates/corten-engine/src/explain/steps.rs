//! What the engine makes for a container beside its plan, as lines of the script.

use std::path::{Path, PathBuf};

use corten_runtime::explain::{Frame, quote};

use super::ExplainOptions;
use crate::config::{Config, MountSource};
use crate::dirs::Dirs;
use crate::joins::Joins;
use crate::prepare::Sources;
use crate::resolve::Unmade;
use crate::volume::Content;

/// Corten as a script calls it where it needs to know its directories.
const CORTEN: &str = "\"$corten\" --root \"$store\" --run-root \"$live\"";

pub(super) struct Steps<'a> {
    dirs: &'a Dirs,
    config: &'a Config,
    id: &'a str,
    before: Vec<(String, Vec<String>)>,
    after: Vec<String>,
    joined: Vec<(i32, String)>,
}

fn path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

impl<'a> Steps<'a> {
    /// With what every container has: its directories.
    pub(super) fn new(dirs: &'a Dirs, config: &'a Config, id: &'a str) -> Self {
        let mut steps = Self { dirs, config, id, before: Vec::new(), after: Vec::new(), joined: Vec::new() };
        let containers = path(&dirs.root.join("containers"));
        steps.add(
            "its directories, for root only; as long as somebody holds the lock no other corten collects them",
            vec![
                format!("(umask 077; mkdir -p {containers} {})", path(&dirs.leases())),
                "mkdir -m 700 \"$run\"".to_owned(),
                "exec 8< \"$run\"".to_owned(),
                "flock --nonblock 8".to_owned(),
            ],
        );
        steps.add(
            "the writable layer; the container's root has the mode of it",
            vec!["mkdir -m 700 \"$dir\" \"$dir/work\"".to_owned(), "mkdir -m 755 \"$dir/upper\"".to_owned()],
        );
        steps
    }

    fn add(&mut self, comment: &str, lines: Vec<String>) {
        self.before.push((comment.to_owned(), lines));
    }

    pub(super) fn host_image(&mut self) {
        self.add(
            "the image `host`: this machine's programs, less what \"other\" may not read: no tool of the shell's decides that",
            vec!["\"$corten\" internal host-image \"$dir\"".to_owned()],
        );
    }

    /// What the plan takes for granted.
    pub(super) fn unmade(&mut self, unmade: &[Unmade]) {
        let mut nodes = Vec::new();
        for one in unmade {
            match one {
                Unmade::Directory(source) => {
                    self.add("-v makes a source that is missing", vec![format!("mkdir -p {}", path(source))]);
                }
                Unmade::Node { path: node, kind, major, minor, mode, owner } => {
                    let name = node.file_name().unwrap_or_default().to_string_lossy();
                    nodes.push(format!("mknod -m {mode:o} \"$dir/devices/{name}\" {kind} {major} {minor}"));
                    nodes
                        .extend(owner.map(|(uid, gid)| format!("chown {uid}:{gid} \"$dir/devices/{name}\"")));
                }
            }
        }
        if !nodes.is_empty() {
            nodes.insert(0, "mkdir -m 700 \"$dir/devices\"".to_owned());
            self.add(
                "devices outside /dev are nodes of the container's own: the host's would be nobody's in it",
                nodes,
            );
        }
    }

    pub(super) fn volumes(&mut self, sources: &Sources) {
        let content = Content { lowers: &sources.lowers, mounts: &sources.mounts, scratch: Path::new("") };
        let (mut first, mut anonymous) = (true, Vec::new());
        for mount in &self.config.mounts {
            let MountSource::Volume(volume) = &mount.source else { continue };
            let Some(name) = &volume.name else { continue };
            let mut lines = Vec::new();
            if std::mem::take(&mut first) {
                lines.push("mkdir \"$run/volumes\"".to_owned());
            }
            lines.push(format!(": > \"$run/volumes/{name}\""));
            if volume.anonymous {
                lines.push(format!("{CORTEN} internal volume {name}"));
                anonymous.push(name);
            } else {
                let labels = volume.labels.iter();
                let labels: String = labels
                    .map(|(key, value)| format!("--label {} ", quote(&format!("{key}={value}"))))
                    .collect();
                lines.push(format!("{CORTEN} volume create {labels}{name} > /dev/null"));
            }
            let copies = !volume.no_copy && volume.subpath.is_none();
            let mut words = vec!["\"$corten\" internal volume-fill --scratch \"$run\"".to_owned()];
            if copies {
                let (layers, at) = content.layers_of(&mount.target);
                words.extend(layers.iter().map(|layer| format!("--lower {}", self.below(layer))));
                words.push(format!("--path {}", quote(at)));
            }
            words.push(format!("\"$store/volumes/{name}\""));
            lines.push(words.join(" \\\n    "));
            let what = if volume.anonymous { "a volume without a name" } else { "the volume" };
            let filled =
                if copies { "an empty one gets what the image has there" } else { "it is not filled" };
            self.add(&format!("{what} for {}; the file says that it is used; {filled}", mount.target), lines);
        }
        if self.config.auto_remove && !anonymous.is_empty() {
            self.after.push("rm -rf \"$run/volumes\"".to_owned());
            // One that another container has taken over stays.
            self.after
                .extend(anonymous.iter().map(|name| format!("{CORTEN} volume rm {name} > /dev/null 2>&1")));
        }
    }

    /// A path by the script's names.
    fn below(&self, whole: &Path) -> String {
        let known = [("dir", self.dirs.container(self.id)), ("store", self.dirs.root.clone())];
        let found = known.iter().find_map(|(name, start)| {
            let rest = whole.strip_prefix(start).ok()?.to_string_lossy().into_owned();
            (quote(&rest) == rest).then(|| format!("\"${name}/{rest}\""))
        });
        found.unwrap_or_else(|| path(whole))
    }

    /// A block of ids of its own.
    pub(super) fn lease(&mut self, link: &Path) {
        let link = path(link);
        self.add(
            "a block of 65536 user ids that is no other container's: the link is made by one of all who want it",
            vec![format!("ln -s \"$id\" {link}")],
        );
        self.after.push(format!("[ \"$(readlink {link})\" != \"$id\" ] || rm {link}"));
    }

    /// Containers whose namespaces are joined.
    pub(super) fn joins(&mut self, joins: &Joins) {
        let owner = joins.owner().map(|owner| owner.record.id.clone());
        for (number, container) in joins.containers().enumerate() {
            let (id, state) = (&container.record.id, &container.state);
            let variable = if number == 0 { "other".to_owned() } else { format!("other{}", number + 1) };
            let running = format!("{CORTEN} internal running {id} {}", state.first_id);
            self.add(
                &format!("container {}: its first process, and when that started", container.record.name),
                vec![format!("{variable}=$({running})")],
            );
            // Only who is in its user namespace has its ids.
            if owner.as_ref() == Some(id) && joins.user_maps() {
                let block = crate::lease::block_of(state.first_id);
                self.add(
                    "its block of user ids: who joins holds it too, and it must still run after that",
                    vec![
                        format!(": > \"$live/{id}/joined\""),
                        format!("ln -s \"$id\" \"$live/ids/{block}+$id\""),
                        format!("[ \"$({running})\" = \"${variable}\" ]"),
                    ],
                );
                self.after.push(format!("{CORTEN} internal release \"$id\""));
            }
            self.joined.push((state.pid, variable));
        }
    }

    pub(super) fn into_frame(mut self, options: &ExplainOptions) -> Frame {
        self.after.push("rm -rf \"$dir\" \"$run\"".to_owned());
        let words: Vec<String> = options.words.iter().map(|word| quote(word)).collect();
        let notes = notes(self.config, options);
        let mut names: Vec<(&'static str, PathBuf)> = vec![
            ("dir", self.dirs.container(self.id)),
            ("run", self.dirs.live(self.id)),
            ("store", self.dirs.root.clone()),
        ];
        let calls = |line: &String| line.contains("$live");
        if self.before.iter().any(|(_, lines)| lines.iter().any(calls)) {
            names.push(("live", self.dirs.run.clone()));
        }
        Frame {
            command: format!("corten {}", words.join(" ")),
            notes,
            corten: options.program.clone(),
            names,
            before: self.before,
            after: self.after,
            interactive: self.config.interactive,
            joined: self.joined,
        }
    }
}

/// What a script cannot be.
fn notes(config: &Config, options: &ExplainOptions) -> Vec<String> {
    let streams = match options.detach {
        true => {
            "  here the streams are the script's own, and where corten would come back (-d) the script stays."
        }
        false => "  here the streams are the script's own.",
    };
    let mut notes = vec![
        "Corten leaves a monitor with the container, which carries its streams, logs them and notes its end;",
        streams,
    ];
    if !config.auto_remove {
        notes.push("Without --rm corten would keep the container's directory; the script has no record to keep with it.");
    }
    notes.into_iter().map(str::to_owned).collect()
}
