//! The language of request scripts. `tests/differential/README.md` explains it to people who write them.

use super::hooks::{Manner, Reply};
use super::wire;

/// A file of steps that run in order against one cluster.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    /// It shows what other scripts change, so on a shared server it runs when they are done.
    pub(crate) alone: bool,
    pub(crate) steps: Vec<Step>,
}

/// One request, or one look at a watch that an earlier step opened.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) act: Act,
    pub(crate) who: Who,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Version and kind of a protobuf body; the body is then wire text.
    pub(crate) protobuf: Option<(String, String)>,
    /// Name, and path into the answer.
    pub(crate) captures: Vec<(String, String)>,
    /// Parts of the answer that are compared; all when empty.
    pub(crate) only: Vec<String>,
    /// Parts of the answer that are not compared.
    pub(crate) ignore: Vec<String>,
    pub(crate) until: Option<Until>,
    /// The server finds the causes of an error in any order.
    pub(crate) unordered: bool,
    /// The step prepares something and its answer is not compared.
    pub(crate) quiet: bool,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Sends a request and reads the whole answer.
    Request { method: String, url: String },
    /// Sends a request and leaves the answer open under a name.
    Open { watch: String, url: String },
    /// Reads events of an open watch: so many, or all when the server ends it.
    Read { watch: String, events: Option<usize> },
    /// Says how a webhook of the script answers from now on.
    Answer { path: String, reply: Reply },
    /// Shows what webhooks were asked during the last request.
    Asked,
}

impl Default for Act {
    fn default() -> Self {
        Self::Request { method: String::new(), url: String::new() }
    }
}

/// Who sends a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Who {
    #[default]
    Admin,
    Anonymous,
    Bearer(String),
    /// The administrator acting as somebody else.
    User {
        name: String,
        groups: Vec<String>,
    },
}

/// When the answer is good enough; until then the request is sent again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Status(u16),
    Field { path: String, value: String },
}

/// Reads a script.
pub(crate) fn parse(name: &str, text: &str) -> Result<Script, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut blocks = text.split("\n=== ");
    let preface = blocks.next().unwrap_or_default();
    if let Some(line) = preface.lines().find(|line| !line.is_empty() && !line.starts_with('#')) {
        return Err(format!("{name}: `{line}` stands before the first step"));
    }
    for block in blocks {
        let step = step(block).map_err(|error| {
            format!("{name}: {error} (in `{}`)", block.lines().next().unwrap_or_default())
        })?;
        if steps.iter().any(|other| other.title == step.title) {
            return Err(format!("{name}: two steps are called `{}`", step.title));
        }
        steps.push(step);
    }
    let alone = preface.lines().any(|line| line == "# alone");
    Ok(Script { name: name.to_owned(), alone, steps })
}

fn step(block: &str) -> Result<Step, String> {
    let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
    let mut lines = head.lines();
    let title = lines.next().unwrap_or_default().trim().to_owned();
    let mut step = Step { title, ..Step::default() };
    for line in lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        directive(&mut step, line)?;
    }
    body.trim().clone_into(&mut step.body);
    if let Act::Answer { reply, .. } = &mut step.act {
        reply.body.clone_from(&step.body);
        check(reply)?;
    }
    if matches!(&step.act, Act::Request { url, .. } if url.is_empty()) {
        return Err("the step has no request".to_owned());
    }
    if step.protobuf.is_some() {
        wire::encode(&step.body)?;
    }
    Ok(step)
}

/// A mistake in an answer would only be seen as a webhook that fails.
fn check(reply: &Reply) -> Result<(), String> {
    match reply.manner {
        Manner::Review | Manner::Converting => {
            let json: Result<serde_json::Value, _> = serde_json::from_str(&reply.body);
            json.map(drop).map_err(|error| format!("the answer is no JSON: {error}"))
        }
        Manner::Verbatim | Manner::Status(_) | Manner::Never => Ok(()),
    }
}

