//! The webhook server of a script: its steps say how the webhooks answer, and show what they were asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::hooks::{Answer, Hooks, respond};

/// How a webhook answers, and the text that says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) manner: Manner,
    pub(crate) body: String,
}

/// The manners of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The body is the `response` of an admission review; a patch in it is written as a list.
    Review,
    /// The body is the answer itself; `$uid` stands for the uid of the request.
    Verbatim,
    /// With a status code and the body.
    Status(u16),
    /// The body has a JSON patch for each version that objects may be converted to.
    Converting,
    /// Not at all.
    Never,
}

/// A webhook server whose answers can be changed.
pub(crate) struct ScriptHooks {
    server: Hooks,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
}

impl ScriptHooks {
    /// Starts a server whose webhooks do not answer yet.
    pub(crate) async fn start() -> Self {
        let replies: Arc<Mutex<HashMap<String, Reply>>> = Arc::default();
        let own = Arc::clone(&replies);
        let server = Hooks::start(move |path, review| {
            let reply = own.lock().unwrap().get(path).cloned();
            reply.map_or_else(
                || Answer::Status(404, "no such webhook".to_owned()),
                |reply| reply.to(review),
            )
        });
        Self { server: server.await, replies }
    }

    /// `https://127.0.0.1:port`.
    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// Certificate of the authority, as `caBundle` wants it.
    pub(crate) fn bundle(&self) -> &str {
        &self.server.bundle
    }

    /// Says how a webhook answers from this moment on.
    pub(crate) fn answer(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget(&self) {
        self.server.take();
    }

    /// Returns what was asked since it was last forgotten.
    pub(crate) fn asked(&self) -> Value {
        let asked = self.server.take().into_iter();
        asked
            .map(|asked| json!({"path": asked.path, "query": asked.query, "review": asked.review}))
            .collect()
    }
}

impl Reply {
    fn to(&self, review: &Value) -> Answer {
        let body = || -> Value { serde_json::from_str(&self.body).unwrap() };
        match self.manner {
            Manner::Never => Answer::Never,
            Manner::Status(code) => Answer::Status(code, self.body.clone()),
            Manner::Verbatim => {
                let uid = review["request"]["uid"].as_str().unwrap_or_default();
                Answer::Status(200, self.body.replace("$uid", uid))
            }
            Manner::Review => {
                let mut response = body();
                if response["patch"].is_array() {
                    let patch = response["patch"].to_string();
                    response["patch"] =
                        base64::engine::general_purpose::STANDARD.encode(patch).into();
                }
                respond(review, response)
            }
            Manner::Converting => {
                let result = json!({"status": "Success"});
                let objects = converted(&review["request"], &body());
                respond(review, json!({"result": result, "convertedObjects": objects}))
            }
        }
    }
}

/// Returns the objects of a conversion in the version that is wanted.
fn converted(request: &Value, patches: &Value) -> Vec<Value> {
    let to = &request["desiredAPIVersion"];
    let patch = &patches[to.as_str().unwrap_or_default()];
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
    let objects = request["objects"].as_array().into_iter().flatten();
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = to.clone();
        // What an operation does not find is not there to be converted.
        for operation in &patch.0 {
            let _ = json_patch::patch(&mut object, std::slice::from_ref(operation));
        }
        object
    };
    objects.map(convert).collect()
}

#[test]
fn objects_are_converted_by_the_patch_of_the_wanted_version() {
    let request = json!({"desiredAPIVersion": "a/v2", "objects": [
        {"apiVersion": "a/v1", "spec": {"size": 1}}, {"apiVersion": "a/v1", "spec": {}},
    ]});
    let patches = json!({"a/v2": [{"op": "move", "from": "/spec/size", "path": "/spec/length"}]});
    let want = [
        json!({"apiVersion": "a/v2", "spec": {"length": 1}}),
        json!({"apiVersion": "a/v2", "spec": {}}),
    ];
    assert_eq!(converted(&request, &patches), want);
}
