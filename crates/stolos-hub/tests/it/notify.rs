//! Webhooks, end to end: a receiver on a real socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, future};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use stolos_api::update::{EventSubscription, Gate, State, UpdateRun};
use stolos_apiserver::auth::UserInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::mortal::run_until_write;
use crate::updatable::{FLEET, Fleet, NAMESPACE, options};

/// A wait that only a broken build reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver that keeps what it is sent.
#[derive(Clone, Default)]
struct Receiver {
    messages: Arc<watch::Sender<Vec<Message>>>,
    /// How many messages it still refuses.
    refusals: Arc<Mutex<usize>>,
}

#[derive(Clone, Debug)]
struct Message {
    head: String,
    body: Value,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no header {name}: {}", self.head))
    }

    fn told(&self) -> String {
        let text = |key: &str| self.body[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("type").trim_start_matches("dev.stolos.fleet."), text("state"))
    }
}

impl Receiver {
    async fn start(refusals: usize) -> (Self, String) {
        let receiver = Self { refusals: Arc::new(Mutex::new(refusals)), ..Self::default() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/hooks?from=fleet", listener.local_addr().unwrap());
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (receiver, url)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                });
                if body.len() >= length.map_or(0, |length| length.parse::<usize>().unwrap()) {
                    let status = self.take(head, body);
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                    let _gone = stream.write_all(answer.as_bytes()).await;
                    return;
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn take(&self, head: &str, body: &str) -> &'static str {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return "503 Service Unavailable";
        }
        let message = Message { head: head.to_owned(), body: serde_json::from_str(body).unwrap() };
        self.messages.send_modify(|messages| messages.push(message));
        "204 No Content"
    }

    fn messages(&self) -> Vec<Message> {
        self.messages.borrow().clone()
    }

    fn told(&self) -> Vec<String> {
        self.messages().iter().map(Message::told).collect()
    }

    async fn until(&self, told: &str) {
        let mut messages = self.messages.subscribe();
        let arrived = messages.wait_for(|all| all.iter().any(|message| message.told() == told));
        let arrived =
            tokio::time::timeout(PATIENCE, arrived).await.is_ok_and(|found| found.is_ok());
        assert!(arrived, "`{told}` does not arrive: {:#?}", self.told());
    }
}

impl Fleet {
    fn notify(&self) -> JoinHandle<()> {
        tokio::spawn(stolos_hub::notify::run(self.hub.clone(), options()))
    }

    async fn subscribe(&self, name: &str, url: &str, extra: Value) {
        let mut spec = json!({"fleetName": FLEET, "url": url, "signingSecret": {"name": "hook"}});
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let body = json!({ "spec": spec });
        self.create_ours::<EventSubscription>("EventSubscription", name, body).await.unwrap();
    }

    async fn signing_secret(&self) {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "hook", "namespace": NAMESPACE}, "stringData": {"secret": "secret"},
        }))
        .unwrap();
        self.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
    }

    async fn until_ready(&self, name: &str) {
        let ready = |subscription: &EventSubscription| {
            let status = subscription.status.as_ref();
            status.is_some_and(|status| !status.conditions.is_empty())
        };
        self.until(name, ready).await;
    }
}

fn gated() -> Value {
    json!([{
        "name": "first", "groups": [{"name": "all"}],
        "beforeGates": [{"type": "Approval", "displayName": "go ahead"}],
    }])
}

#[tokio::test]
async fn a_receiver_hears_of_a_gate_and_can_trust_what_it_hears() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    fleet.signing_secret().await;
    let (receiver, url) = Receiver::start(2).await;
    fleet.subscribe("hook", &url, json!({})).await;
    fleet.notify();
    fleet.until_ready("hook").await;
    fleet.control();
    fleet.run("weekly", "1.34.1", gated()).await;
    receiver.until("gate.created Pending").await;
    let gate =
        receiver.messages().into_iter().find(|m| m.told() == "gate.created Pending").unwrap();
    assert!(gate.head.starts_with("POST /hooks?from=fleet HTTP/1.1"), "{}", gate.head);
    assert_eq!(gate.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!(gate.body["specversion"], "1.0");
    assert_eq!(gate.header("webhook-id"), gate.body["id"]);
    assert!(gate.header("webhook-signature").starts_with("v1,"));
    assert_eq!(gate.body["data"]["kind"], "Gate");
    assert_eq!(gate.body["data"]["spec"]["displayName"], "go ahead");

    let name = gate.body["data"]["metadata"]["name"].as_str().unwrap().to_owned();
    let id = name.strip_prefix("local.").unwrap();
    fleet.patch::<Gate>(id, json!({"spec": {"state": "Completed"}})).await.unwrap();
    receiver.until("gate.updated Completed").await;
    receiver.until("updaterun.updated Completed").await;
    let run = format!("{FLEET}.weekly");
    fleet.api::<UpdateRun>().delete(&run, &DeleteParams::default()).await.unwrap();
    receiver.until("updaterun.deleted Completed").await;
    receiver.until("gate.deleted Completed").await;

    let ids: std::collections::BTreeSet<String> =
        receiver.messages().iter().map(|m| m.header("webhook-id").to_owned()).collect();
    assert_eq!(
        ids.len(),
        receiver.messages().len(),
        "nothing is told twice: {:#?}",
        receiver.told()
    );
}

