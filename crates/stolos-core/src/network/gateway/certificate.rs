//! The certificates by which members know each other: who asks for one, who gets one, and when it is renewed.
//!
//! The key of a member never leaves it. Its agent writes a request on the InternalMemberCluster, which only this member
//! and the hub can write, and the hub answers there. The name in a certificate is that of the member in whose namespace
//! the request is, whatever the request says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::{Deserialize, Serialize};
use stolos_api::cluster::InternalMemberCluster;
use stolos_api::network::names::gateway as names;

use super::super::keys;

/// How long a certificate is valid. A member that has left is let in no longer than this.
pub const VALIDITY: SignedDuration = SignedDuration::from_hours(24);
/// Bytes of a request that is looked at; one with the longest name and an RSA key takes a tenth.
const MAX_REQUEST: usize = 16 * 1024;

/// Parts of the Secrets.
pub mod part {
    /// Certificate, as PEM.
    pub const CERTIFICATE: &str = "tls.crt";
    /// Its key, as PEM.
    pub const KEY: &str = "tls.key";
    /// Authorities that are believed, as PEM.
    pub const AUTHORITIES: &str = "ca.crt";
    /// Request for the certificate, as PEM. Only a Secret that the agent made has one.
    pub const REQUEST: &str = "tls.csr";
}

/// What the hub answers to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// The request.
    pub request: String,
    /// Why it gets no certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The certificate.
    pub certificate: String,
    /// The authorities of the fleet.
    pub authorities: String,
    /// From when on it is valid.
    pub since: Timestamp,
    /// Until when it is valid.
    pub until: Timestamp,
}

impl Answer {
    /// Returns what the hub has answered, if that can be read.
    #[must_use]
    pub fn of(internal: &InternalMemberCluster) -> Option<Self> {
        serde_json::from_str(keys::annotation(&internal.metadata, names::CERTIFICATE)?).ok()
    }

    /// Returns what the annotation is to say.
    #[must_use]
    pub fn text(&self) -> String {
        // Texts and times only.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns when a new one is due: after two thirds of its time, so that a hub may be away for hours.
    fn renewed_at(&self) -> Timestamp {
        let life = self.until.duration_since(self.since);
        self.since.saturating_add(life / 3 * 2).unwrap_or(Timestamp::MAX)
    }
}

/// What the hub does about the request of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing is asked, or nobody may be answered.
    Nothing,
    /// It has its answer until then, if that ends.
    Wait(Option<Timestamp>),
    /// Signs it for this member.
    Sign {
        /// The member.
        member: String,
        /// The request.
        request: String,
    },
    /// Says why it is not signed.
    Refuse(Answer),
}

/// Decides about the request of a member. `authorities` are those of the fleet.
#[must_use]
pub fn due(internal: &InternalMemberCluster, authorities: &str, now: Timestamp) -> Due {
    let metadata = &internal.metadata;
    let member = keys::member_of(keys::namespace(metadata));
    let member = member.filter(|member| *member == keys::name(metadata));
    let (Some(member), Some(request)) = (member, keys::annotation(metadata, names::REQUEST)) else {
        return Due::Nothing;
    };
    if keys::is_deleting(metadata) {
        return Due::Nothing;
    }
    if let Some(answer) = Answer::of(internal).filter(|answer| answer.request == request) {
        if answer.problem.is_some() {
            return Due::Wait(None);
        }
        if answer.authorities == authorities && now < answer.renewed_at() {
            return Due::Wait(Some(answer.renewed_at()));
        }
    }
    if request.len() > MAX_REQUEST {
        let problem = format!("the request has more than {MAX_REQUEST} bytes");
        // Not repeated: it is too long for that.
        return Due::Refuse(Answer { problem: Some(problem), ..Answer::default() });
    }
    Due::Sign { member: member.to_owned(), request: request.to_owned() }
}

/// What the agent of a member does about its certificate.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, until something changes.
    Nothing,
    /// There is no Secret: make a key and a request.
    MakeKey,
    /// Write this request on the InternalMemberCluster.
    Ask(String),
    /// Write what the hub has answered into the Secret.
    Keep(BTreeMap<String, ByteString>),
    /// The hub says why there is no certificate.
    Refused(String),
}

/// Decides about the certificate of a member. A Secret that somebody else made is theirs.
#[must_use]
pub fn step(secret: Option<&Secret>, internal: &InternalMemberCluster) -> Step {
    if keys::is_deleting(&internal.metadata) {
        return Step::Nothing;
    }
    let Some(secret) = secret else { return Step::MakeKey };
    let data = secret.data.clone().unwrap_or_default();
    let text = |name| data.get(name).and_then(|part| std::str::from_utf8(&part.0).ok());
    let Some(request) = text(part::REQUEST) else { return Step::Nothing };
    if keys::annotation(&internal.metadata, names::REQUEST) != Some(request) {
        return Step::Ask(request.to_owned());
    }
    let Some(answer) = Answer::of(internal).filter(|answer| answer.request == request) else {
        return Step::Nothing;
    };
    if let Some(problem) = answer.problem {
        return Step::Refused(problem);
    }
    let wanted =
        [(part::CERTIFICATE, &answer.certificate), (part::AUTHORITIES, &answer.authorities)];
    if wanted.iter().all(|(name, value)| text(name) == Some(value)) {
        return Step::Nothing;
    }
    let mut kept = data.clone();
    kept.extend(wanted.map(|(name, value)| (name.to_owned(), ByteString(value.clone().into()))));
    Step::Keep(kept)
}
