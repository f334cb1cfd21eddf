use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::auth::token::PrivateClaims;
use crate::store::{Attributes, Change, Expect, Store, Write};

const ISSUER: &str = "https://test";

struct World {
    store: ClusterStore,
    signer: Arc<TokenSigner>,
    authenticator: Authenticator,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let store = Store::memory().cluster("hub").unwrap();
        let signer = Arc::new(TokenSigner::generate(ISSUER).unwrap());
        let clock = Clock::tokio(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000));
        let authenticator = Authenticator::new(store.clone(), signer.clone(), clock.clone());
        Self { store, signer, authenticator, clock }
    }

    async fn create(&self, resource: &str, name: &str, uid: &str, data: Value) {
        let object =
            json!({"metadata": {"namespace": "ns", "name": name, "uid": uid}, "data": data});
        let attributes = Attributes::of(&object);
        self.commit(resource, name, Expect::Absent, Change::Put(object, attributes)).await;
    }

    async fn delete(&self, resource: &str, name: &str) {
        let version = self.store.get(&resource.into(), &Key::namespaced("ns", name)).unwrap();
        let change = Change::Delete(version.object(), version.attributes.clone());
        self.commit(resource, name, Expect::Revision(version.revision), change).await;
    }

    async fn commit(&self, resource: &str, name: &str, expect: Expect, change: Change) {
        let key = Key::namespaced("ns", name);
        let write = Write { resource: resource.into(), key, expect, change, requires: None };
        self.store.commit(write).await.unwrap();
    }

    fn token(&self, secret: Option<Reference>) -> String {
        let serviceaccount = Reference { name: "robot".to_owned(), uid: "u1".to_owned() };
        let namespace = "ns".to_owned();
        let claims = PrivateClaims { namespace, serviceaccount, pod: None, secret, node: None };
        self.signer.sign(claims, &[ISSUER.to_owned()], self.clock.now(), 600)
    }

    fn who(&self, authorization: &str) -> Option<String> {
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(authorization).unwrap())]);
        self.authenticator.authenticate(&headers, None).ok().map(|user| user.name)
    }
}

#[tokio::test]
async fn a_request_without_credentials_is_anonymous() {
    let world = World::new();
    let user = world.authenticator.authenticate(&HeaderMap::new(), Some(&Peer::default())).unwrap();
    assert_eq!(user, UserInfo::anonymous());
    assert_eq!(world.who("Basic YTpi").as_deref(), Some("system:anonymous"));
}

#[tokio::test]
async fn wrong_credentials_are_refused_rather_than_ignored() {
    let world = World::new();
    assert_eq!(world.who("Bearer nonsense"), None);
    assert_eq!(
        world.who(&format!("Bearer {}", world.token(None))),
        None,
        "there is no such service account"
    );
}

#[tokio::test]
async fn a_client_certificate_wins_over_a_token() {
    let world = World::new();
    let peer = Peer { address: None, certificate: Some(UserInfo::authenticated("ann", &[])) };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
    assert_eq!(world.authenticator.authenticate(&headers, Some(&peer)).unwrap().name, "ann");
}

#[tokio::test]
async fn static_tokens_come_and_go() {
    let world = World::new();
    world.authenticator.add_static_token("secret", UserInfo::authenticated("joiner", &[]));
    assert_eq!(world.who("bearer secret").as_deref(), Some("joiner"));
    world.authenticator.remove_static_token("secret");
    assert_eq!(world.who("bearer secret"), None);
}

#[tokio::test(start_paused = true)]
async fn a_service_account_token_dies_with_its_time() {
    let world = World::new();
    world.create("serviceaccounts", "robot", "u1", Value::Null).await;
    let bearer = format!("Bearer {}", world.token(None));
    assert_eq!(world.who(&bearer).as_deref(), Some("system:serviceaccount:ns:robot"));
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    assert_eq!(world.who(&bearer), None);
}

#[tokio::test]
async fn a_service_account_token_dies_with_its_account_and_its_secret() {
    let world = World::new();
    world.create("serviceaccounts", "robot", "u1", Value::Null).await;
    world.create("secrets", "bound", "s1", Value::Null).await;
    let bound = Reference { name: "bound".to_owned(), uid: "s1".to_owned() };
    let (bearer, other) =
        (format!("Bearer {}", world.token(Some(bound))), format!("Bearer {}", world.token(None)));
    assert!(world.who(&bearer).is_some());
    world.delete("secrets", "bound").await;
    assert_eq!(world.who(&bearer), None);
    assert!(world.who(&other).is_some());

    world.delete("serviceaccounts", "robot").await;
    world.create("serviceaccounts", "robot", "u2", Value::Null).await;
    assert_eq!(world.who(&other), None, "the account of that name is another one");
}

#[tokio::test]
async fn a_token_from_a_secret_is_good_while_the_secret_holds_it() {
    use base64::Engine;
    let world = World::new();
    world.create("serviceaccounts", "robot", "u1", Value::Null).await;
    let account = Reference { name: "robot".to_owned(), uid: "u1".to_owned() };
    let token = world.signer.sign_legacy("ns", &account, "robot-token");
    let bearer = format!("Bearer {token}");
    assert_eq!(world.who(&bearer), None);
    let data = json!({"token": base64::engine::general_purpose::STANDARD.encode(&token)});
    world.create("secrets", "robot-token", "s1", data).await;
    assert_eq!(world.who(&bearer).as_deref(), Some("system:serviceaccount:ns:robot"));
    world.delete("secrets", "robot-token").await;
    assert_eq!(world.who(&bearer), None);
}
