//! The fake's Entra ID: who asks for a token, with what proof, and which tokens are good.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Longest time that an assertion may be good for.
const LONGEST_ASSERTION: i64 = 600;

#[derive(Debug, Default)]
pub(crate) struct Entra {
    base: String,
    /// Forms that got a token.
    pub(crate) forms: Vec<BTreeMap<String, String>>,
    /// How long tokens are said to be good, in seconds.
    pub(crate) expires_in: Value,
    /// By how many seconds its clock is ahead.
    pub(crate) ahead: i64,
    /// The certificate that the application lists; any when absent.
    pub(crate) thumbprint: Option<String>,
    /// Answers that take the place of the next ones.
    pub(crate) script: Vec<(u16, Value)>,
    /// Number of the one token that is good.
    good: u32,
}

impl Entra {
    pub(crate) fn new(base: &str) -> Self {
        Self { base: base.to_owned(), expires_in: json!(3600), ..Self::default() }
    }

    /// No token that was given is good any longer.
    pub(crate) fn revoke(&mut self) {
        self.good += 1;
    }

    pub(crate) fn accepts(&self, authorization: Option<&str>) -> bool {
        authorization == Some(&format!("Bearer token-{}", self.good))
    }

    pub(crate) fn answer(
        &mut self,
        path: &str,
        kind: Option<&str>,
        body: &[u8],
        wrong: &mut Vec<String>,
    ) -> (u16, Value) {
        if !self.script.is_empty() {
            return self.script.remove(0);
        }
        let text = String::from_utf8(body.to_vec()).unwrap();
        let fields = text.split('&').map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), decoded(value))
        });
        let form: BTreeMap<String, String> = fields.collect();
        for (is, wanted) in [
            (path, "/tenant/oauth2/v2.0/token"),
            (kind.unwrap_or_default(), "application/x-www-form-urlencoded"),
            (&*form["grant_type"], "client_credentials"),
            (&*form["client_id"], "app"),
            (&*form["scope"], &format!("{}/.default", self.base)),
        ] {
            if is != wanted {
                wrong.push(format!("token: {is}, not {wanted}"));
            }
        }
        if let Some(refusal) = self.refusal(&form, wrong) {
            return (401, refusal);
        }
        self.forms.push(form);
        self.good += 1;
        let token = format!("token-{}", self.good);
        (200, json!({"token_type": "Bearer", "access_token": token, "expires_in": self.expires_in}))
    }

    fn refusal(&self, form: &BTreeMap<String, String>, wrong: &mut Vec<String>) -> Option<Value> {
        let Some(assertion) = form.get("client_assertion") else {
            return (form["client_secret"] != "s&cret").then(|| {
                refused(7_000_215, "Invalid client secret provided. Is it \"the value\"?")
            });
        };
        let of_assertion = &form["client_assertion_type"];
        if of_assertion != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            wrong.push(format!("token: assertion of type {of_assertion}"));
        }
        // A federated token is not ours to look into.
        let (header, claims) = parts(assertion)?;
        let number = |claim: &str| claims[claim].as_i64().unwrap();
        let now = Timestamp::now().as_second() + self.ahead;
        if self.thumbprint.as_ref().is_some_and(|listed| header["x5t#S256"] != **listed) {
            return Some(refused(700_027, "The certificate is not registered on application."));
        }
        if number("exp") - number("nbf") > LONGEST_ASSERTION {
            wrong.push(format!("token: assertion for too long: {claims}"));
        }
        (now < number("nbf") || now >= number("exp"))
            .then(|| refused(700_024, "Client assertion is not within its valid time range."))
    }
}

/// Returns header and claims of a signed assertion.
pub(crate) fn parts(assertion: &str) -> Option<(Value, Value)> {
    let mut parts = assertion.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    Some((parts.next()??, parts.next()??))
}

/// As Entra words it, line breaks included.
fn refused(code: u32, words: &str) -> Value {
    json!({
        "error": "invalid_client", "error_codes": [code],
        "error_description": format!("AADSTS{code}: {words}\r\nTrace ID: 1\r\nTimestamp: 2026-01-01 00:00:00Z"),
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        match first {
            b'%' => {
                let hex = std::str::from_utf8(&tail[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &tail[2..];
            }
            b'+' => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
