//! Who gets a certificate, and when it is renewed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use stolos_api::cluster::InternalMemberCluster;
use stolos_api::network::names::gateway::{CERTIFICATE, REQUEST};

use super::super::gateway::certificate::{Answer, Due, Step, VALIDITY, due, part, step};
use super::{at, deleting, object};

fn internal(name: &str, annotations: &[(&str, String)]) -> InternalMemberCluster {
    let mut internal: InternalMemberCluster = object(json!({
        "metadata": {"name": name, "namespace": "fleet-member-east"}, "spec": {"state": "Join"},
    }));
    let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    internal.metadata.annotations = Some(annotations.collect());
    internal
}

fn answer(since: Timestamp) -> Answer {
    Answer {
        request: "csr".to_owned(),
        problem: None,
        certificate: "certificate".to_owned(),
        authorities: "authorities".to_owned(),
        since,
        until: since + VALIDITY,
    }
}

fn asked() -> (&'static str, String) {
    (REQUEST, "csr".to_owned())
}

fn sign() -> Due {
    Due::Sign { member: "east".to_owned(), request: "csr".to_owned() }
}

#[test]
fn a_member_gets_a_certificate_of_its_own_name_alone() {
    assert_eq!(due(&internal("east", &[asked()]), "authorities", at(0)), sign());
    assert_eq!(due(&internal("east", &[]), "authorities", at(0)), Due::Nothing);
    // Whatever else lies in the namespace of a member speaks for nobody.
    assert_eq!(due(&internal("west", &[asked()]), "authorities", at(0)), Due::Nothing);
    let mut leaving = internal("east", &[asked()]);
    deleting(&mut leaving.metadata);
    assert_eq!(due(&leaving, "authorities", at(0)), Due::Nothing);
    let long = internal("east", &[(REQUEST, "c".repeat(100_000))]);
    let Due::Refuse(refused) = due(&long, "authorities", at(0)) else { panic!("it is too long") };
    assert!(refused.problem.is_some_and(|problem| problem.contains("16384 bytes")));
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_time_and_when_others_are_believed() {
    let answered = internal("east", &[asked(), (CERTIFICATE, answer(at(0)).text())]);
    let renewed_at = at(0) + SignedDuration::from_hours(16);
    let before = renewed_at - SignedDuration::from_secs(1);
    assert_eq!(due(&answered, "authorities", before), Due::Wait(Some(renewed_at)));
    assert_eq!(due(&answered, "authorities", renewed_at), sign());
    assert_eq!(due(&answered, "others too", at(0)), sign());
    let mut other_key = answered.clone();
    other_key.metadata.annotations.as_mut().unwrap().insert(REQUEST.into(), "another".into());
    assert!(matches!(due(&other_key, "authorities", at(0)), Due::Sign { .. }));
    let spoilt = internal("east", &[asked(), (CERTIFICATE, "{".to_owned())]);
    assert_eq!(due(&spoilt, "authorities", at(0)), sign());
    let refused = Answer { problem: Some("no".to_owned()), ..answer(at(0)) };
    let refused = internal("east", &[asked(), (CERTIFICATE, refused.text())]);
    assert_eq!(due(&refused, "others", renewed_at), Due::Wait(None), "it would be refused again");
}

fn secret(parts: &[(&str, &str)]) -> Secret {
    let parts = parts.iter().map(|(name, value)| ((*name).to_owned(), ByteString((*value).into())));
    Secret { data: Some(parts.collect()), ..Secret::default() }
}

#[test]
fn the_agent_makes_a_key_asks_and_keeps_the_answer() {
    let nothing = internal("east", &[]);
    assert_eq!(step(None, &nothing), Step::MakeKey);
    let made = secret(&[(part::KEY, "key"), (part::REQUEST, "csr")]);
    assert_eq!(step(Some(&made), &nothing), Step::Ask("csr".to_owned()));
    assert_eq!(step(Some(&made), &internal("east", &[asked()])), Step::Nothing);
    let answered = internal("east", &[asked(), (CERTIFICATE, answer(at(0)).text())]);
    let Step::Keep(kept) = step(Some(&made), &answered) else { panic!("it is not kept") };
    assert_eq!(kept[part::KEY], ByteString("key".into()));
    assert_eq!(kept[part::CERTIFICATE], ByteString("certificate".into()));
    assert_eq!(kept[part::AUTHORITIES], ByteString("authorities".into()));
    let kept = Secret { data: Some(kept), ..Secret::default() };
    assert_eq!(step(Some(&kept), &answered), Step::Nothing);
    // The answer to another request is not for this key.
    let other = secret(&[(part::KEY, "other"), (part::REQUEST, "another")]);
    assert_eq!(step(Some(&other), &answered), Step::Ask("another".to_owned()));
}

#[test]
fn what_somebody_else_has_put_there_stays() {
    let theirs = secret(&[(part::KEY, "key"), (part::CERTIFICATE, "theirs")]);
    let answered = internal("east", &[asked(), (CERTIFICATE, answer(at(0)).text())]);
    assert_eq!(step(Some(&theirs), &answered), Step::Nothing);
    let mut leaving = internal("east", &[]);
    deleting(&mut leaving.metadata);
    assert_eq!(step(None, &leaving), Step::Nothing);
}