#[tokio::test]
async fn nothing_is_lost_when_the_hub_is_killed_anywhere() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    fleet.signing_secret().await;
    let (receiver, url) = Receiver::start(3).await;
    fleet.subscribe("hook", &url, json!({})).await;
    let first = fleet.notify();
    fleet.until_ready("hook").await;
    first.abort();
    fleet.control();
    fleet.run("weekly", "1.34.1", Value::Null).await;
    let server = || fleet.server.as_user(UserInfo::internal("tester"));
    let notify = |client| stolos_hub::notify::run(client, options());
    for n_writes in 1..=20 {
        let told = receiver.until("updaterun.updated Completed");
        if !run_until_write(server(), n_writes, notify, told).await {
            break;
        }
    }
    fleet.notify();
    receiver.until("updaterun.updated Completed").await;
    let told = receiver.told();
    assert_eq!(told.first().map(String::as_str), Some("updaterun.created NotStarted"), "{told:#?}");
    // At least once: what comes again has the id that it had.
    let mut by_id = std::collections::BTreeMap::new();
    for message in receiver.messages() {
        let told = by_id.entry(message.header("webhook-id").to_owned()).or_insert(message.told());
        assert_eq!(*told, message.told());
    }
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_holds_up_nothing_and_is_reported() {
    let fleet = Fleet::start(&[("m1", "all")]).await;
    fleet.signing_secret().await;
    let (receiver, url) = Receiver::start(usize::MAX).await;
    let extra = json!({"maxAttempts": 2, "events": ["UpdateRunCreated"]});
    fleet.subscribe("hook", &url, extra).await;
    fleet.notify();
    fleet.until_ready("hook").await;
    fleet.control();
    fleet.run("weekly", "1.34.1", Value::Null).await;
    let done = |run: &UpdateRun| {
        run.status.as_ref().is_some_and(|status| status.status.state == State::Completed)
    };
    fleet.until("weekly", done).await;
    let given_up = |subscription: &EventSubscription| {
        subscription.status.as_ref().is_some_and(|status| status.dead_lettered == 1)
    };
    let subscription = fleet.until("hook", given_up).await;
    let condition = &subscription.status.as_ref().unwrap().conditions[0];
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "EventGivenUp"));
    assert!(
        condition.message.ends_with("the receiver answered 503 Service Unavailable"),
        "{condition:?}"
    );
    assert_eq!(receiver.told(), [""; 0]);
    let is_report = |event: &Event| {
        event.reason.as_deref() == Some("EventGivenUp")
            && event.involved_object.name == Some(subscription.name_any())
    };
    let events = watcher(fleet.api::<Event>(), watcher::Config::default()).applied_objects();
    let mut reports =
        std::pin::pin!(events.filter(|event| future::ready(event.as_ref().is_ok_and(is_report))));
    assert!(tokio::time::timeout(PATIENCE, reports.next()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_subscription_that_is_written_wrong_is_refused_with_the_field() {
    let fleet = Fleet::start(&[]).await;
    for (field, value, want) in [
        ("url", json!("hooks.example.com"), "spec.url"),
        ("url", json!("ftp://hooks.example.com"), "must be a URL such as https://"),
        ("events", json!(["GateOpened"]), "spec.events[0]: Unsupported value"),
        ("maxAttempts", json!(0), "spec.maxAttempts"),
        ("signingSecret", Value::Null, "spec.signingSecret"),
    ] {
        let mut spec = json!({
            "fleetName": FLEET, "url": "https://hooks.example.com", "signingSecret": {"name": "hook"},
        });
        spec[field] = value;
        let body = json!({ "spec": spec });
        let created = fleet.create_ours::<EventSubscription>("EventSubscription", "bad", body);
        let refused = created.await.unwrap_err().to_string();
        assert!(refused.contains(want), "wanted: {want}\n   got: {refused}");
    }
}
