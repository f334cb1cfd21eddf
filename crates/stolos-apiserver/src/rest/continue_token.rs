//! Continue tokens of paged lists. Opaque to clients: where to go on, at which revision, in which list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::status::ApiError;
use crate::store::Key;

/// Where a paged list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContinueToken {
    /// Revision of the first page; `None` goes on at the latest state (an *inconsistent* continuation).
    pub(crate) revision: Option<u64>,
    /// Last key of the previous page.
    pub(crate) after: Key,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
    /// Binds the token to its resource and namespace.
    of: String,
}

const FORMAT: &str = "meta.k8s.io/v1";

impl ContinueToken {
    /// Writes the token for one list; `of` identifies resource and namespace.
    #[must_use]
    pub(crate) fn encode(&self, of: &str) -> String {
        let rv = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        let start = format!("{}/{}", self.after.namespace, self.after.name);
        let wire = Wire { v: FORMAT.to_owned(), rv, start, of: of.to_owned() };
        URL_SAFE_NO_PAD
            .encode(serde_json::to_vec(&wire).expect("strings and numbers always serialise"))
    }

    /// Reads a token that was issued for the same list.
    pub(crate) fn decode(text: &str, of: &str) -> Result<Self, ApiError> {
        let wire: Wire = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| {
                malformed("continue key is not valid: it was not issued by this server")
            })?;
        if wire.v != FORMAT || wire.of != of {
            return Err(malformed("continue key is not valid: it was issued for another list"));
        }
        let (namespace, name) = wire
            .start
            .split_once('/')
            .ok_or_else(|| malformed("continue key is not valid: it names no object"))?;
        Ok(Self {
            revision: u64::try_from(wire.rv).ok(),
            after: Key { namespace: namespace.to_owned(), name: name.to_owned() },
        })
    }
}

fn malformed(why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid continue token: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(revision: Option<u64>) -> ContinueToken {
        ContinueToken { revision, after: Key { namespace: "a".into(), name: "b".into() } }
    }

    #[test]
    fn tokens_survive_the_round_trip() {
        for token in [token(Some(7)), token(None)] {
            assert_eq!(ContinueToken::decode(&token.encode("pods"), "pods").unwrap(), token);
        }
    }

    /// Pitfall: a token of one list that is taken for another shows the wrong objects.
    #[test]
    fn tokens_of_other_lists_and_garbage_are_refused() {
        assert_eq!(
            ContinueToken::decode(&token(Some(7)).encode("pods"), "secrets").unwrap_err().reason,
            "BadRequest"
        );
        assert_eq!(ContinueToken::decode("%%%", "pods").unwrap_err().reason, "BadRequest");
    }
}
