//! WATCH: current state first where asked for, then every change as it becomes visible.
//!
//! A watch holds a cursor into the store's history and no buffer of its own. A client that falls behind the history gets
//! `410 Expired` as an event and starts over.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, stream};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::error;

use super::Core;
use super::body::Body;
use super::call::Call;
use super::negotiate::Shape;
use super::query::ListOptions;
use super::respond::{self, Response};
use super::{convert, limits, list, service};
use crate::selector::Selectors;
use crate::status::ApiError;
use crate::store::{self, At, Event, Expired, Key, Version, WatchEnd, Watcher};

/// Clients that ask for bookmarks get one at least once a minute.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(55);
/// A last bookmark comes this long before the watch ends, so that the client resumes where it stopped.
const LAST_BOOKMARK_LEAD: Duration = Duration::from_secs(2);
/// A watch without `timeoutSeconds` ends after 30 to 60 minutes, at random so that not all reconnect at once.
const DEFAULT_TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1800..=3599;
/// Initial objects are sent in chunks of about this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// Initial objects are read in pages of this many, as large as clients take them.
const INITIAL_PAGE: NonZeroUsize = NonZeroUsize::new(500).expect("it is not zero");
/// What a frame adds to an object, at most.
const FRAME_BYTES: usize = 40;
/// Marks the bookmark that ends the initial objects.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Answers a WATCH. Failures after the selectors are checked reach the client as an event.
pub(crate) async fn watch(
    core: &Arc<Core>,
    call: Call,
    options: &ListOptions,
) -> Result<Response, ApiError> {
    let room =
        Arc::clone(&core.watches).try_acquire_owned().map_err(|_| limits::too_many_requests())?;
    let selectors = list::selectors(&call, options)?;
    let asked = options.resource_version;
    let send_initial =
        options.send_initial_events.unwrap_or(asked.is_none_or(|revision| revision == 0));
    // A cursor in the future would silently skip what happens until then.
    core.wait_until(asked.unwrap_or(0)).await?;
    let from = match asked {
        Some(revision) if revision != 0 && !send_initial => revision,
        _ => core.store.revision(),
    };
    let initial = send_initial.then(|| Initial::at(from));
    let timeout = options.timeout_seconds.filter(|seconds| *seconds > 0);
    let timeout = timeout.unwrap_or_else(|| core.random.number(DEFAULT_TIMEOUT_SECONDS));
    let timeout = Duration::from_secs(timeout);
    let opened = Instant::now();
    let session = Session {
        watcher: core.store.watch(&call.resource.storage, from),
        initial_end: (options.send_initial_events == Some(true) && options.allow_bookmarks)
            .then_some(from),
        initial,
        next_bookmark: options.allow_bookmarks.then(|| opened + BOOKMARK_INTERVAL),
        last_bookmark: options
            .allow_bookmarks
            .then(|| opened + timeout - LAST_BOOKMARK_LEAD.min(timeout / 2)),
        deadline: opened + timeout,
        columns_sent: false,
        form: form_of(&call),
        sends_stored_form: call.output.shape == Shape::Object
            && convert::is_storage_form(&call.resource),
        stopping: core.stopping.clone(),
        core: Arc::clone(core),
        call,
        selectors,
        ended: false,
        _room: room,
    };
    let frames = stream::unfold(session, |mut session| async move {
        let frames = AssertUnwindSafe(session.next()).catch_unwind().await;
        let frames = frames.unwrap_or_else(|_| {
            error!(resource = %session.call.resource.storage, "a watch panicked");
            session.ended = true;
            Some(error_frame(&service::panicked()))
        });
        Some((frames?, session))
    });
    Ok(respond::with_type(StatusCode::OK, "application/json", Body::stream(frames)))
}

