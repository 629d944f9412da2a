//! `corten volume create`: a volume.

use std::ops::RangeInclusive;

use corten_engine::config::label;

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, Meta, Refused, flags};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Specify volume driver name (default "local")
        driver: Option<String> = "driver" 'd' ["string", flags::text];
        /// Set metadata for a volume
        label: Vec<(String, String)> = "label" ["list", label::parse_label];
        /// Set driver specific options
        opt: Vec<String> = "opt" 'o' ["map", flags::text];
    }
}

const fn cluster(long: &'static str, value: &'static str, help: &'static str) -> Refused {
    Refused {
        meta: Meta { long, short: None, value: Some(value), help },
        reason: "it is for cluster volumes only, and there is no cluster",
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Create a volume";
    const USAGE: &'static str = "[OPTIONS] [VOLUME]";
    const ARGUMENTS: RangeInclusive<usize> = 0..=1;
    const REFUSED: &'static [Refused] = &[
        cluster("availability", "string", "Cluster Volume availability"),
        cluster("group", "string", "Cluster Volume group"),
        cluster("limit-bytes", "bytes", "Minimum size of the Cluster Volume in bytes"),
        cluster("required-bytes", "bytes", "Maximum size of the Cluster Volume in bytes"),
        cluster("scope", "string", "Cluster Volume access scope"),
        cluster("secret", "map", "Cluster Volume secrets"),
        cluster("sharing", "string", "Cluster Volume access sharing"),
        cluster("topology-preferred", "list", "A topology that the Cluster Volume would be preferred in"),
        cluster("topology-required", "list", "A topology that the Cluster Volume must be accessible from"),
        cluster("type", "string", "Cluster Volume access type"),
    ];

    fn execute(self, args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        let refuse = |text: String| Report::user(text).status(1);
        if let Some(driver) = self.driver.filter(|driver| !matches!(driver.as_str(), "" | "local")) {
            return Err(refuse(format!(
                "--driver {driver} is refused: there are no volume plugins; local is the only driver"
            )));
        }
        if let Some(option) = self.opt.first() {
            return Err(refuse(format!(
                "--opt {option} is refused: a volume is a directory here and has no options"
            )));
        }
        let name = args.into_iter().next().filter(|name| !name.is_empty());
        let name = cx.engine()?.create_volume(name.as_deref(), self.label.into_iter().collect())?;
        writeln!(cx.stdout, "{name}")?;
        Ok(0)
    }
}
