//! A fake of Azure's resource manager and of Entra ID that checks every request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::entra::Entra;

pub(crate) const SUBSCRIPTION: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";
pub(crate) const ID: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/c";
const API_VERSION: &str = "2026-06-01";

/// Number of an operation that nobody knows.
const FORGOTTEN: u32 = 404;

/// An answer that takes the place of the usual one.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    /// Beginning of `METHOD path`.
    pub(crate) request: String,
    pub(crate) times: u32,
    pub(crate) status: u16,
    pub(crate) retry_after: Option<&'static str>,
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    base: String,
    pub(crate) cluster: Value,
    pub(crate) newest_image: String,
    /// What pools had lately, as their upgrade profiles tell.
    pub(crate) recent: Value,
    pub(crate) maintenance: Value,
    pub(crate) script: Vec<Scripted>,
    /// Writes that were accepted, in order.
    pub(crate) writes: Vec<String>,
    /// Their bodies, where they had one.
    pub(crate) bodies: Vec<Value>,
    /// Everything that was asked, as `METHOD path`.
    pub(crate) requests: Vec<String>,
    /// Requests that Azure would not understand.
    pub(crate) wrong: Vec<String>,
    pub(crate) entra: Entra,
    /// The next long operation ends like this, with `status`, and the cluster then has this state.
    pub(crate) fail_next: Option<(Value, &'static str)>,
    /// How long operations are announced.
    pub(crate) announced: Announced,
    /// Somebody else sets a tag before the next write of the cluster is looked at.
    pub(crate) meanwhile: Option<&'static str>,
    operations: BTreeMap<u32, Operation>,
}

/// How Azure says where a long operation can be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Announced {
    #[default]
    Here,
    /// Not at all.
    Nowhere,
    /// At a place that is not the resource manager's.
    Elsewhere,
    /// At a place that is forgotten at once, but the operation ends.
    Forgotten,
}

