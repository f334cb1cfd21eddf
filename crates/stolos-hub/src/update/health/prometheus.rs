//! Probes of Prometheus servers. They have nothing to watch, so they are asked again and again.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use stolos_api::update::PrometheusProbe;
use stolos_core::update::probe::Found;

/// How often a server is asked when the author does not say, in seconds.
const DEFAULT_INTERVAL: u64 = 30;

/// Intervals vary by this part, so that many gates do not ask one server at the same moment.
const JITTER: f64 = 0.1;

/// Longest wait for an answer; the server is told to give up before.
const TIMEOUT: Duration = Duration::from_secs(15);
const SERVER_TIMEOUT: &str = "10s";

/// Longest answer that is read. A check wants few series.
const MAX_ANSWER: usize = 1 << 20;

/// Asks a server for ever, at the probe's interval.
pub(super) fn ask(probe: PrometheusProbe) -> BoxStream<'static, Found> {
    let seconds = probe.interval_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let interval = Duration::from_secs(seconds.unwrap_or(DEFAULT_INTERVAL).max(1));
    let server = Server::new(&probe);
    let answers = stream::unfold((server, false), move |(server, asked)| async move {
        if asked {
            let jitter = rand::random_range(1.0 - JITTER..1.0 + JITTER);
            tokio::time::sleep(interval.mul_f64(jitter)).await;
        }
        let found = match &server {
            Ok(server) => server.ask().await,
            Err(reason) => Err(reason.clone()),
        };
        Some((found.unwrap_or_else(|reason| Found::unknown(&reason)), (server, true)))
    });
    answers.boxed()
}

struct Server {
    client: Client,
    path: String,
}

impl Server {
    /// Returns a client that follows no redirects and knows nothing of the hub's credentials.
    fn new(probe: &PrometheusProbe) -> Result<Self, String> {
        let url: http::Uri = probe.url.parse().map_err(|error| format!("url: {error}"))?;
        let authority = url.authority().ok_or("url has no host")?;
        let scheme = url.scheme_str().unwrap_or("https");
        let origin = format!("{scheme}://{authority}/");
        let mut config =
            kube::Config::new(origin.parse().map_err(|error| format!("url: {error}"))?);
        config.connect_timeout = Some(TIMEOUT);
        config.read_timeout = Some(TIMEOUT);
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| error.to_string())?;
        let base = url.path().trim_end_matches('/');
        let query = encoded(&probe.query);
        let path = format!("{base}/api/v1/query?query={query}&timeout={SERVER_TIMEOUT}");
        Ok(Self { client, path })
    }

    async fn ask(&self) -> Result<Found, String> {
        let request = http::Request::get(&self.path)
            .header("accept", "application/json")
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self.client.send(request).await;
            let answer = answer.map_err(|error| format!("the server does not answer: {error}"))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?;
            Ok(Found::of_prometheus(status, &body.to_bytes()))
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;

    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String does not fail");
        }
        encoded
    })
}
