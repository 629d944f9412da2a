//! From a configuration to a plan: the image and other containers asked, ids leased, volumes ready.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corten_cgroup::Layout;
use corten_runtime::spec::{Mount, Namespace, User};
use corten_store::Store;

use crate::config::Config;
use crate::dirs::Dirs;
use crate::error::EngineError;
use crate::joins::Joins;
use crate::lease::Lease;
use crate::record::{self, Record, VERSION};
use crate::resolve::{self, Context, MountedImage};
use crate::{host_image, places, settle, volume};

/// Where a container's files come from, and what it takes from others.
pub(crate) struct Sources {
    /// `None` is the machine itself.
    pub(crate) image: Option<corten_store::Image>,
    pub(crate) lowers: Vec<PathBuf>,
    /// Mounts that the image itself brings.
    pub(crate) mounts: Vec<Mount>,
    /// The images of `--mount type=image`.
    pub(crate) mounted: Vec<MountedImage>,
    pub(crate) joins: Joins,
}

impl Sources {
    /// Finds them, and completes the configuration by what they say; for `host` its layers are made in the
    /// container's directory.
    pub(crate) fn find(dirs: &Dirs, config: &mut Config, id: &str) -> Result<Self, EngineError> {
        let joins = Joins::find(dirs, config)?;
        let platform = match &config.platform {
            None => None,
            Some(text) => Some(
                text.parse::<corten_oci::Platform>()
                    .map_err(|error| EngineError::refused(format!("--platform {text}"), error.to_string()))?,
            ),
        };
        let (image, lowers, mounts) = if config.image == "host" {
            // That of an earlier start: the machine has changed since.
            crate::collect::remove_tree(dirs, &dirs.container(id).join("host"))?;
            let host = host_image::prepare(&dirs.container(id), dirs.inside().is_some())?;
            (None, vec![host.skeleton], host.mounts)
        } else {
            let image = Store::open(&dirs.root)?.resolve(&config.image, platform.as_ref())?;
            let mut lowers: Vec<PathBuf> = image.layers.iter().rev().cloned().collect();
            lowers.push(places::layer(dirs, id)?);
            (Some(image), lowers, Vec::new())
        };
        settle::settle(dirs, config, image.as_ref())?;
        let mounted = settle::mounted_images(dirs, config, platform.as_ref())?;
        Ok(Self { image, lowers, mounts, mounted, joins })
    }

    /// What the specification is made from.
    pub(crate) fn context<'a>(
        &'a self,
        dirs: &Dirs,
        config: &Config,
        id: &'a str,
        first_id: u32,
    ) -> Context<'a> {
        let size = crate::client::terminal_size;
        Context {
            id,
            run_dir: dirs.live(id),
            container_dir: dirs.container(id),
            image: self.image.as_ref().map(|image| &image.config),
            lowers: self.lowers.clone(),
            image_mounts: self.mounts.clone(),
            first_id,
            terminal: config.tty.then(|| size().map_or((0, 0), |size| (size.ws_row, size.ws_col))),
            unmade: None,
            bound_devices: dirs.inside().is_some(),
            joins: &self.joins,
            volumes: dirs.volumes(),
            mounted: &self.mounted,
        }
    }
}

/// A container that is ready to be started.
pub(crate) struct Drawn {
    pub(crate) plan: corten_runtime::Plan,
    /// It has no pid namespace of its own.
    pub(crate) shares_pids: bool,
    pub(crate) lease: Option<Lease>,
    /// Processes whose namespaces are joined.
    pub(crate) joined: Vec<OwnedFd>,
    image: Option<corten_store::Image>,
    lowers: Vec<PathBuf>,
    mounts: Vec<Mount>,
    mounted: Vec<MountedImage>,
}

/// Plans a start. A container that starts again brings its lease along.
pub(crate) fn draw_up(
    dirs: &Dirs,
    config: &mut Config,
    id: &str,
    lease: Option<Lease>,
) -> Result<Drawn, EngineError> {
    let sources = Sources::find(dirs, config, id)?;
    let lease = match lease {
        Some(lease) => Some(lease),
        // An ordinary user has one map for all containers.
        None if dirs.inside().is_some() => None,
        None => sources.joins.lease(dirs, id)?,
    };
    let first_id = lease.as_ref().map_or(0, |lease| lease.first_id);
    let mut spec = resolve::spec(config, sources.context(dirs, config, id, first_id))?;
    if let Some(inside) = dirs.inside() {
        resolve::rootless::adapt(&mut spec, config, inside)?;
    }
    let Sources { image, lowers, mounts, mounted, joins } = sources;
    let shares_pids = spec.namespaces.pid != Namespace::New;
    let needed = spec.cgroup.as_ref().map(|cgroup| corten_cgroup::plan::needed(&cgroup.resources));
    let layout = Layout::detect_for(needed.unwrap_or(corten_cgroup::Controllers::NONE))?;
    let plan = corten_runtime::plan::build(spec, Some(&layout))?;
    Ok(Drawn { plan, shares_pids, lease, joined: joins.into_pidfds(), image, lowers, mounts, mounted })
}

impl Drawn {
    /// What is kept of a new container.
    pub(crate) fn record(&self, config: Config, id: &str, name: &str) -> Record {
        let spec = &self.plan.spec;
        let image = self.image.as_ref();
        let own = image.into_iter().flat_map(|image| image.diff_ids().iter().map(ToString::to_string));
        let mounted = self.mounted.iter().flat_map(|image| image.diff_ids.iter().cloned());
        Record {
            version: VERSION,
            id: id.to_owned(),
            name: name.to_owned(),
            created_ns: record::now_ns(),
            image_id: image.map_or_else(String::new, |image| image.id.to_string()),
            layers: own.chain(mounted).collect(),
            mounted_images: self.mounted.iter().map(|image| image.id.clone()).collect(),
            args: spec.process.args.clone(),
            env: spec.process.env.clone(),
            user: match &spec.process.user {
                User::Lookup { user, .. } => user.clone(),
                User::Ids { uid, gid, .. } => format!("{uid}:{gid}"),
            },
            workdir: spec.process.cwd.clone(),
            cgroup: spec.cgroup.as_ref().map(|cgroup| cgroup.path.to_string()),
            config,
        }
    }

    /// Makes and fills its volumes; the record that names them is written already. `held` is of
    /// [`volume::hold`].
    pub(crate) fn ready_volumes(
        &self,
        dirs: &Dirs,
        id: &str,
        config: &Config,
        held: Option<&OwnedFd>,
    ) -> Result<(), EngineError> {
        let scratch = dirs.live(id);
        let content = volume::Content { lowers: &self.lowers, mounts: &self.mounts, scratch: &scratch };
        volume::ready(dirs, config, &content, held)
    }
}
