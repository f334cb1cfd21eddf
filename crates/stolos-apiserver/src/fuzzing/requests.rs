//! What stands in URLs, headers and files: paths, queries, selectors, continue tokens, bearer tokens, kubeconfigs.

use std::sync::LazyLock;

use http::HeaderMap;
use http::header::ACCEPT;
use jiff::Timestamp;
use serde_json::Value;

use super::input::{Input, documents, text};
use crate::auth::token::{PrivateClaims, Reference, TokenSigner};
use crate::auth::user_of_certificate;
use crate::rest::fuzzing as rest;
use crate::selector::{FieldSelector, LabelSelector, Operator};
use crate::serve::kubeconfig;
use crate::store::{Attributes, Key, Pairs};

/// Paths, queries and options are read without a panic; a continue token that was accepted is accepted again when written.
pub(super) fn url(bytes: &[u8]) {
    let bytes = text(bytes);
    let (path, query) = bytes.split_once('?').unwrap_or((&bytes, ""));
    rest::path_and_query(path, query);
    let mut headers = HeaderMap::new();
    if let Ok(value) = query.parse() {
        headers.insert(ACCEPT, value);
    }
    rest::negotiation(&headers);
    rest::continue_token(query);
}

/// A selector that was read reads the same when written; negative operators are the contrary of positive ones.
pub(super) fn selectors(bytes: &[u8]) {
    let bytes = text(bytes);
    let samples: [&[(&str, &str)]; 3] =
        [&[], &[("a", "b"), ("c", "5"), ("x.io/y", "")], &[("a", "-7")]];
    let samples: [Pairs; 3] = samples.map(|labels| labels.iter().copied().collect());
    if let Ok(selector) = LabelSelector::parse(&bytes) {
        let written = selector.to_string();
        assert_eq!(LabelSelector::parse(&written).as_ref(), Ok(&selector), "{written}");
        for labels in &samples {
            let all =
                selector.requirements().iter().all(|r| holds(&r.operator, labels.get(&r.key)));
            assert_eq!(selector.matches(labels), all, "{written} on {labels:?}");
        }
    }
    if let Ok(selector) = FieldSelector::parse(&bytes) {
        let written = selector.to_string();
        assert_eq!(FieldSelector::parse(&written).as_ref(), Ok(&selector), "{written}");
        let key = Key::namespaced("a", "b");
        let _ = selector.matches(&key, &Attributes::default());
        let _ = (selector.name(), selector.namespace(), selector.check(|path| path == "spec.x"));
    }
    let [object] = documents::<1>(bytes.as_bytes());
    let _ = LabelSelector::from_object(&object);
}

/// What each operator means, said a second time.
fn holds(operator: &Operator, value: Option<&str>) -> bool {
    let number = || value.and_then(|value| value.parse::<i64>().ok());
    match operator {
        Operator::Equals(wanted) => value == Some(wanted.as_str()),
        Operator::NotEquals(wanted) => value != Some(wanted.as_str()),
        Operator::In(wanted) => value.is_some_and(|value| wanted.iter().any(|w| w == value)),
        Operator::NotIn(wanted) => !value.is_some_and(|value| wanted.iter().any(|w| w == value)),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
        Operator::LessThan(bound) => number().is_some_and(|number| number < *bound),
    }
}

static SIGNER: LazyLock<TokenSigner> =
    LazyLock::new(|| TokenSigner::generate("https://fuzz").expect("a key can be made"));

/// A token that we did not sign is refused, also when it is one of ours with a changed byte, and certificates are read
/// without a panic. Claims that we did sign are read or refused, whatever they say.
pub(super) fn token(bytes: &[u8]) {
    let _ = user_of_certificate(bytes);
    assert!(SIGNER.verify(&text(bytes)).is_err(), "we have not signed this");
    let [claims] = documents::<1>(bytes);
    if let Ok(verified) = SIGNER.verify(&SIGNER.encode(&claims)) {
        let audiences = ["https://fuzz".to_owned()];
        let _ = verified.check(&audiences, "https://fuzz", Timestamp::UNIX_EPOCH);
    }
    let mut input = Input::new(bytes);
    let account = Reference { name: "a".to_owned(), uid: "u".to_owned() };
    let private = PrivateClaims {
        namespace: "n".to_owned(),
        serviceaccount: account,
        pod: None,
        secret: None,
        node: None,
    };
    let signed = SIGNER.sign(private, &[], Timestamp::UNIX_EPOCH, 600);
    let mut changed = signed.clone().into_bytes();
    let at = (input.below(256) * 256 + input.below(256)) % changed.len();
    changed[at] = input.byte() & 0x7f;
    let changed = text(&changed).into_owned();
    if changed != signed {
        assert!(SIGNER.verify(&changed).is_err(), "{changed} was {signed}");
    }
}

/// Adding a context to any kubeconfig that is understood keeps what was there and can be read again.
pub(super) fn kubeconfig(bytes: &[u8]) {
    let context = kubeconfig::Context {
        name: "ours".to_owned(),
        server: "https://127.0.0.1:1".to_owned(),
        authority: "CA".to_owned(),
        login: kubeconfig::Login::Token("secret".to_owned()),
        namespace: Some("ns".to_owned()),
    };
    let Ok(merged) = kubeconfig::merged(&text(bytes), std::slice::from_ref(&context), Some("ours"))
    else {
        return;
    };
    let again = kubeconfig::merged(&merged, &[context], Some("ours")).expect("what we wrote reads");
    let [first, again]: [Value; 2] =
        [&merged, &again].map(|text| serde_saphyr::from_str(text).expect("what we wrote is YAML"));
    assert_eq!(first, again, "adding a context twice is adding it once");
    let contexts = first["contexts"].as_array().expect("a list");
    assert!(contexts.iter().any(|context| context["name"] == "ours"));
    assert_eq!(first["current-context"], "ours");
}
