//! Plays a script against a server and keeps the normalised answers.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};

use super::hooks::ScriptHooks;
use super::normal::Normaliser;
use super::script::{Act, Script, Step, Until, Who};
use super::server::{ADMIN_TOKEN, Answer, Server};
use super::transcript::Exchange;
use super::wire;

/// How long an answer, an event or a condition may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing tells when a webhook or a policy is in force on a foreign server; asking again is the only way.
const ASK_AGAIN: Duration = Duration::from_millis(40);
/// Marks the one bookmark whose moment does not depend on a timer.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Plays a script in a namespace of its own, which is removed afterwards.
pub(crate) async fn play(server: &Server, script: &Script) -> Result<Vec<Exchange>, String> {
    let mut normal = Normaliser::default();
    let namespace = format!("in-{}", script.name);
    normal.capture("ns", &namespace);
    let mut hooks = None;
    if script.steps.iter().any(|step| matches!(step.act, Act::Answer { .. })) {
        let started = ScriptHooks::start().await;
        normal.capture("hooks", started.url());
        normal.capture("bundle", started.bundle());
        hooks = Some(started);
    }
    let mut player = Player { server, normal, watches: HashMap::new(), hooks };
    player.prepare(&namespace).await?;
    let mut exchanges = Vec::new();
    for step in &script.steps {
        let played = player.step(step).await;
        let exchange =
            played.map_err(|error| format!("{} / {}: {error}", script.name, step.title))?;
        exchanges.extend(exchange.filter(|_| !step.quiet));
    }
    player.plain("DELETE", &format!("/api/v1/namespaces/{namespace}"), None).await?;
    Ok(exchanges)
}

struct Player<'a> {
    server: &'a Server,
    normal: Normaliser,
    watches: HashMap<String, Watch>,
    /// Present where a script has webhooks.
    hooks: Option<ScriptHooks>,
}

/// An answer that is still coming.
struct Watch {
    body: UnsyncBoxBody<Bytes, String>,
    buffer: BytesMut,
}

/// An answer that has come.
struct Whole {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl Player<'_> {
    /// Makes the script's namespace and waits for what controllers put into it.
    async fn prepare(&mut self, namespace: &str) -> Result<(), String> {
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let made = self.plain("POST", "/api/v1/namespaces", Some(object)).await?;
        if made.status != 201 {
            return Err(format!("the namespace `{namespace}` cannot be made: {}", made.body));
        }
        for (plural, name) in [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")] {
            let path = format!(
                "/api/v1/namespaces/{namespace}/{plural}?watch=1&fieldSelector=metadata.name%3D{name}"
            );
            let mut watch = Watch::new(self.admin("GET", &path, None).await?.body);
            // It begins with what is there.
            let events = watch.read(Some(1)).await?;
            if events[0]["type"] != "ADDED" {
                return Err(format!("{plural}/{name} does not appear: {events}"));
            }
        }
        Ok(())
    }

    /// Sends a request of the runner itself.
    async fn plain(&self, method: &str, path: &str, body: Option<Value>) -> Result<Whole, String> {
        whole(self.admin(method, path, body).await?).await
    }

