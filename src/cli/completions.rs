//! `ratequeue completions`, and what shells ask for while a line is typed.
//!
//! The script that is printed has the shell run `ratequeue` with [`VARIABLE`] set, which answers
//! with what may come next: commands, flags, their values, and the names of the resources that
//! there are.

use clap::{Args, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use ratequeue_api::client::Client;

use super::{DEAD_AFTER, DEFAULT_URL, block_on, failed, output};
use crate::cli::exit::{Exit, Failed};

/// Set by the shell's script, to the name of the shell.
pub const VARIABLE: &str = "RATEQUEUE_COMPLETE";
/// Names that are offered at most.
const NAMES_MAX: u64 = 1_000;

/// Prints shell completions, for example: source <(ratequeue completions bash)
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Completions {
    pub fn run(self) -> Result<Exit, Failed> {
        let name = self
            .shell
            .to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default();
        let shells = Shells::builtins();
        let shell = shells
            .completer(&name)
            .ok_or_else(|| Failed::new(Exit::Usage, format!("{name} is not known")))?;

        let mut script = Vec::new();
        let written =
            shell.write_registration(VARIABLE, "ratequeue", "ratequeue", "ratequeue", &mut script);
        written.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
        output::print(&String::from_utf8_lossy(&script));
        Ok(Exit::Done)
    }
}

/// Completes the name of a resource. Asks the nodes of `RATEQUEUE_URL`; when none answers there is
/// nothing to offer.
pub fn resource_names() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &std::ffi::OsStr| {
        let mut names = Vec::new();
        let listed = block_on(async {
            let url = std::env::var("RATEQUEUE_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned());
            let client = Client::new(&url, std::env::var("RATEQUEUE_API_KEY").ok(), DEAD_AFTER)
                .map_err(failed)?;
            names = client.resources(NAMES_MAX, None).await.map_err(failed)?.items;
            Ok(Exit::Done)
        });

        if listed.is_err() {
            return Vec::new();
        }

        let typed = typed.to_string_lossy();
        let fitting = names.into_iter().filter(|view| view.name.starts_with(&*typed));
        fitting.map(|view| CompletionCandidate::new(view.name)).collect()
    })
}
