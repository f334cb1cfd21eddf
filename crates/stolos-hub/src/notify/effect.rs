//! What the controller learns, and what it does: writes, and posts to receivers.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Client;
use kube::api::Api;
use kube::client::Body;
use serde_json::Value;
use stolos_api::update::{
    EventSubscription, Gate, PREVIOUS_SIGNING_SECRET_KEY, SIGNING_SECRET_KEY, UpdateRun,
};
use stolos_controller::{Change, Key, Write};
use stolos_core::notify::Answer;

use super::sign::signatures;

stolos_controller::kinds! {
    "event-subscription-controller";
    Event, EventSubscription, Gate, UpdateRun,
}

/// How long a receiver may take. It should take an event first and act on it afterwards.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Something the controller learns.
pub(super) enum Fact {
    /// An object on the hub.
    Object(Object),
    /// What the receiver of a subscription answered.
    Answer(Key, Answer),
}

macro_rules! facts {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Fact {
            fn from(object: $kind) -> Self {
                Self::Object(object.into())
            }
        })*
    };
}

facts! { EventSubscription, Gate, UpdateRun }

/// Something the controller does.
pub(super) enum Effect {
    /// Writes an object on the hub.
    Write(Write<Object>),
    /// Posts a message.
    Post(Box<Post>),
}

/// A message to post.
pub(super) struct Post {
    pub(super) subscription: Key,
    pub(super) url: String,
    pub(super) signing_secret: String,
    pub(super) ca_bundle: Option<String>,
    pub(super) event_id: String,
    pub(super) attempt: i32,
    pub(super) message: Value,
    pub(super) at: Timestamp,
}

impl stolos_controller::Effect for Effect {
    type Object = Fact;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<Fact>>, kube::Error> {
        match self {
            Self::Write(write) => {
                let known = write.carry_out(client).await?.into_iter();
                Ok(known.map(|change| change.map(Fact::Object)).collect())
            }
            Self::Post(post) => {
                let sent = tokio::time::timeout(TIMEOUT, post.send(client)).await;
                let result = sent
                    .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
                let Post { event_id, attempt, .. } = post.as_ref();
                let answer = Answer { event_id: event_id.clone(), attempt: *attempt, result };
                Ok(vec![Change::Applied(Fact::Answer(post.subscription.clone(), answer))])
            }
        }
    }
}

impl Post {
    /// Posts the message; an error says why it was not taken.
    async fn send(&self, hub: &Client) -> Result<(), String> {
        let secret = self.secret(hub).await?;
        let data = secret.data.unwrap_or_default();
        let keys = [SIGNING_SECRET_KEY, PREVIOUS_SIGNING_SECRET_KEY];
        let secrets: Vec<&[u8]> =
            keys.iter().filter_map(|key| data.get(*key)).map(|key| key.0.as_slice()).collect();
        if !data.contains_key(SIGNING_SECRET_KEY) {
            return Err(format!(
                "secret `{}` has no key `{SIGNING_SECRET_KEY}`",
                self.signing_secret
            ));
        }
        let body = self.message.to_string().into_bytes();
        let seconds = self.at.as_second();
        let url: http::Uri = self.url.parse().map_err(|error| format!("spec.url: {error}"))?;
        let request = http::Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
            .header("content-type", "application/cloudevents+json; charset=utf-8")
            .header("webhook-id", &self.event_id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signatures(&secrets, &self.event_id, seconds, &body))
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        let answer = self.receiver(&url)?.send(request).await.map_err(|error| chain(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("the receiver answered {status}")) }
    }

    async fn secret(&self, hub: &Client) -> Result<Secret, String> {
        let api = Api::<Secret>::namespaced(hub.clone(), &self.subscription.namespace);
        let found = api.get_opt(&self.signing_secret).await;
        let found = found.map_err(|error| format!("failed to read the signing secret: {error}"))?;
        found.ok_or_else(|| format!("secret `{}` does not exist", self.signing_secret))
    }

    /// Returns an HTTP client for the receiver's host. It follows no redirects and knows nothing of the hub's credentials.
    fn receiver(&self, url: &http::Uri) -> Result<Client, String> {
        let authority = url.authority().ok_or("spec.url has no host")?;
        let scheme = url.scheme_str().unwrap_or("https");
        let origin = format!("{scheme}://{authority}/");
        let mut config =
            kube::Config::new(origin.parse().map_err(|error| format!("spec.url: {error}"))?);
        config.connect_timeout = Some(TIMEOUT);
        config.read_timeout = Some(TIMEOUT);
        config.default_retry = false;
        if let Some(bundle) = &self.ca_bundle {
            config.root_cert = Some(certificates(bundle)?);
        }
        Client::try_from(config).map_err(|error| chain(&error))
    }
}

/// Returns the certificates of a PEM text in DER form.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|found| found.map(|certificate| certificate.to_vec()))
        .collect();
    let certificates = certificates.map_err(|error| format!("spec.caBundle: {error}"))?;
    if certificates.is_empty() {
        return Err("spec.caBundle has no certificate".to_owned());
    }
    Ok(certificates)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
