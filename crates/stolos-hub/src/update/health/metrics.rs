//! The metrics of a member's API server: which APIs that will be removed somebody asks it for. Metrics cannot be watched, so
//! they are read again and again, while a run asks for the check.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use stolos_core::update::cluster::RequestedApi;
use stolos_core::update::preflight::requested_apis;

use super::objects::Look;

/// How often metrics are read. They are long, and what they tell here does not go away before the API server starts anew.
const INTERVAL: Duration = Duration::from_secs(60);

/// Intervals vary by this part, so that not all members are asked at the same moment.
const JITTER: f64 = 0.1;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Longest answer that is read: those of large clusters have some MiB.
const MAX_ANSWER: usize = 64 << 20;

/// Reads what a member's API server was asked for, until it cannot be read: the last look is then the reason.
pub(super) fn read(client: Client) -> BoxStream<'static, Look<Vec<RequestedApi>>> {
    let looks = stream::unfold(Some((client, false)), |state| async {
        let (client, looked) = state?;
        if looked {
            let jitter = rand::random_range(1.0 - JITTER..1.0 + JITTER);
            tokio::time::sleep(INTERVAL.mul_f64(jitter)).await;
        }
        let read = tokio::time::timeout(TIMEOUT, once(&client)).await;
        let look =
            read.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
        let look = look.map_err(|reason| format!("the metrics of the API server: {reason}"));
        let goes_on = look.is_ok();
        Some((look, goes_on.then_some((client, true))))
    });
    looks.boxed()
}

async fn once(client: &Client) -> Result<Vec<RequestedApi>, String> {
    let request = http::Request::get("/metrics").header("accept", "text/plain");
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = client.send(request).await;
    let answer = answer.map_err(|error| format!("it does not answer: {error}"))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("it answers {status}"));
    }
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| format!("they cannot be read: {error}"))?.to_bytes();
    let text = std::str::from_utf8(&body).map_err(|error| format!("they are no text: {error}"))?;
    requested_apis(text)
}