    async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost")
            .header(AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(body.into())).map_err(|error| error.to_string())?;
        self.server.send(request).await
    }

    async fn step(&mut self, step: &Step) -> Result<Option<Exchange>, String> {
        let whole = match &step.act {
            Act::Request { method, url } => self.ask(step, method, url).await?,
            Act::Open { watch, url } => {
                let answer = self.send(step, "GET", url).await?;
                let (status, headers) = (answer.status.as_u16(), answer.headers);
                let watch = watch.clone();
                self.watches.insert(watch, Watch::new(answer.body));
                Whole { status, headers, body: Value::Null }
            }
            Act::Read { watch, events } => {
                let watch = self.watches.get_mut(watch).ok_or("no such watch is open")?;
                let body = watch.read(*events).await?;
                Whole { status: 200, headers: http::HeaderMap::new(), body }
            }
            Act::Answer { path, reply } => {
                let hooks = self.hooks.as_ref().ok_or("the script has no webhooks")?;
                hooks.answer(path, reply.clone());
                return Ok(None);
            }
            Act::Asked => {
                let hooks = self.hooks.as_ref().ok_or("the script has no webhooks")?;
                let body = hooks.asked();
                Whole { status: 200, headers: http::HeaderMap::new(), body }
            }
        };
        self.keep_captures(step, &whole)?;
        let mut body = self.normal.value(&whole.body);
        if step.unordered {
            put_in_order(&mut body);
        }
        for pointer in &step.ignore {
            remove(&mut body, pointer);
        }
        if !step.only.is_empty() {
            let parts = step.only.iter().map(|pointer| {
                (pointer.clone(), body.pointer(pointer).cloned().unwrap_or(Value::Null))
            });
            body = Value::Object(parts.collect::<Map<_, _>>());
        }
        let headers = self.normal.headers(&whole.headers);
        let exchange = Exchange { title: step.title.clone(), status: whole.status, headers, body };
        Ok(Some(exchange))
    }

    /// Sends a request, again and again where the step waits for something.
    async fn ask(&self, step: &Step, method: &str, url: &str) -> Result<Whole, String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(hooks) = &self.hooks {
                hooks.forget();
            }
            let answer = whole(self.send(step, method, url).await?).await?;
            let done = match &step.until {
                None => true,
                Some(Until::Status(status)) => answer.status == *status,
                Some(Until::Field { path, value }) => {
                    let value = self.normal.fill(value);
                    answer.body.pointer(path).is_some_and(|found| match found {
                        Value::String(text) => *text == value,
                        other => {
                            serde_json::from_str::<Value>(&value).is_ok_and(|value| value == *other)
                        }
                    })
                }
            };
            let late = tokio::time::Instant::now() > deadline;
            if late && self.server.is_real() && !done {
                return Err(format!("waited in vain for {:?}: {}", step.until, answer.body));
            }
            if done || late {
                return Ok(answer);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn send(&self, step: &Step, method: &str, url: &str) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(self.normal.fill(url));
        let own = |name: &str| step.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        request = request.header(HOST, "localhost");
        if !own("user-agent") {
            request = request.header(USER_AGENT, "script/1");
        }
        if step.protobuf.is_some() && !own("content-type") {
            request = request.header(CONTENT_TYPE, "application/vnd.kubernetes.protobuf");
        }
        for (name, value) in &step.headers {
            request = request.header(name, self.normal.fill(value));
        }
        let admin = format!("Bearer {ADMIN_TOKEN}");
        request = match &step.who {
            Who::Anonymous => request,
            Who::Admin => request.header(AUTHORIZATION, admin),
            Who::Bearer(token) => {
                request.header(AUTHORIZATION, format!("Bearer {}", self.normal.fill(token)))
            }
            Who::User { name, groups } => {
                let request = request
                    .header(AUTHORIZATION, admin)
                    .header("Impersonate-User", self.normal.fill(name));
                groups.iter().fold(request, |request, group| {
                    request.header("Impersonate-Group", self.normal.fill(group))
                })
            }
        };
        let text = repeat(&self.normal.fill(&step.body));
        let body = match &step.protobuf {
            Some((version, kind)) => wire::envelope(version, kind, &text)?,
            None => text.into_bytes(),
        };
        let request = request.body(Full::new(body.into())).map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(PATIENCE, self.server.send(request)).await;
        answer.map_err(|_| "the server does not answer".to_owned())?
    }

    /// A real server that lacks what a script captures shows a mistake of the script; ours shows a difference.
    fn keep_captures(&mut self, step: &Step, answer: &Whole) -> Result<(), String> {
        for (name, path) in &step.captures {
            let found = match path.strip_prefix("header:") {
                Some(header) => answer
                    .headers
                    .get(header)
                    .and_then(|value| value.to_str().ok())
                    .map(Value::from),
                None => answer.body.pointer(path).cloned(),
            };
            let value = match found {
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
                None if self.server.is_real() => {
                    return Err(format!("there is no {path} in {}", answer.body));
                }
                None => format!("missing-{name}"),
            };
            self.normal.capture(name, &value);
        }
        Ok(())
    }
}

