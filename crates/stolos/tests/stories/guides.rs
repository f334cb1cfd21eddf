//! The commands of the guides, run as they stand there.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::backend::{STOLOS, Up};
use crate::kubectl;

/// A block of a guide that is to be run, or written to a file that the commands name.
enum Block {
    Commands(String),
    File { name: String, text: String },
}

#[test]
fn every_command_of_the_guide_to_placements_works_embedded() {
    run("placements.md");
}

#[test]
fn every_command_of_the_guide_to_updates_works_embedded() {
    run("updates.md");
}

fn run(guide: &str) {
    let Some(up) = Up::start(3) else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides").join(guide);
    let text = std::fs::read_to_string(&path).expect("the guide is there");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let binaries = directory.path().join("bin");
    std::fs::create_dir(&binaries).expect("a folder");
    let link = |program: &Path, name: &str| {
        std::os::unix::fs::symlink(program, binaries.join(name)).expect("a link");
    };
    link(Path::new(STOLOS), "stolos");
    if let Some(kubectl) = kubectl::find().filter(|found| found.is_absolute()) {
        link(&kubectl, "kubectl");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let blocks = blocks(&text);
    assert!(blocks.iter().any(|block| matches!(block, Block::Commands(_))), "{guide} has commands");
    for block in blocks {
        match block {
            Block::File { name, text } => {
                std::fs::write(directory.path().join(name), text).expect("the file is written");
            }
            Block::Commands(commands) => {
                let output = Command::new("bash")
                    .args(["-euo", "pipefail", "-c", &commands])
                    .current_dir(directory.path())
                    .env("KUBECONFIG", up.kubeconfig())
                    .env("KUBECACHEDIR", directory.path().join("cache"))
                    .env("PATH", format!("{}:{path}", binaries.display()))
                    .stdin(Stdio::null())
                    .output()
                    .expect("bash starts");
                let stderr = String::from_utf8_lossy(&output.stderr);
                let stdout = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success(), "{guide}: {commands}\n{stdout}\n{stderr}");
            }
        }
    }
}

/// Returns the `sh` blocks of a guide, and the `yaml` blocks that begin with the name of a file.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```").filter(|language| !language.is_empty())
        else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = body.join("\n") + "\n";
        let name = body.first().and_then(|first| first.strip_prefix("# "));
        match (language, name) {
            ("sh", _) => blocks.push(Block::Commands(text)),
            ("yaml", Some(name)) if Path::new(name).extension().is_some() => {
                blocks.push(Block::File { name: name.to_owned(), text });
            }
            _ => {}
        }
    }
    blocks
}
