//! An API server that is reached through bad weather.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use http::header::ACCEPT;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use stolos_apiserver::rest::ApiService;
use tokio::sync::watch;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// How a list lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It shows nothing.
    Empty,
    /// It shows what was there at the beginning of the story.
    Old,
}

/// What goes wrong at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sky {
    seed: u64,
    /// Requests fail at all.
    storm: bool,
    /// Lists of this resource lie.
    lie: Option<(&'static str, Lie)>,
    /// Whose requests to the hub all fail.
    cut_off: Option<String>,
}

/// The weather that all requests of a fleet go through.
pub(crate) struct Weather {
    sky: Mutex<Sky>,
    asked: Mutex<BTreeMap<String, u64>>,
    lists: Mutex<BTreeMap<String, Value>>,
    /// Requests to the hub, by who asked.
    to_hub: Mutex<BTreeMap<String, usize>>,
    /// Ends every watch when it changes.
    watches: watch::Sender<u64>,
    began: tokio::time::Instant,
    pub(crate) is_traced: bool,
}

impl Weather {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            sky: Mutex::default(),
            asked: Mutex::default(),
            lists: Mutex::default(),
            to_hub: Mutex::default(),
            watches: watch::Sender::new(0),
            began: tokio::time::Instant::now(),
            is_traced: std::env::var_os("STOLOS_TRACE").is_some(),
        })
    }

    /// Time that has passed for the fleet.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Begins a story.
    pub(crate) fn begin(&self, seed: u64) {
        *self.sky.lock().unwrap() = Sky { seed, ..Sky::default() };
        self.asked.lock().unwrap().clear();
        self.lists.lock().unwrap().clear();
    }

    pub(crate) fn storm(&self, lie: Option<(&'static str, Lie)>) {
        let mut sky = self.sky.lock().unwrap();
        sky.storm = true;
        sky.lie = lie;
    }

    pub(crate) fn cut_off(&self, actor: Option<String>) {
        self.sky.lock().unwrap().cut_off = actor;
    }

    /// Ends every fault, and every watch: what a lie left out is listed again.
    pub(crate) fn calm(&self) {
        let mut sky = self.sky.lock().unwrap();
        *sky = Sky { seed: sky.seed, ..Sky::default() };
        drop(sky);
        self.break_watches();
    }

    pub(crate) fn break_watches(&self) {
        self.watches.send_modify(|n| *n += 1);
    }

    /// Returns how many requests of somebody have reached the hub.
    pub(crate) fn requests_to_hub(&self, actor: &str) -> usize {
        self.to_hub.lock().unwrap().get(actor).copied().unwrap_or_default()
    }

    fn sky(&self) -> Sky {
        self.sky.lock().unwrap().clone()
    }

    /// Decides for the next request of a kind: true in so many of a hundred cases.
    fn rolls(&self, what: &str, request: &str, percent: u64) -> bool {
        let key = format!("{what} {request}");
        let mut asked = self.asked.lock().unwrap();
        let n = asked.entry(key.clone()).or_default();
        *n += 1;
        let mut hasher = DefaultHasher::new();
        (self.sky.lock().unwrap().seed, &key, *n).hash(&mut hasher);
        hasher.finish() % 100 < percent
    }
}

/// The way of one process to one API server.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) server: ApiService,
    pub(crate) actor: String,
    pub(crate) to_hub: bool,
    pub(crate) weather: Arc<Weather>,
}

impl Service<Request<Body>> for Way {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().go(request))
    }
}

impl Way {
    async fn go(mut self, request: Request<Body>) -> Result<Reply, BoxError> {
        let sky = self.weather.sky();
        let asked = Asked::of(&self.actor, &request);
        let is_cut_off = self.to_hub && sky.cut_off.as_ref() == Some(&self.actor);
        if is_cut_off && !asked.is_watch {
            return Err("no route to the hub".into());
        }
        if asked.is_watch && (is_cut_off || self.expires(&sky, &asked)) {
            return Ok(expired());
        }
        if sky.storm
            && let Some(refused) = self.refusal(&asked)
        {
            return refused;
        }
        if self.to_hub {
            *self.weather.to_hub.lock().unwrap().entry(self.actor.clone()).or_default() += 1;
        }
        let mut ends = self.weather.watches.subscribe();
        let (request, traced) = self.traced(request).await?;
        let Ok(response) = self.server.call(request).await;
        if let Some(traced) = traced {
            eprintln!("{:?} {} {traced}", self.weather.elapsed(), response.status().as_u16());
        }
        let response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        if sky.storm && asked.is_write && self.weather.rolls("lost", &asked.name, 6) {
            return Err("the reply was lost".into());
        }
        if asked.is_watch {
            return Ok(response.map(|body| {
                let frames = body.into_data_stream().map_ok(http_body::Frame::data);
                let until = async move {
                    let _ = ends.changed().await;
                };
                StreamBody::new(frames.take_until(Box::pin(until))).boxed_unsync()
            }));
        }
        if asked.is_list { self.listed(&sky, &asked, response).await } else { Ok(response) }
    }