fn directive(step: &mut Step, line: &str) -> Result<(), String> {
    if let Some((name, value)) = line.split_once(": ").filter(|(name, _)| !name.contains(' ')) {
        step.headers.push((name.to_owned(), value.to_owned()));
        return Ok(());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let text = |word: &&str| (*word).to_owned();
    match words.as_slice() {
        ["quiet"] => step.quiet = true,
        ["unordered"] => step.unordered = true,
        ["as", "admin"] => step.who = Who::Admin,
        ["as", "anonymous"] => step.who = Who::Anonymous,
        ["as", "bearer", token] => step.who = Who::Bearer(text(token)),
        ["as", "user", name] => step.who = Who::User { name: text(name), groups: Vec::new() },
        ["as", "user", name, "groups", groups @ ..] => {
            step.who = Who::User { name: text(name), groups: groups.iter().map(text).collect() };
        }
        ["capture", name, path] => step.captures.push((text(name), text(path))),
        ["only", path] => step.only.push(text(path)),
        ["ignore", path] => step.ignore.push(text(path)),
        ["until", "status", code] => {
            let code = code.parse().map_err(|_| format!("`{code}` is no status code"))?;
            step.until = Some(Until::Status(code));
        }
        ["until", path, "=", value @ ..] => {
            step.until = Some(Until::Field { path: text(path), value: value.join(" ") });
        }
        ["protobuf", version, kind] => step.protobuf = Some((text(version), text(kind))),
        ["open", watch, url] => step.act = Act::Open { watch: text(watch), url: text(url) },
        ["read", watch, "end"] => step.act = Act::Read { watch: text(watch), events: None },
        ["read", watch, count] => {
            let count = count.parse().map_err(|_| format!("`{count}` is no number of events"))?;
            step.act = Act::Read { watch: text(watch), events: Some(count) };
        }
        ["answer", path, manner @ ..] => {
            let manner = match manner {
                [] => Manner::Review,
                ["verbatim"] => Manner::Verbatim,
                ["converting"] => Manner::Converting,
                ["never"] => Manner::Never,
                ["status", code] => {
                    Manner::Status(code.parse().map_err(|_| format!("`{code}` is no status code"))?)
                }
                _ => return Err(format!("`{line}` is no way to answer")),
            };
            step.act =
                Act::Answer { path: text(path), reply: Reply { manner, body: String::new() } };
        }
        ["asked"] => step.act = Act::Asked,
        [method, url] if url.starts_with('/') && method.chars().all(|c| c.is_ascii_uppercase()) => {
            step.act = Act::Request { method: text(method), url: text(url) };
        }
        _ => return Err(format!("`{line}` is neither a directive, a request nor a header")),
    }
    Ok(())
}

#[test]
fn scripts_are_read_step_by_step() {
    let text = "# About.\n\n=== make a\n# why\nas user alice groups dev ops\ncapture rv metadata.resourceVersion\n\
                POST /api/v1/x?a=b\nAccept: */*\n\n{\"a\": 1}\n\n=== see it\nread w end\n";
    let script = parse("s", text).unwrap();
    let [make, see] = script.steps.as_slice() else { panic!("{script:?}") };
    let groups = vec!["dev".to_owned(), "ops".to_owned()];
    assert_eq!(make.who, Who::User { name: "alice".to_owned(), groups });
    assert_eq!(make.headers, [("Accept".to_owned(), "*/*".to_owned())]);
    assert_eq!(make.body, "{\"a\": 1}");
    assert!(matches!(&see.act, Act::Read { events: None, .. }));
}

#[test]
fn mistakes_in_scripts_are_named() {
    for (text, want) in [
        ("\n=== a\nGET /x\n\n=== a\nGET /y\n", "two steps are called `a`"),
        ("\n=== a\nGET x\n", "`GET x` is neither"),
        ("\n=== a\nas anonymous\n", "the step has no request"),
        ("GET /x\n", "before the first step"),
    ] {
        let error = parse("s", text).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}
