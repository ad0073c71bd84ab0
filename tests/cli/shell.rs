//! Help, exit codes, completions, and what a server says when it starts.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::harness::{Node, Start, Tree, concurrency, run};
use super::{ended, said, text};

#[tokio::test]
async fn every_command_has_help() {
    let top = ended(&run(&["--help"], &[]).await, 0);
    let mut commands =
        vec![vec!["resource", "apply"], vec!["resource", "get"], vec!["resource", "list"]];
    commands.extend([
        vec!["resource", "delete"],
        vec!["lease", "list"],
        vec!["lease", "get"],
        vec!["lease", "release"],
    ]);

    // Longer texts go on in lines that are indented further.
    let names: Vec<&str> = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_once(' ').map(|(name, _)| name))
        .filter(|name| !name.is_empty())
        .collect();

    for name in ["dev", "node", "resource", "stats", "lease", "acquire", "completions", "openapi"] {
        assert!(names.contains(&name), "{name} in {top}");
    }

    commands.extend(names.into_iter().filter(|name| *name != "help").map(|name| vec![name]));
    for mut args in commands {
        args.push("--help");
        let help = ended(&run(&args, &[]).await, 0);
        assert!(help.contains("Usage: ratequeue") && help.lines().count() > 3, "{args:?}: {help}");
    }

    assert!(ended(&run(&["--version"], &[]).await, 0).starts_with("ratequeue "));
    let nothing = run(&[], &[]).await;
    ended(&nothing, 2);
    assert!(text(&nothing.stderr).contains("Usage"), "{}", text(&nothing.stderr));

    // An API key in the environment is not shown.
    let help = ended(&run(&["acquire", "--help"], &[("RATEQUEUE_API_KEY", "hidden")]).await, 0);
    assert!(help.contains("RATEQUEUE_API_KEY") && !help.contains("hidden"), "{help}");
}

#[tokio::test]
async fn completions_and_the_description_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ended(&run(&["completions", shell], &[]).await, 0);
        assert!(
            script.contains("ratequeue") && script.contains("RATEQUEUE_COMPLETE"),
            "{shell}: {script}"
        );
    }
    let description = ended(&run(&["openapi"], &[]).await, 0);
    let description: Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["info"]["title"], "RateQueue");
}

/// The codes are in the help, and in the documentation with the same words.
#[tokio::test]
async fn exit_codes_are_in_the_help_and_in_the_documentation() {
    let documented = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md"),
    )
    .unwrap();

    for (args, codes) in [(&["--help"][..], 4), (&["acquire", "--help"], 11)] {
        let help = ended(&run(args, &[]).await, 0);
        let (_, table) = help.split_once("Exit codes:\n").unwrap();
        let rows: Vec<(&str, &str)> =
            table.lines().map_while(|line| line.strip_prefix("  ")?.split_once("  ")).collect();
        assert_eq!(rows.len(), codes, "{help}");
        for (code, meaning) in rows {
            let row = format!("| {} | {} |", code.trim(), meaning.trim());
            assert!(documented.contains(&row), "docs/configuration.md lacks {row}");
        }
    }

    let help = ended(&run(&["acquire", "--help"], &[]).await, 0);
    assert!(
        help.contains("RATEQUEUE_LEASE_ID") && help.contains("RATEQUEUE_FENCING_TOKEN"),
        "{help}"
    );
}

/// What bash offers after these words, of which the last is begun.
async fn bash_completes(node: &Node, words: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_ratequeue"));
    let (last, before) = (words.len() - 1, words[words.len() - 2]);
    let script = format!(
        "source <(ratequeue completions bash); COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9; \
         _clap_complete_ratequeue ratequeue '{}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words[last]
    );

    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &script]).env("PATH", path).env("RATEQUEUE_URL", node.url());
    let output = bash.output().await.unwrap();
    assert_eq!(text(&output.stderr), "");
    ended(&output, 0).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_commands_flags_and_names_of_resources() {
    let mut node = Node::start().await;
    for name in ["openai", "openai-eu", "other"] {
        node.client.create(name, concurrency(1)).await;
    }
    assert_eq!(bash_completes(&node, &["ratequeue", "res"]).await, ["resource"]);
    assert_eq!(bash_completes(&node, &["ratequeue", "resource", "get", "--js"]).await, ["--json"]);
    for command in [
        &["acquire"][..],
        &["stats"],
        &["resource", "get"],
        &["resource", "delete"],
        &["lease", "list"],
    ] {
        let words = [&["ratequeue"], command, &["ope"]].concat();
        assert_eq!(bash_completes(&node, &words).await, ["openai", "openai-eu"], "{command:?}");
    }

    // Without a node there is nothing to offer, and nothing to say.
    node.kill().await;
    let none = bash_completes(&node, &["ratequeue", "acquire", "ope"]).await;
    assert!(none.iter().all(String::is_empty), "{none:?}");
}

#[tokio::test]
async fn a_log_filter_with_a_typing_error_is_refused() {
    let tree = Tree::new();
    let data = tree.path().join("data");
    for filter in ["inof", "foo", "warn,ratequeue"] {
        let args = ["dev", "--http", "127.0.0.1:0", "--data", data.to_str().unwrap()];
        let output = run(&args, &[("RATEQUEUE_LOG", filter)]).await;
        said(&output, 2, &["RATEQUEUE_LOG", filter, "is no level", "TARGET=LEVEL"]);
    }
}

#[tokio::test]
async fn a_server_that_is_open_to_all_says_so_and_how_to_call_it() {
    let tree = Tree::new();
    let data = tree.path().join("data");
    let stderr = tree.path().join("stderr");
    let mut command = super::program();
    command.args(["dev", "--http", "0.0.0.0:0", "--data"]).arg(&data);
    command.stdout(std::process::Stdio::piped()).stderr(std::fs::File::create(&stderr).unwrap());
    let mut child = command.spawn().unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(line.contains("http://127.0.0.1:"), "{line}");
    let warned = std::fs::read_to_string(&stderr).unwrap();
    assert!(
        warned.contains("WARN") && warned.contains("is open") && warned.contains("no API keys"),
        "{warned}"
    );
    child.kill().await.unwrap();

    let node = Start::dev().run().await;
    assert!(!node.stderr().contains("is open"), "{}", node.stderr());
}
