//! Following one object of the hub until it is where a command waits for it to be. The hub may go away meanwhile.

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Resource;
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::connect::explain;

/// How long the hub may not answer before following ends. A restart of the hub takes less.
const LOST_FOR: Duration = Duration::from_mins(5);

/// States of an object as they are seen; nothing when it does not exist.
pub(crate) type Looks<K> = BoxStream<'static, Result<Option<K>, watcher::Error>>;

/// Follows one object.
pub(crate) struct Follower<K> {
    looks: Looks<K>,
    /// Kind and name, for people.
    what: String,
    uid: Option<String>,
    deadline: Option<Instant>,
    lost_since: Option<Instant>,
    /// How long the hub may not answer.
    patience: Duration,
}

impl<K: Resource> Follower<K> {
    /// Follows an object as it is now, until `deadline`.
    pub(crate) fn new(
        what: String,
        object: &K,
        looks: Looks<K>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            looks,
            what,
            uid: object.meta().uid.clone(),
            deadline,
            lost_since: None,
            patience: LOST_FOR,
        }
    }

    /// Waits for the next state; returns nothing when the deadline is over. `note` hears of trouble that may pass.
    ///
    /// # Errors
    /// When the object is gone, the hub refuses to show it, or has not answered for too long.
    pub(crate) async fn next(
        &mut self,
        mut note: impl FnMut(&str) + Send,
    ) -> anyhow::Result<Option<K>> {
        let what = self.what.clone();
        loop {
            let lost_at = self.lost_since.map(|since| since + self.patience);
            let until = [self.deadline, lost_at].into_iter().flatten().min();
            let look = match until {
                None => self.looks.next().await,
                Some(until) => match tokio::time::timeout_at(until, self.looks.next()).await {
                    Ok(look) => look,
                    Err(_) if self.deadline == Some(until) => return Ok(None),
                    Err(_) => bail!(
                        "lost the hub: it has not answered for {} minutes",
                        self.patience.as_secs() / 60
                    ),
                },
            };
            match look {
                Some(Ok(Some(next))) if next.meta().uid == self.uid => {
                    self.lost_since = None;
                    return Ok(Some(next));
                }
                Some(Ok(_)) => bail!("{what} was deleted while it was watched"),
                Some(Err(error)) => {
                    let error = passing(error, &what)?;
                    if self.lost_since.is_none() {
                        self.lost_since = Some(Instant::now());
                        note(&format!("lost the hub, trying again: {error}"));
                    }
                }
                None => bail!("the watch of {what} has ended by itself"),
            }
        }
    }
}

/// Returns the error if trying again may help, and fails with it otherwise.
fn passing(error: watcher::Error, what: &str) -> anyhow::Result<anyhow::Error> {
    let doing = format!("failed to watch {what}");
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        error @ watcher::Error::NoResourceVersion => {
            return Err(anyhow::Error::from(error).context(doing));
        }
    };
    let is_final = matches!(&error, kube::Error::Api(status) if matches!(status.code, 400..=404));
    let explained = explain(&doing, error);
    if is_final { Err(explained) } else { Ok(explained) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn object(uid: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "x", "uid": uid}})).unwrap()
    }

    fn refusal(code: u16) -> watcher::Error {
        let status = json!({"status": "Failure", "code": code, "reason": "x", "message": "no"});
        let status: Status = serde_json::from_value(status).unwrap();
        watcher::Error::WatchError(Box::new(status))
    }

    type Look = Result<Option<ConfigMap>, watcher::Error>;

    /// Follows through these looks, then silence; returns how it ended and what was noted.
    async fn followed(looks: Vec<Look>, deadline: Option<Duration>) -> (String, Vec<String>) {
        let looks = futures::stream::iter(looks).chain(futures::stream::pending()).boxed();
        let deadline = deadline.map(|after| Instant::now() + after);
        let mut follower = Follower::new("thing `x`".to_owned(), &object("1"), looks, deadline);
        follower.patience = Duration::from_millis(50);
        let mut notes = Vec::new();
        loop {
            match follower.next(|text| notes.push(text.to_owned())).await {
                Ok(Some(_)) => notes.push("seen".to_owned()),
                Ok(None) => return ("time is over".to_owned(), notes),
                Err(error) => return (error.to_string(), notes),
            }
        }
    }

    #[tokio::test]
    async fn an_object_that_goes_or_is_another_one_ends_it() {
        let gone = "thing `x` was deleted while it was watched";
        for looks in [vec![Ok(Some(object("1"))), Ok(None)], vec![Ok(Some(object("2")))]] {
            assert_eq!(followed(looks, None).await.0, gone);
        }
    }

    #[tokio::test]
    async fn a_hub_that_is_away_is_waited_for_and_told_once() {
        let looks = vec![Err(refusal(503)), Err(refusal(503)), Ok(Some(object("1")))];
        let (end, notes) = followed(looks, Some(Duration::from_millis(5))).await;
        assert_eq!(end, "time is over");
        assert_eq!(
            notes,
            [
                "lost the hub, trying again: failed to watch thing `x`: no".to_owned(),
                "seen".to_owned()
            ]
        );
        let (end, _) = followed(vec![Err(refusal(503))], None).await;
        assert_eq!(end, "lost the hub: it has not answered for 0 minutes");
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let (end, notes) = followed(vec![Err(refusal(403))], None).await;
        assert_eq!((end.as_str(), notes.len()), ("failed to watch thing `x`: no", 0));
    }
}
