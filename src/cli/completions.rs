//! `ratequeue completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::Exit;

/// Prints shell completions, for example: source <(ratequeue completions bash)
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Exit {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "ratequeue", &mut text);
        super::print(&String::from_utf8_lossy(&text));
        Exit::Done
    }
}
