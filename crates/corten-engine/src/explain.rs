//! `run --explain`: the plan of a container as a shell script. Nothing is started, and nothing of the
//! container is left. (The store's layer of places, which is every container's, is made if it is missing.)

use std::path::{Path, PathBuf};

use corten_cgroup::Layout;
use corten_runtime::explain::Frame;
use corten_runtime::spec::UserNamespace;

use crate::config::{Config, MountSource};
use crate::dirs::{Dirs, make_private};
use crate::error::EngineError;
use crate::hold::Hold;
use crate::lease::Lease;
use crate::prepare::Sources;
use crate::resolve;

/// What the script says of the command and of this program.
#[derive(Debug, Clone, Default)]
pub struct ExplainOptions {
    /// What was typed, without the program's name.
    pub words: Vec<String>,
    /// The path of this program.
    pub program: PathBuf,
    /// `--detach`.
    pub detach: bool,
}

/// Plans a container of an id that no other has and prints the plan.
///
/// # Errors
/// As [`crate::run::run`]; an operation that a script cannot do, by name.
pub fn explain(dirs: &Dirs, mut config: Config, options: &ExplainOptions) -> Result<String, EngineError> {
    resolve::check(&config)?;
    check(&config)?;
    let id = corten_oci::ContainerId::from_random(crate::run::random()?).as_str().to_owned();
    let made = Made::at(dirs, &id)?;
    let files = Sources::find(dirs, &mut config, &id)?;
    drop(made);
    let (first_id, lease) = Lease::look(dirs, &id)?;
    let mut context = files.context(dirs, &config, &id, first_id);
    context.make_sources = false;
    let spec = resolve::spec(&config, context)?;
    let layout = Layout::detect()?;
    let lease = matches!(spec.namespaces.user, UserNamespace::New(_)).then_some(lease);
    let plan = corten_runtime::plan::build(spec, Some(&layout))?;
    let frame = frame(dirs, &config, options, &id, lease.as_deref());
    corten_runtime::explain::script(&plan, &frame)
        .map_err(|error| EngineError::refused(format!("--explain of {}", error.what), error.why))
}

/// What the engine itself makes for a container beside its plan, and a script would have to.
fn check(config: &Config) -> Result<(), EngineError> {
    let refuse = |what: &str| {
        let why =
            "corten makes it beside the plan, which is all that is printed; leave it out to see the rest";
        Err(EngineError::refused(format!("--explain with {what}"), why))
    };
    for mount in &config.mounts {
        match &mount.source {
            MountSource::Volume(_) => return refuse("a volume"),
            MountSource::Image(_) => return refuse("--mount type=image"),
            MountSource::Bind(_) | MountSource::Tmpfs(_) => {}
        }
    }
    let below_dev = |path: &str| path.starts_with("/dev/");
    match config.resources.devices.iter().find(|device| !below_dev(&device.container_path)) {
        Some(device) => refuse(&format!("--device at {}", device.container_path)),
        None => Ok(()),
    }
}

/// What the image `host` needs is made in the container's directory to be planned with; it goes again.
struct Made {
    /// The container's directories, and those above them that were not there either.
    dirs: Vec<PathBuf>,
    _hold: Hold,
}

impl Made {
    fn at(dirs: &Dirs, id: &str) -> Result<Self, EngineError> {
        let mut new = vec![dirs.container(id), dirs.live(id)];
        for index in 0..2 {
            let above = new[index].ancestors().skip(1).take_while(|above| !above.exists());
            let above: Vec<PathBuf> = above.map(Path::to_owned).collect();
            new.extend(above);
        }
        Ok(Self { dirs: new, _hold: Hold::take(dirs, id)? })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let (own, above) = self.dirs.split_at(2);
        // What cannot be removed is found by the next collection, as that of a killed start; what others
        // have put something into meanwhile stays.
        for own in own {
            let _left = std::fs::remove_dir_all(own);
        }
        for above in above {
            let _used = std::fs::remove_dir(above);
        }
    }
}

/// Makes what a container of the image `host` needs in its directory: a step of the script.
///
/// # Errors
/// The call that failed.
pub fn prepare_host_image(container_dir: &Path) -> Result<(), EngineError> {
    make_private(container_dir)?;
    crate::host_image::prepare(container_dir, false).map(drop)
}

fn frame(dirs: &Dirs, config: &Config, options: &ExplainOptions, id: &str, lease: Option<&Path>) -> Frame {
    let quote = corten_runtime::explain::quote;
    let words: Vec<String> = options.words.iter().map(|word| quote(word)).collect();
    let mut notes = Vec::new();
    notes.push(
        "Corten leaves a monitor with the container, which carries its streams, logs them and notes its end;"
            .to_owned(),
    );
    notes.push(match options.detach {
        true => "  here the streams are the script's own, and where corten would come back (-d) the script stays.",
        false => "  here the streams are the script's own.",
    }.to_owned());
    if !config.auto_remove {
        notes.push("Without --rm corten would keep the container's directory; the script has no record to keep with it.".to_owned());
    }
    let path = |path: &Path| quote(&path.to_string_lossy());
    let containers = dirs.root.join("containers");
    let mut before = vec![
        (
            "its directories, for root only; as long as somebody holds the lock no other corten collects them"
                .to_owned(),
            vec![
                format!("(umask 077; mkdir -p {} {})", path(&containers), path(&dirs.leases())),
                "mkdir -m 700 \"$run\"".to_owned(),
                "exec 8< \"$run\"".to_owned(),
                "flock --nonblock 8".to_owned(),
            ],
        ),
        (
            "the writable layer; the container's root has the mode of it".to_owned(),
            vec!["mkdir -m 700 \"$dir\" \"$dir/work\"".to_owned(), "mkdir -m 755 \"$dir/upper\"".to_owned()],
        ),
    ];
    if config.image == "host" {
        before.push((
            "the image `host`: this machine's programs, less what \"other\" may not read: no tool of the shell's decides that"
                .to_owned(),
            vec!["\"$corten\" internal host-image \"$dir\"".to_owned()],
        ));
    }
    for source in missing_sources(config) {
        before.push((
            "-v makes a source that is missing".to_owned(),
            vec![format!("mkdir -p {}", path(&source))],
        ));
    }
    let mut after = Vec::new();
    if let Some(lease) = lease {
        before.push((
            "a block of 65536 user ids that is no other container's: the link is made by one of all who want it".to_owned(),
            vec![format!("ln -s \"$id\" {}", path(lease))],
        ));
        after.push(format!("[ \"$(readlink {link})\" != \"$id\" ] || rm {link}", link = path(lease)));
    }
    after.push("rm -rf \"$dir\" \"$run\"".to_owned());
    Frame {
        command: format!("corten {}", words.join(" ")),
        notes,
        corten: options.program.clone(),
        names: vec![("dir", dirs.container(id)), ("run", dirs.live(id)), ("store", dirs.root.clone())],
        before,
        after,
        interactive: config.interactive,
    }
}

fn missing_sources(config: &Config) -> Vec<PathBuf> {
    let missing = |mount: &crate::config::Mount| match &mount.source {
        MountSource::Bind(bind) if bind.create_source => {
            Some(PathBuf::from(&bind.source)).filter(|source| !source.exists())
        }
        _ => None,
    };
    config.mounts.iter().filter_map(missing).collect()
}
