//! How bodies stand on disk: packed where that makes them smaller, so that less is written and read, and with a checksum
//! over all that belongs to the object, so that damage is found however it came about.

use bytes::Bytes;
use crc32fast::Hasher;
use lz4_flex::block::{DecompressError, compress_prepend_size, decompress_size_prepended};

/// First byte of a body; the checksum and the body follow.
const PLAIN: u8 = 1;
/// First byte of a packed body; the checksum, the size when unpacked and an LZ4 block follow.
const PACKED: u8 = 2;
/// First byte of bodies that format 1 wrote, which are JSON objects and nothing else.
const OLD: u8 = b'{';

/// Bodies below this size, in bytes, are not worth the attempt.
const WORTH_IT: usize = 256;

/// What stands on disk beside the body.
pub(super) struct Beside<'a> {
    pub(super) key: [&'a str; 3],
    pub(super) revision: u64,
    pub(super) attributes: &'a [u8],
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is cut off")]
    Short,
    #[error("the checksum does not match")]
    Checksum,
    #[error("unpacking fails: {0}")]
    Packing(#[from] DecompressError),
}

/// Returns the form for the disk.
pub(super) fn pack(body: &[u8], beside: &Beside<'_>) -> Vec<u8> {
    let packed = (body.len() >= WORTH_IT).then(|| compress_prepend_size(body));
    let (form, content) = match &packed {
        Some(packed) if packed.len() < body.len() => (PACKED, packed.as_slice()),
        Some(_) | None => (PLAIN, body),
    };
    let mut stored = Vec::with_capacity(1 + size_of::<u32>() + content.len());
    stored.push(form);
    stored.extend(checksum(content, beside).to_le_bytes());
    stored.extend_from_slice(content);
    stored
}

/// Returns the body.
pub(super) fn unpack(stored: &[u8], beside: &Beside<'_>) -> Result<Bytes, Unreadable> {
    if stored.first() == Some(&OLD) {
        return Ok(Bytes::copy_from_slice(stored));
    }
    let (form, rest) = stored.split_first().ok_or(Unreadable::Short)?;
    let (sum, content) = rest.split_first_chunk().ok_or(Unreadable::Short)?;
    if checksum(content, beside) != u32::from_le_bytes(*sum) {
        return Err(Unreadable::Checksum);
    }
    match *form {
        PACKED => Ok(decompress_size_prepended(content)?.into()),
        PLAIN => Ok(Bytes::copy_from_slice(content)),
        _ => Err(Unreadable::Checksum),
    }
}

fn checksum(content: &[u8], beside: &Beside<'_>) -> u32 {
    let Beside { key, revision, attributes } = beside;
    let mut hasher = Hasher::new();
    for part in key {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.update(&revision.to_le_bytes());
    hasher.update(&attributes.len().to_le_bytes());
    hasher.update(attributes);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BESIDE: Beside<'_> =
        Beside { key: ["pods", "a", "x"], revision: 7, attributes: br#"{"uid":"u"}"# };

    #[test]
    fn what_repeats_itself_gets_smaller() {
        let body = r#"{"name":"SETTING","value":"true"},"#.repeat(50);
        assert!(pack(body.as_bytes(), &BESIDE).len() < body.len() / 4);
    }

    #[test]
    fn a_body_belongs_to_its_object() {
        let stored = pack(b"{}", &BESIDE);
        assert!(unpack(&stored, &BESIDE).is_ok());
        for other in [
            Beside { key: ["pods", "a", "y"], ..BESIDE },
            Beside { key: ["pods", "", "ax"], ..BESIDE },
            Beside { revision: 8, ..BESIDE },
            Beside { attributes: b"{}", ..BESIDE },
        ] {
            assert!(matches!(unpack(&stored, &other), Err(Unreadable::Checksum)));
        }
    }

    #[test]
    fn bodies_of_the_first_format_are_read() {
        assert_eq!(unpack(br#"{"a":1}"#, &BESIDE).expect("it is JSON"), r#"{"a":1}"#);
    }

    proptest! {
        #[test]
        fn every_body_comes_back_and_no_damaged_one(
            words in proptest::collection::vec("[a-z]{1,6}|[0-9a-f]{32}", 0..80),
            at in any::<proptest::sample::Index>(),
            bit in 0u32..8,
        ) {
            let body = format!("{{\"words\":{words:?}}}");
            let mut stored = pack(body.as_bytes(), &BESIDE);
            prop_assert_eq!(unpack(&stored, &BESIDE).expect("it is sound"), body.as_bytes());
            let at = at.index(stored.len());
            stored[at] ^= 1u8 << bit;
            prop_assert!(unpack(&stored, &BESIDE).is_err());
            prop_assert!(unpack(&stored[..at], &BESIDE).is_err());
        }
    }
}
