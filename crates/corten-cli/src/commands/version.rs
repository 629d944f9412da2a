//! `corten version`: what this program is.

use serde_json::{Value, json};

use crate::command::Subcommand;
use crate::context::Context;
use crate::flags::{self, flags};
use crate::format::{Missing, Template};
use crate::report::Report;

flags! {
    pub(crate) struct Args {
        /// Format output using a custom template: 'json' or 'TEMPLATE' (Go's)
        format: Option<String> = "format" 'f' ["string", flags::text];
    }
}

impl Subcommand for Args {
    const NAME: &'static str = "version";
    const ABOUT: &'static str = "Show the Corten version information";
    const USAGE: &'static str = "[OPTIONS]";

    fn execute(self, _args: Vec<String>, cx: &mut Context<'_>) -> Result<u8, Report> {
        // There is no daemon: client and server are one program. Scripts ask for either.
        let uname = rustix::system::uname();
        let half = json!({
            "Platform": {"Name": "Corten"},
            "Version": crate::VERSION,
            "Os": "linux",
            "Arch": go_arch(),
            "KernelVersion": uname.release().to_string_lossy(),
            "Experimental": false,
            "Components": [{"Name": "Engine", "Version": crate::VERSION, "Details": {"Os": "linux", "Arch": go_arch()}}],
        });
        let version = json!({"Client": half, "Server": half});
        let text = match self.format.as_deref().unwrap_or_default() {
            "" => plain(&half),
            format => {
                let source = if format == "json" { "{{json .}}" } else { format };
                let text = Template::parse(source).and_then(|t| t.execute(&version, Missing::Key));
                text.map_err(|error| Report::user(error.to_string()))? + "\n"
            }
        };
        cx.stdout.write_all(text.as_bytes())?;
        Ok(0)
    }
}

fn plain(half: &Value) -> String {
    let text = |key: &str| half[key].as_str().unwrap_or_default().to_owned();
    format!(
        "Corten:\n Version:           {}\n OS/Arch:           {}/{}\n",
        text("Version"),
        text("Os"),
        text("Arch")
    )
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
