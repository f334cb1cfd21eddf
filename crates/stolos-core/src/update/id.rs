//! Names that follow from what they name, so that doing something twice does it once.

use sha2::{Digest, Sha256};

use stolos_api::update::GateTiming;

/// Returns the id of one attempt of a run to upgrade a member.
pub fn operation_id(run_uid: &str, member: &str, attempt: i32) -> String {
    guid(&["operation", run_uid, member, &attempt.to_string()])
}

/// Returns the id of putting a member back to what it was before an attempt of a run to upgrade it.
pub fn rollback_id(run_uid: &str, member: &str, attempt: i32) -> String {
    guid(&["rollback", run_uid, member, &attempt.to_string()])
}

/// Returns the name within its fleet of a gate.
pub fn gate_id(
    run_uid: &str,
    stage: &str,
    group: Option<&str>,
    timing: GateTiming,
    index: usize,
) -> String {
    let timing = match timing {
        GateTiming::Before => "before",
        GateTiming::After => "after",
    };
    guid(&["gate", run_uid, stage, group.unwrap_or(""), timing, &index.to_string()])
}

/// Returns a lower-case GUID (version 8, RFC 9562: made by the vendor's own rule) that depends on every part.
fn guid(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_guids_that_differ_in_every_part() {
        let id = operation_id("uid", "member-1", 1);
        assert_eq!(id.len(), 36);
        assert_eq!(id, operation_id("uid", "member-1", 1));
        assert_ne!(id, operation_id("uid", "member-1", 2));
        assert_ne!(id, operation_id("uid", "member-", 11));
        assert_ne!(id, rollback_id("uid", "member-1", 1));
        assert_ne!(
            gate_id("uid", "a", None, GateTiming::Before, 0),
            gate_id("uid", "a", Some("a"), GateTiming::Before, 0)
        );
    }
}