struct Session {
    core: Arc<Core>,
    call: Call,
    selectors: Selectors,
    watcher: Result<Watcher, Expired>,
    initial: Option<Initial>,
    /// Revision of the bookmark that is due after the initial objects.
    initial_end: Option<u64>,
    next_bookmark: Option<Instant>,
    last_bookmark: Option<Instant>,
    deadline: Instant,
    columns_sent: bool,
    /// Version and shape of the objects that this watch sends.
    form: Arc<str>,
    /// That is the form in which they are stored.
    sends_stored_form: bool,
    stopping: tokio::sync::watch::Receiver<bool>,
    ended: bool,
    _room: OwnedSemaphorePermit,
}

/// The state that a watch begins with. It is read page by page from the history, as the client takes it, so that a client
/// that takes nothing holds nothing but a page.
struct Initial {
    at: u64,
    page: VecDeque<Arc<Version>>,
    /// Where the next page begins; `None` before the first.
    after: Option<Key>,
    is_last: bool,
}

impl Initial {
    fn at(revision: u64) -> Self {
        Self { at: revision, page: VecDeque::new(), after: None, is_last: false }
    }

    /// Makes sure that there is something in the page, unless all has been handed out.
    fn fill(&mut self, core: &Core, call: &Call, selectors: &Selectors) -> Result<(), Expired> {
        let matches = |version: &Version| selectors.matches(&version.key, &version.attributes);
        while self.page.is_empty() && !self.is_last {
            let options = store::ListOptions {
                namespace: call.namespace.clone(),
                at: At::Exact(self.at),
                after: self.after.take(),
                limit: Some(INITIAL_PAGE),
                // Also where everything matches: a list with a filter does not count what follows the page.
                filter: Some(&matches),
            };
            let page = core.store.list(&call.resource.storage, &options)?;
            self.is_last = page.next.is_none();
            self.after = page.next;
            self.page = page.items.into();
        }
        Ok(())
    }
}

enum Woken {
    Events(Result<Vec<Arc<Event>>, WatchEnd>),
    Timer,
    Stopping,
}

