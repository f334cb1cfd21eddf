//! Gets a certificate from the hub, by which other members know this one's gateway and its clients.
//!
//! The key stays in a Secret of the member. Nothing here has a clock: the hub renews what it has signed.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use rcgen::{CertificateParams, KeyPair};
use stolos_api::cluster::InternalMemberCluster;
use stolos_api::network::names::gateway as names;
use stolos_core::network::gateway::certificate::{Step, part, step};
use stolos_core::network::gateway::certificate_name;
use tracing::{debug, warn};

use crate::Config;

/// Wait before a write that failed is tried again; it doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The hub or the member did not take a write.
    #[error(transparent)]
    Write(#[from] kube::Error),
    /// A key or a request cannot be made.
    #[error("failed to make a key")]
    Key(#[from] rcgen::Error),
}

/// What is known.
#[derive(Default)]
struct Known {
    secret: Option<Secret>,
    /// Whether the member has told whether there is one.
    has_told: bool,
    internal: Option<InternalMemberCluster>,
    /// What was last said of a request that the hub refused.
    refused: Option<String>,
    /// What was last said of a step that failed.
    failed: Option<String>,
}

/// What is heard.
enum News {
    Secret(Box<watcher::Event<Secret>>),
    Internal(Box<InternalMemberCluster>),
    Nothing,
}

/// Keeps the certificate of a member until the future is dropped.
pub(super) async fn run(config: &Config, namespace: &str) {
    let secrets =
        Api::<Secret>::namespaced(config.member.clone(), &config.network.system_namespace);
    let internals = Api::<InternalMemberCluster>::namespaced(config.hub.clone(), namespace);
    let named =
        |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(0);
    let of_member = watcher(secrets.clone(), named(names::MEMBER_SECRET)).default_backoff();
    let of_member = of_member.map(|event| {
        event.map_or_else(|error| silent(&error), |event| News::Secret(Box::new(event)))
    });
    let of_hub = watcher(internals.clone(), named(&config.name)).default_backoff();
    let of_hub = of_hub.applied_objects().map(|internal| {
        internal.map_or_else(|error| silent(&error), |one| News::Internal(Box::new(one)))
    });
    let mut news = std::pin::pin!(futures::stream::select(of_member, of_hub));
    let (mut known, mut wait, mut is_due) = (Known::default(), FIRST_RETRY, false);
    loop {
        let retry = async {
            if is_due { tokio::time::sleep(wait).await } else { std::future::pending().await }
        };
        tokio::select! {
            heard = news.next() => match heard {
                Some(heard) => known.learn(heard),
                None => return,
            },
            () = retry => {}
        }
        match take_step(&mut known, &config.name, &secrets, &internals).await {
            Ok(()) => {
                (wait, is_due) = (FIRST_RETRY, false);
                known.failed = None;
            }
            Err(error) => {
                let is_conflict = matches!(&error, Error::Write(kube::Error::Api(status)) if status.is_conflict());
                let told = error.to_string();
                let error = &error as &dyn std::error::Error;
                // Others write the same object; the next step sees what they wrote.
                if is_conflict || known.failed.as_ref() == Some(&told) {
                    debug!(error, "the certificate of the member is still not there");
                } else {
                    warn!(error, "the certificate of the member is not there yet");
                }
                known.failed = Some(told);
                (wait, is_due) = ((wait * 2).min(LAST_RETRY), true);
            }
        }
    }
}

fn silent(error: &watcher::Error) -> News {
    debug!(%error, "nothing is heard about the certificate of the member");
    News::Nothing
}

impl Known {
    fn learn(&mut self, news: News) {
        match news {
            News::Secret(event) => match *event {
                watcher::Event::Apply(secret) | watcher::Event::InitApply(secret) => {
                    self.secret = Some(secret);
                }
                watcher::Event::Delete(_) => self.secret = None,
                // A list that leaves it out proves nothing; what exists is not made again.
                watcher::Event::InitDone => self.has_told = true,
                watcher::Event::Init => {}
            },
            News::Internal(internal) => self.internal = Some(*internal),
            News::Nothing => {}
        }
    }
}

async fn take_step(
    known: &mut Known,
    member: &str,
    secrets: &Api<Secret>,
    internals: &Api<InternalMemberCluster>,
) -> Result<(), Error> {
    let Some(internal) = known.internal.as_ref().filter(|_| known.has_told) else {
        return Ok(());
    };
    let params = PostParams::default();
    match step(known.secret.as_ref(), internal) {
        Step::Nothing => {}
        Step::MakeKey => {
            known.secret = Some(secrets.create(&params, &with_key(member)?).await?);
        }
        Step::Ask(request) => {
            let mut asked = internal.clone();
            let annotations = asked.metadata.annotations.get_or_insert_default();
            annotations.insert(names::REQUEST.to_owned(), request);
            known.internal = Some(internals.replace(member, &params, &asked).await?);
        }
        Step::Keep(data) => {
            let secret = known.secret.clone().unwrap_or_default();
            let kept = Secret { data: Some(data), ..secret };
            let replaced = secrets.replace(names::MEMBER_SECRET, &params, &kept).await;
            // It was deleted while nothing was heard of it.
            if matches!(&replaced, Err(kube::Error::Api(status)) if status.is_not_found()) {
                known.secret = None;
            }
            known.secret = Some(replaced?);
        }
        Step::Refused(problem) => {
            if known.refused.as_ref() != Some(&problem) {
                warn!(problem, "the hub gives the member no certificate");
            }
            known.refused = Some(problem);
        }
    }
    Ok(())
}

/// Returns the Secret with a new key and the request for its certificate.
fn with_key(member: &str) -> Result<Secret, rcgen::Error> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new([certificate_name(member)])?;
    let request = params.serialize_request(&key)?.pem()?;
    let mut secret = Secret::default();
    secret.metadata.name = Some(names::MEMBER_SECRET.to_owned());
    let parts = [(part::KEY, key.serialize_pem()), (part::REQUEST, request)];
    let data = parts.map(|(name, value)| (name.to_owned(), ByteString(value.into())));
    secret.data = Some(data.into());
    Ok(secret)
}
