//! What a server logs, and where.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::cli::exit::{Exit, Failed};

/// What is logged unless `RATEQUEUE_LOG` says otherwise. openraft would warn of each heartbeat to a
/// node that is down, and call the end of its own core an error; what ends a group is logged by us.
const DEFAULT: &str = "warn,openraft=off,ratequeue=info,ratequeue_link=info,ratequeue_raft=info,ratequeue_storage=info";

/// A text that does not say what is logged.
#[derive(Debug, thiserror::Error)]
enum InvalidFilter {
    #[error(
        "{0} is no level. Give one of error, warn, info, debug, trace and off, or TARGET=LEVEL, several separated by commas"
    )]
    Level(String),
    #[error(transparent)]
    Filter(#[from] tracing_subscriber::filter::ParseError),
}

/// Begins to log to standard error, what `RATEQUEUE_LOG` says.
pub fn install() -> Result<(), Failed> {
    let filter = std::env::var("RATEQUEUE_LOG").unwrap_or_else(|_| DEFAULT.to_owned());
    let filter = parse(&filter)
        .map_err(|why| Failed::new(Exit::Usage, format!("RATEQUEUE_LOG is {filter:?}: {why}")))?;
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
    Ok(())
}

fn parse(text: &str) -> Result<EnvFilter, InvalidFilter> {
    // The filter takes a lone word that is no level for the name of a target: a level with a typing
    // error would log nothing.
    let is_word = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    if let Some(word) = text
        .split(',')
        .map(str::trim)
        .filter(is_word)
        .find(|word| word.parse::<LevelFilter>().is_err())
    {
        return Err(InvalidFilter::Level(word.to_owned()));
    }
    Ok(EnvFilter::try_new(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_word_must_be_a_level() {
        for good in [
            "",
            "info",
            "WARN",
            "off",
            "ratequeue=debug",
            DEFAULT,
            "warn,[acquire{resource=a}]=debug",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }

        for (bad, word) in [
            ("inof", "inof"),
            ("warn,foo", "foo"),
            ("ratequeue", "ratequeue"),
            ("ratequeue=inof", ""),
        ] {
            let error = parse(bad).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
