//! `run --explain`: the plan of a container as a shell script. Nothing is started, and nothing of the
//! container is left. (The store's layer of places, which is every container's, is made if it is missing.)

mod internal;
mod steps;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use corten_cgroup::Layout;
use corten_runtime::spec::UserNamespace;

pub use internal::{Process, fill_volume, make_volume, prepare_host_image, release, running};
use steps::Steps;

use crate::config::Config;
use crate::dirs::Dirs;
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
    let id = corten_oci::ContainerId::from_random(crate::run::random()?).as_str().to_owned();
    let made = Made::at(dirs, &id)?;
    let sources = Sources::find(dirs, &mut config, &id)?;
    drop(made);
    let (first_id, lease) = Lease::look(dirs, &id)?;
    let unmade = RefCell::new(Vec::new());
    let mut context = sources.context(dirs, &config, &id, first_id);
    context.unmade = Some(&unmade);
    let spec = resolve::spec(&config, context)?;
    let layout = Layout::detect()?;
    let mut steps = Steps::new(dirs, &config, &id);
    if config.image == "host" {
        steps.host_image();
    }
    steps.unmade(&unmade.into_inner());
    steps.volumes(&sources);
    match &spec.namespaces.user {
        UserNamespace::New(_) => steps.lease(&lease),
        _ => steps.joins(&sources.joins),
    }
    let plan = corten_runtime::plan::build(spec, Some(&layout))?;
    let frame = steps.into_frame(options);
    corten_runtime::explain::script(&plan, &frame)
        .map_err(|error| EngineError::refused(format!("--explain of {}", error.what), error.why))
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