impl Session {
    /// Returns the next frames, or nothing when the watch has ended.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(mut initial) = self.initial.take() {
            match initial.fill(&self.core, &self.call, &self.selectors) {
                Err(expired) => return Some(self.end_with(&too_old(&expired))),
                Ok(()) if initial.page.is_empty() => {}
                Ok(()) => {
                    let frames = self.initial_frames(&mut initial.page).await;
                    let frames = frames.unwrap_or_else(|error| self.end_with(&error));
                    self.initial = Some(initial);
                    return Some(frames);
                }
            }
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(self.bookmark(revision, true));
        }
        loop {
            match self.wait().await {
                Woken::Events(Ok(events)) => {
                    let frames = self.event_frames(&events).await;
                    let frames = frames.unwrap_or_else(|error| self.end_with(&error));
                    if !frames.is_empty() {
                        return Some(frames);
                    }
                }
                Woken::Events(Err(WatchEnd::Expired(expired))) => {
                    return Some(self.end_with(&too_old(&expired)));
                }
                Woken::Events(Err(WatchEnd::ResourceRemoved | WatchEnd::Closed))
                | Woken::Stopping => return None,
                Woken::Timer => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        return None;
                    }
                    if self.last_bookmark.is_some_and(|due| now >= due) {
                        self.last_bookmark = None;
                    }
                    self.next_bookmark = self.next_bookmark.map(|_| now + BOOKMARK_INTERVAL);
                    if let Ok(watcher) = &self.watcher {
                        return Some(self.bookmark(watcher.revision(), false));
                    }
                }
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let timer = [Some(self.deadline), self.next_bookmark, self.last_bookmark]
            .into_iter()
            .flatten()
            .min();
        let watcher = match &mut self.watcher {
            Ok(watcher) => watcher,
            Err(expired) => return Woken::Events(Err(WatchEnd::Expired(*expired))),
        };
        tokio::select! {
            biased;
            events = watcher.next() => Woken::Events(events),
            () = tokio::time::sleep_until(timer.unwrap_or(self.deadline)) => Woken::Timer,
            // An error means that the server is gone.
            _ = self.stopping.wait_for(|stopping| *stopping) => Woken::Stopping,
        }
    }

    fn end_with(&mut self, error: &ApiError) -> Bytes {
        self.ended = true;
        error_frame(error)
    }

    async fn initial_frames(
        &mut self,
        page: &mut VecDeque<Arc<Version>>,
    ) -> Result<Bytes, ApiError> {
        let mut frames = Vec::with_capacity(CHUNK_BYTES);
        while frames.len() < CHUNK_BYTES
            && let Some(version) = page.pop_front()
        {
            if self.call.output.shape == Shape::Object {
                let object = convert::served_bytes(&self.call.resource, &version).await?;
                push_frame(&mut frames, "ADDED", &object);
            } else {
                let object = convert::served(&self.call.resource, &version).await?;
                let shaped = self.shaped(object);
                push_frame(&mut frames, "ADDED", shaped.to_string().as_bytes());
            }
        }
        Ok(frames.into())
    }

    /// Puts the frames of some events into one chunk. The frame of an event is made once and shared by all watches of the
    /// same form; only where it is the stored body with a few bytes around it, that is put together here.
    async fn event_frames(&mut self, events: &[Arc<Event>]) -> Result<Bytes, ApiError> {
        let bytes = events.iter().map(|event| event.current.body.len() + FRAME_BYTES).sum();
        let mut frames = Vec::with_capacity(if self.sends_stored_form { bytes } else { 0 });
        for event in events {
            let Some(transition) = self.transition(event) else { continue };
            let kind = transition.event_type();
            let is_stored_body = self.sends_stored_form
                && transition != Transition::Left
                // Objects that were written before the storage version changed are still in the old one.
                && convert::is_in(&event.current.body, &self.call.resource.group_version)
                && convert::fits(&self.call.resource, &event.current);
            if is_stored_body {
                push_frame(&mut frames, kind, &event.current.body);
                continue;
            }
            if self.call.resource.conversion.is_some() {
                let object = self.shown(transition, event).await?;
                frames.extend_from_slice(&self.frame(transition, object));
                continue;
            }
            let form = match &self.call.output.shape {
                // The first frame of a table also says what the columns are.
                Shape::Table { .. } if !self.columns_sent => None,
                // Ages are counted in seconds.
                Shape::Table { .. } => {
                    Some(format!("{} {}", self.form, self.core.clock.now().as_second()).into())
                }
                Shape::Object | Shape::Metadata => Some(Arc::clone(&self.form)),
            };
            // An object that leaves the selection is shown in another state than one that is deleted.
            let as_kind = if transition == Transition::Left { "LEFT" } else { kind };
            match form {
                Some(form) => {
                    let frame = event
                        .renditions
                        .get_or_make(as_kind, &form, || self.plain_frame(transition, event));
                    frames.extend_from_slice(&frame);
                }
                None => frames.extend_from_slice(&self.plain_frame(transition, event)),
            }
        }
        Ok(frames.into())
    }

    /// Makes the frame of an event that no webhook has to convert.
    fn plain_frame(&mut self, transition: Transition, event: &Event) -> Bytes {
        let version = shown_state(transition, event);
        let object = convert::plainly_served(&self.call.resource, version);
        self.frame(transition, as_of(event, object))
    }

    /// Returns the object that an event shows.
    async fn shown(&self, transition: Transition, event: &Event) -> Result<Value, ApiError> {
        let version = shown_state(transition, event);
        Ok(as_of(event, convert::served(&self.call.resource, version).await?))
    }

    fn frame(&mut self, transition: Transition, object: Value) -> Bytes {
        let mut frame = Vec::new();
        let shaped = self.shaped(object).to_string();
        push_frame(&mut frame, transition.event_type(), shaped.as_bytes());
        frame.into()
    }

    /// Decides what an event means to this watch.
    fn transition(&self, event: &Event) -> Option<Transition> {
        let in_namespace =
            self.call.namespace.as_ref().is_none_or(|own| *own == event.current.key.namespace);
        if !in_namespace {
            return None;
        }
        let selects =
            |version: &Arc<Version>| self.selectors.matches(&version.key, &version.attributes);
        let before = event.previous.as_ref().is_some_and(selects);
        if event.deleted {
            return before.then_some(Transition::Deleted);
        }
        match (before, selects(&event.current)) {
            (false, true) => Some(Transition::Entered),
            (true, true) => Some(Transition::Changed),
            (true, false) => Some(Transition::Left),
            (false, false) => None,
        }
    }

    fn shaped(&mut self, object: Value) -> Value {
        match self.call.output.shape.clone() {
            Shape::Object => object,
            Shape::Metadata => convert::metadata_only(object),
            Shape::Table { version } => {
                let meta = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                self.table(&version, &[object], meta)
            }
        }
    }

    fn table(&mut self, version: &str, objects: &[Value], meta: Value) -> Value {
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        list::render_table(&self.core, &self.call, version, objects, meta, with_columns)
            .unwrap_or_else(|error| error.to_status())
    }

    fn bookmark(&self, revision: u64, ends_initial_events: bool) -> Bytes {
        let resource = &self.call.resource;
        let (api_version, kind) = match &self.call.output.shape {
            Shape::Object | Shape::Table { .. } => {
                (resource.group_version.to_string(), resource.kind.as_str())
            }
            Shape::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        };
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if ends_initial_events {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let object = json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata });
        let object = match &self.call.output.shape {
            // The row of an object that has nothing but the metadata.
            Shape::Table { version } => {
                let meta = json!({ "resourceVersion": revision.to_string() });
                list::render_table(&self.core, &self.call, version, &[object], meta, false)
                    .unwrap_or_else(|error| error.to_status())
            }
            Shape::Object | Shape::Metadata => object,
        };
        let mut frame = Vec::new();
        push_frame(&mut frame, "BOOKMARK", object.to_string().as_bytes());
        frame.into()
    }
}