impl Watch {
    fn new(body: UnsyncBoxBody<Bytes, String>) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// Reads so many events, or all until the server ends the watch.
    async fn read(&mut self, count: Option<usize>) -> Result<Value, String> {
        let mut events = Vec::new();
        while count.is_none_or(|count| events.len() < count) {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let event = serde_json::from_slice(&line);
                let event: Value =
                    event.map_err(|error| format!("an event is no JSON: {error}"))?;
                events.extend(is_compared(&event).then_some(event));
                continue;
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            // What has come so far is the answer, so that a missing event is shown as a difference.
            let Ok(Some(frame)) = frame else { break };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
        Ok(events.into())
    }
}

/// Bookmarks come when a timer says so, but for one.
fn is_compared(event: &Value) -> bool {
    let object = &event["object"];
    let ends_initial_events =
        |object: &Value| object["metadata"]["annotations"][INITIAL_EVENTS_END] == "true";
    event["type"] != "BOOKMARK"
        || ends_initial_events(object)
        || ends_initial_events(&object["rows"][0]["object"])
}

async fn whole(answer: Answer) -> Result<Whole, String> {
    let collected = tokio::time::timeout(PATIENCE, answer.body.collect()).await;
    let bytes = collected.map_err(|_| "the answer does not end".to_owned())??.to_bytes();
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let body = body(content_type.unwrap_or_default(), &bytes)?;
    Ok(Whole { status: answer.status.as_u16(), headers: answer.headers, body })
}

/// JSON and YAML as they are, several documents (a watch) as an array, any other text as a string, nothing as null.
fn body(content_type: &str, bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if content_type.starts_with("application/yaml") {
        // The content counts, not how the writer quotes and folds it.
        let text = String::from_utf8_lossy(bytes);
        return serde_saphyr::from_str(&text)
            .map_err(|error| format!("the body is no YAML: {error}"));
    }
    if !content_type.starts_with("application/json") {
        return Ok(String::from_utf8_lossy(bytes).into_owned().into());
    }
    let documents = serde_json::Deserializer::from_slice(bytes).into_iter();
    let mut documents: Vec<Value> = documents
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the body is no JSON: {error}"))?;
    let is_watch = documents
        .first()
        .is_some_and(|first| first.get("type").is_some() && first.get("object").is_some());
    if is_watch {
        documents.retain(is_compared);
        return Ok(if documents.is_empty() { Value::Null } else { documents.into() });
    }
    Ok(documents.swap_remove(0))
}

/// Sorts the causes of an error, leaving out the text that lists them, or what webhooks were asked.
fn put_in_order(body: &mut Value) {
    if let Some(asked) = body.as_array_mut() {
        asked.sort_by_key(|asked| asked["path"].to_string());
    }
    if let Some(causes) = body["details"]["causes"].as_array_mut() {
        causes.sort_by_key(Value::to_string);
        body["message"] = "<see the causes>".into();
    }
}

fn remove(body: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    match body.pointer_mut(parent) {
        Some(Value::Object(fields)) => {
            fields.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(index) = last.parse().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

/// Puts long texts in place of `${repeat:TEXT:COUNT}`.
fn repeat(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${repeat:") else { return text.to_owned() };
    let Some((order, after)) = rest.split_once('}') else { return text.to_owned() };
    let (what, count) = order.rsplit_once(':').unwrap_or((order, "1"));
    let filled = what.repeat(count.parse().unwrap_or(1));
    format!("{before}{filled}{}", repeat(after))
}
