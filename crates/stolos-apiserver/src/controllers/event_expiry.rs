//! Events vanish an hour after their last change.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Context;
use super::api::{self, Propagation};
use super::follow::{Seen, follow};
use super::queue::{Next, Queue};
use crate::status::ApiError;
use crate::store::{Key, ResourceId};

/// Lifetime of an event, as upstream's default.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// Deletions at once; enough to fill a group commit.
const CONCURRENCY: usize = 16;

/// Runs until the store closes.
pub(super) async fn run(context: Context) {
    let queue = Queue::new();
    let events = ResourceId::from("events");
    let following = follow(&context.store, &events, |seen| match seen {
        Seen::Listed(version) => queue.push(version.key.clone()),
        Seen::Changed(event) if !event.deleted => queue.push(event.current.key.clone()),
        Seen::Changed(_) | Seen::Missed => {}
    });
    tokio::select! {
        () = following => {}
        () = queue.run(CONCURRENCY, |key| expire(&context, &events, key)) => {}
    }
}

async fn expire(context: &Context, events: &ResourceId, key: Key) -> Result<Next, ApiError> {
    let Some(version) = context.store.get(events, &key) else { return Ok(Next::Done) };
    let left = time_left(&version.object(), context.clock.now());
    if !left.is_zero() {
        return Ok(Next::After(left));
    }
    let Some(path) = api::stored_path(&context.registry, events, &key) else {
        return Ok(Next::Done);
    };
    // Upstream lets the store forget events; nobody is asked.
    let api = context.api.without_admission();
    api.delete(&path, &version, Propagation::Background).await?;
    Ok(Next::Done)
}

/// Returns how long the event may stay. An event whose time nobody can tell has its whole life before it, but never
/// more than that, whatever the clock of its author said.
fn time_left(event: &Value, now: Timestamp) -> Duration {
    let written = last_written(event).unwrap_or(now).min(now);
    let age = now.duration_since(written);
    Duration::try_from(LIFETIME - age).unwrap_or(Duration::ZERO)
}

/// Returns the latest time that the event itself knows of; managed fields tell of each write.
fn last_written(event: &Value) -> Option<Timestamp> {
    let metadata = &event["metadata"];
    let fields =
        metadata["managedFields"].as_array().into_iter().flatten().map(|entry| &entry["time"]);
    let times = [
        &metadata["creationTimestamp"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["series"]["lastObservedTime"],
    ];
    fields.chain(times).filter_map(|time| time.as_str()?.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn left(event: &Value) -> u64 {
        time_left(event, "2026-01-01T12:00:00Z".parse().unwrap()).as_secs()
    }

    #[test]
    fn an_event_lives_an_hour_after_its_last_change() {
        let created = |time: &str| json!({"metadata": {"creationTimestamp": time}});
        assert_eq!(left(&created("2026-01-01T12:00:00Z")), 3600);
        assert_eq!(left(&created("2026-01-01T11:30:00Z")), 1800);
        assert_eq!(left(&created("2026-01-01T11:00:00Z")), 0);
        assert_eq!(left(&created("2025-01-01T11:00:00Z")), 0);
    }

    #[test]
    fn repetition_prolongs_its_life() {
        let mut event = json!({"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}});
        event["lastTimestamp"] = json!("2026-01-01T11:10:00Z");
        assert_eq!(left(&event), 600);
        event["series"] = json!({"lastObservedTime": "2026-01-01T11:20:00.123456Z"});
        assert_eq!(left(&event), 1200);
        event["metadata"]["managedFields"] = json!([{"time": "2026-01-01T11:30:00Z"}]);
        assert_eq!(left(&event), 1800);
    }

    #[test]
    fn a_wrong_clock_does_not_keep_an_event_for_ever() {
        assert_eq!(left(&json!({"metadata": {"creationTimestamp": "2099-01-01T00:00:00Z"}})), 3600);
        assert_eq!(left(&json!({"metadata": {}})), 3600);
    }
}