/// Names the version and shape of what a watch sends; watches of one form send the same frames.
fn form_of(call: &Call) -> Arc<str> {
    let Call { resource, output, query, .. } = call;
    let schema = if resource.custom { resource.schema.id() } else { 0 };
    let include = query.get("includeObject").unwrap_or_default();
    format!("{} {schema} {:?} {include}", resource.group_version, output.shape).into()
}

/// Returns the state of an object that an event shows: of one that leaves the selection, the last that was in it.
fn shown_state(transition: Transition, event: &Event) -> &Version {
    match (transition, &event.previous) {
        (Transition::Left, Some(previous)) => previous,
        _ => &event.current,
    }
}

/// Shows an object at the revision of an event.
fn as_of(event: &Event, mut object: Value) -> Value {
    object["metadata"]["resourceVersion"] = event.revision.to_string().into();
    object
}

/// What a change means to a watch with selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transition {
    Entered,
    Changed,
    /// The object does not match any more; the client sees its previous state go.
    Left,
    Deleted,
}

impl Transition {
    fn event_type(self) -> &'static str {
        match self {
            Self::Entered => "ADDED",
            Self::Changed => "MODIFIED",
            Self::Left | Self::Deleted => "DELETED",
        }
    }
}

fn push_frame(frames: &mut Vec<u8>, event_type: &str, object: &[u8]) {
    frames.extend_from_slice(b"{\"type\":\"");
    frames.extend_from_slice(event_type.as_bytes());
    frames.extend_from_slice(b"\",\"object\":");
    frames.extend_from_slice(object);
    frames.extend_from_slice(b"}\n");
}

fn error_frame(error: &ApiError) -> Bytes {
    let mut frame = Vec::new();
    push_frame(&mut frame, "ERROR", error.to_status().to_string().as_bytes());
    frame.into()
}

fn too_old(expired: &Expired) -> ApiError {
    let text = format!("too old resource version: {} ({})", expired.requested, expired.oldest);
    ApiError::new(StatusCode::GONE, "Expired", text)
}