#[derive(Clone, Debug)]
struct Operation {
    looks: u32,
    effect: Effect,
    failure: Option<(Value, &'static str)>,
}

#[derive(Clone, Debug)]
enum Effect {
    Cluster(String),
    Pool(String, String),
    Image(String),
    Back(String, String),
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) base: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let pool = |name: &str, mode: &str| {
            json!({
                "name": name, "mode": mode, "osType": "Linux", "orchestratorVersion": "1.33.4",
                "currentOrchestratorVersion": "1.33.4", "nodeImageVersion": "AKSUbuntu-2204gen2containerd-202507.1.0",
                "provisioningState": "Succeeded", "eTag": format!("{name}-1"), "powerState": {"code": "Running"},
                "upgradeSettings": {"maxSurge": "33%", "drainTimeoutInMinutes": 30}, "fieldOfTomorrow": [1, {"deep": null}],
            })
        };
        let cluster = json!({
            "id": ID, "name": "c", "type": "Microsoft.ContainerService/ManagedClusters", "location": "north", "eTag": "c-1",
            "tags": {"team": "a"}, "systemData": {"createdBy": "somebody"}, "zones": ["1"],
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/i": {"principalId": "p"}}},
            "properties": {
                "fqdn": "c.example", "nodeResourceGroup": "MC_rg", "fieldOfTomorrow": {"kept": [1.5]},
                "autoUpgradeProfile": {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"},
                "upgradeSettings": {"overrideSettings": {"forceUpgrade": false}},
                "kubernetesVersion": "1.33.4", "currentKubernetesVersion": "1.33.4",
                "provisioningState": "Succeeded", "powerState": {"code": "Running"},
                "dnsPrefix": "kept", "agentPoolProfiles": [pool("apps", "User"), pool("sys", "System")],
            },
        });
        let state = State {
            base: base.clone(),
            entra: Entra::new(&base),
            cluster,
            newest_image: "AKSUbuntu-2204gen2containerd-202508.1.0".into(),
            maintenance: json!({"value": []}),
            ..State::default()
        };
        let fake = Self { base, state: Arc::new(Mutex::new(state)) };
        tokio::spawn(fake.clone().serve(listener));
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns the accepted writes; every request so far must have been right.
    pub(crate) fn writes(&self) -> Vec<String> {
        let state = self.state();
        assert!(state.wrong.is_empty(), "{:#?}", state.wrong);
        state.writes.clone()
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let fake = self.clone();
            let service = service_fn(move |request| {
                let fake = fake.clone();
                async move { Ok::<_, std::convert::Infallible>(fake.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut state = self.state();
        let path = parts.uri.path().to_owned();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        if path.ends_with("/oauth2/v2.0/token") {
            let State { entra, wrong, .. } = &mut *state;
            let (status, answer) = entra.answer(&path, header("content-type"), &body, wrong);
            return reply(status, &answer);
        }
        let asked = format!("{} {path}", parts.method);
        state.requests.push(asked.clone());
        if parts.uri.query() != Some(&format!("api-version={API_VERSION}")) {
            state.wrong.push(format!("{asked}: query {:?}", parts.uri.query()));
        }
        let kind = (parts.method == "PUT").then_some("application/json");
        if header("content-type") != kind || (parts.method == "GET" && !body.is_empty()) {
            state.wrong.push(format!("{asked}: content of type {:?}", header("content-type")));
        }
        if !state.entra.accepts(header("authorization")) {
            return refuse(401, "InvalidAuthenticationToken");
        }
        if let Some(index) = state.script.iter().position(|s| asked.starts_with(&s.request)) {
            let scripted = state.script[index].clone();
            state.script[index].times -= 1;
            if scripted.times == 1 {
                state.script.remove(index);
            }
            let mut answer = reply(scripted.status, &scripted.body);
            if let Some(wait) = scripted.retry_after {
                answer.headers_mut().insert("retry-after", wait.parse().unwrap());
            }
            return answer;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (n, sent) = (state.writes.len(), body.clone());
        let answer = state.resource_manager(&asked, &path, header("if-match"), body);
        if state.writes.len() > n && !sent.is_null() {
            state.bodies.push(sent);
        }
        answer
    }
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn refuse(status: u16, code: &str) -> Response<Full<Bytes>> {
    reply(status, &json!({"error": {"code": code, "message": format!("{code} says the fake")}}))
}

impl State {
    fn resource_manager(
        &mut self,
        asked: &str,
        path: &str,
        if_match: Option<&str>,
        body: Value,
    ) -> Response<Full<Bytes>> {
        let operations = format!(
            "{SUBSCRIPTION}/providers/Microsoft.ContainerService/locations/north/operations/"
        );
        if let Some(number) = path.strip_prefix(&operations) {
            return self.operation(number.parse().unwrap());
        }
        let Some(rest) =
            asked.split_once(ID).map(|(method, rest)| format!("{}{rest}", method.trim()))
        else {
            if asked
                == format!(
                    "GET {SUBSCRIPTION}/providers/Microsoft.ContainerService/locations/north/kubernetesVersions"
                )
            {
                return reply(
                    200,
                    &json!({"values": [
                        {"version": "1.30", "capabilities": {"supportPlan": ["AKSLongTermSupport"]}, "patchVersions": {"1.30.9": {}}},
                        {"version": "1.34", "capabilities": {"supportPlan": ["KubernetesOfficial"]}, "patchVersions": {"1.34.1": {}}},
                    ]}),
                );
            }
            self.wrong.push(asked.to_owned());
            return refuse(404, "NotFound");
        };
        match rest.split('/').collect::<Vec<_>>()[..] {
            ["GET"] => {
                if self.announced != Announced::Here {
                    self.finish_all();
                }
                reply(200, &self.cluster)
            }
            ["GET", "upgradeProfiles", "default"] => reply(
                200,
                &json!({"properties": {"controlPlaneProfile": {"upgrades": [
                    {"kubernetesVersion": "1.34.1"}, {"kubernetesVersion": "1.34.2", "isPreview": true},
                ]}}}),
            ),
            ["GET", "maintenanceConfigurations"] => reply(200, &self.maintenance),
            ["GET", "agentPools", name] => {
                reply(200, &json!({"name": name, "properties": self.pool(name)}))
            }
            ["GET", "agentPools", _, "upgradeProfiles", "default"] => reply(
                200,
                &json!({"properties": {
                    "latestNodeImageVersion": self.newest_image, "recentlyUsedVersions": self.recent,
                }}),
            ),
            ["PUT"] => {
                let changed = self.meanwhile.take();
                if let Some(team) = changed {
                    self.cluster["tags"]["team"] = json!(team);
                    self.cluster["eTag"] = json!(format!("c-{team}"));
                    return refuse(412, "EtagMismatch");
                }
                let version =
                    body["properties"]["kubernetesVersion"].as_str().unwrap_or_default().to_owned();
                let mut expected = self.cluster.clone();
                expected["properties"]["kubernetesVersion"] = json!(version);
                if body != expected {
                    self.wrong.push(format!("{asked}: body {body}"));
                }
                let etag = self.cluster["eTag"].as_str().unwrap().to_owned();
                self.accept(
                    format!("cluster {version}"),
                    if_match,
                    Some(etag),
                    Effect::Cluster(version),
                )
            }
            ["PUT", "agentPools", name] => {
                let version = body["properties"]["orchestratorVersion"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let mut expected = json!({"name": name, "properties": self.pool(name)});
                expected["properties"]["orchestratorVersion"] = json!(version);
                // Another image asks for the pool to go back; see below.
                expected["properties"]["nodeImageVersion"] =
                    body["properties"]["nodeImageVersion"].clone();
                if body != expected {
                    self.wrong.push(format!("{asked}: body {body}"));
                }
                let etag = self.pool(name)["eTag"].as_str().unwrap().to_owned();
                let image = body["properties"]["nodeImageVersion"].as_str().unwrap_or_default();
                if self.pool(name)["nodeImageVersion"] != image {
                    let effect = Effect::Back(name.to_owned(), image.to_owned());
                    return self.accept(
                        format!("pool {name} {image}"),
                        if_match,
                        Some(etag),
                        effect,
                    );
                }
                let effect = Effect::Pool(name.to_owned(), version.clone());
                self.accept(format!("pool {name} {version}"), if_match, Some(etag), effect)
            }
            ["POST", "agentPools", name, "upgradeNodeImageVersion"] => {
                if !body.is_null() {
                    self.wrong.push(format!("{asked}: body {body}"));
                }
                self.accept(format!("image {name}"), if_match, None, Effect::Image(name.to_owned()))
            }
            _ => {
                self.wrong.push(asked.to_owned());
                refuse(404, "NotFound")
            }
        }
    }

    fn pool(&mut self, name: &str) -> &mut Value {
        let pools = self.cluster["properties"]["agentPoolProfiles"].as_array_mut().unwrap();
        pools.iter_mut().find(|pool| pool["name"] == name).unwrap()
    }

    fn accept(
        &mut self,
        what: String,
        if_match: Option<&str>,
        etag: Option<String>,
        effect: Effect,
    ) -> Response<Full<Bytes>> {
        if self.operations.values().any(|operation| operation.looks > 0) {
            return refuse(409, "OperationNotAllowed");
        }
        if if_match != etag.as_deref() {
            self.wrong.push(format!("{what}: If-Match {if_match:?}, not {etag:?}"));
            return refuse(412, "EtagMismatch");
        }
        self.writes.push(what);
        self.cluster["properties"]["provisioningState"] = json!("Upgrading");
        let number = u32::try_from(self.operations.len()).unwrap();
        let failure = self.fail_next.take();
        self.operations.insert(number, Operation { looks: 3, effect, failure });
        let (host, number) = match self.announced {
            Announced::Here => (&*self.base, number),
            Announced::Nowhere | Announced::Elsewhere => ("https://elsewhere.invalid", number),
            Announced::Forgotten => (&*self.base, FORGOTTEN),
        };
        let url = format!(
            "{host}{SUBSCRIPTION}/providers/Microsoft.ContainerService/locations/north/operations/{number}?api-version={API_VERSION}",
        );
        let mut answer = reply(202, &json!({}));
        if self.announced != Announced::Nowhere {
            answer.headers_mut().insert("azure-asyncoperation", url.parse().unwrap());
        }
        answer.headers_mut().insert("retry-after", "1".parse().unwrap());
        answer
    }

    fn operation(&mut self, number: u32) -> Response<Full<Bytes>> {
        if number == FORGOTTEN {
            return refuse(404, "NotFound");
        }
        let operation = self.operations.get_mut(&number).unwrap();
        operation.looks = operation.looks.saturating_sub(1);
        if operation.looks > 0 {
            let mut answer = reply(200, &json!({"status": "InProgress"}));
            answer.headers_mut().insert("retry-after", "1".parse().unwrap());
            return answer;
        }
        let Operation { effect, failure, .. } = operation.clone();
        if let Some((ending, state)) = failure {
            self.cluster["properties"]["provisioningState"] = json!(state);
            return reply(200, &ending);
        }
        self.finish(&effect);
        reply(200, &json!({"status": "Succeeded"}))
    }

    /// Brings the effect of all that was accepted, as if its operations had ended unseen.
    pub(crate) fn finish_all(&mut self) {
        for operation in
            self.operations.clone().into_values().filter(|operation| operation.looks > 0)
        {
            self.finish(&operation.effect);
        }
        self.operations.values_mut().for_each(|operation| operation.looks = 0);
    }

    fn finish(&mut self, effect: &Effect) {
        let newest = self.newest_image.clone();
        self.cluster["properties"]["provisioningState"] = json!("Succeeded");
        self.cluster["eTag"] = json!(format!("{}+", self.cluster["eTag"].as_str().unwrap()));
        match effect {
            Effect::Cluster(version) => {
                self.cluster["properties"]["kubernetesVersion"] = json!(version);
                self.cluster["properties"]["currentKubernetesVersion"] = json!(version);
            }
            Effect::Pool(name, version) => {
                let pool = self.pool(name);
                pool["orchestratorVersion"] = json!(version);
                pool["currentOrchestratorVersion"] = json!(version);
            }
            Effect::Image(name) => self.pool(name)["nodeImageVersion"] = json!(newest),
            Effect::Back(name, image) => self.pool(name)["nodeImageVersion"] = json!(image),
        }
    }
}