    /// Returns what is to be told of a request, if somebody wants to know what happened (`STOLOS_TRACE`).
    async fn traced(
        &self,
        request: Request<Body>,
    ) -> Result<(Request<Body>, Option<String>), BoxError> {
        if !self.weather.is_traced {
            return Ok((request, None));
        }
        let (parts, body) = request.into_parts();
        let body = BodyExt::collect(body).await?.to_bytes();
        let sent = String::from_utf8_lossy(&body);
        let told = format!("{} {} {} {sent}", self.actor, parts.method, parts.uri);
        Ok((Request::from_parts(parts, body.into()), Some(told)))
    }

    /// Tells whether a watch asks for what is no longer kept: then everything is listed again.
    fn expires(&self, sky: &Sky, asked: &Asked) -> bool {
        let is_lied_about = sky.lie.is_some_and(|(resource, _)| asked.resource == resource);
        let percent = if is_lied_about { 70 } else { 10 };
        sky.storm && self.weather.rolls("expired", &asked.name, percent)
    }

    fn refusal(&self, asked: &Asked) -> Option<Result<Reply, BoxError>> {
        let rolls = |what, percent| self.weather.rolls(what, &asked.name, percent);
        if asked.is_discovery {
            return match () {
                () if rolls("discovery", 10) => Some(Ok(status(503, "ServiceUnavailable"))),
                () if rolls("no kinds", 5) => Some(Ok(status(404, ""))),
                () => None,
            };
        }
        if asked.is_write && rolls("conflict", 4) {
            return Some(Ok(status(409, "Conflict")));
        }
        if rolls("broken", 3) {
            return Some(Err("connection refused".into()));
        }
        rolls("down", 4).then(|| Ok(status(500, "InternalError")))
    }

    async fn listed(&self, sky: &Sky, asked: &Asked, response: Reply) -> Result<Reply, BoxError> {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        if parts.status != StatusCode::OK {
            return Ok(Response::from_parts(parts, whole(bytes.to_vec())));
        }
        let mut list: Value = serde_json::from_slice(&bytes)?;
        let old = self
            .weather
            .lists
            .lock()
            .unwrap()
            .entry(asked.name.clone())
            .or_insert_with(|| list.clone())
            .clone();
        match sky.lie.filter(|(resource, _)| asked.resource == *resource) {
            Some((_, Lie::Empty)) if self.weather.rolls("lie", &asked.name, 60) => {
                list["items"] = json!([]);
            }
            Some((_, Lie::Old)) if self.weather.rolls("lie", &asked.name, 60) => list = old,
            Some(_) | None => {}
        }
        Ok(Response::from_parts(parts, whole(serde_json::to_vec(&list)?)))
    }
}

/// What a request is about.
struct Asked {
    /// Who asks what, in words that do not change from one run to the next.
    name: String,
    /// Plural of the kind.
    resource: String,
    is_list: bool,
    is_watch: bool,
    is_write: bool,
    is_discovery: bool,
}

impl Asked {
    fn of(actor: &str, request: &Request<Body>) -> Self {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        // What follows `api/v1` or `apis/<group>/<version>`, without a namespace before it.
        let rest = match segments.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..]
                if !rest.is_empty() && rest[0] != "status" && rest[0] != "finalize" =>
            {
                rest
            }
            rest => rest,
        };
        let is_get = request.method() == Method::GET;
        let is_watch = is_get && query.contains("watch=");
        // A list of metadata is no answer to who asks for whole objects.
        let accept = request.headers().get(ACCEPT).map(http::HeaderValue::as_bytes);
        let accept = String::from_utf8_lossy(accept.unwrap_or_default());
        let form = if accept.contains("as=PartialObjectMetadata") { " metadata" } else { "" };
        Self {
            name: format!("{actor} {} {path} {is_watch}{form}", request.method()),
            resource: rest.first().copied().unwrap_or_default().to_owned(),
            // Lists that begin a watch come from a cache; one with a selector is asked for by itself.
            is_list: is_get && !is_watch && rest.len() == 1 && !query.contains("labelSelector="),
            is_watch,
            is_write: !is_get,
            is_discovery: is_get && rest.is_empty(),
        }
    }
}

fn status(code: u16, reason: &str) -> Reply {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "bad weather",
    });
    let body = if reason.is_empty() {
        b"404 page not found".to_vec()
    } else {
        body.to_string().into_bytes()
    };
    Response::builder().status(code).body(whole(body)).unwrap()
}

fn expired() -> Reply {
    let event = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version",
    }});
    Response::new(whole(format!("{event}\n").into_bytes()))
}

fn whole(bytes: Vec<u8>) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}
