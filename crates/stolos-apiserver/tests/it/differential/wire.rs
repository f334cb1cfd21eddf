//! Protobuf bodies of scripts: fields as `number value`, where a value is a string, a whole number or `{ … }`.
//!
//! The runner wraps the message in the envelope that Kubernetes clients send, so a script shows only what is asked.

use bytes::{BufMut, BytesMut};

const MAGIC: &[u8] = b"k8s\0";

/// Returns the envelope around a message that is given as wire text.
pub(crate) fn envelope(api_version: &str, kind: &str, text: &str) -> Result<Vec<u8>, String> {
    let mut type_meta = BytesMut::new();
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut unknown = BytesMut::from(MAGIC);
    put_bytes(&mut unknown, 1, &type_meta);
    put_bytes(&mut unknown, 2, &encode(text)?);
    Ok(unknown.to_vec())
}

/// Encodes wire text.
pub(crate) fn encode(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text.trim_start();
    let mut message = BytesMut::new();
    fields(&mut rest, &mut message)?;
    if rest.is_empty() { Ok(message.to_vec()) } else { Err(format!("`{rest}` closes nothing")) }
}

fn fields(rest: &mut &str, message: &mut BytesMut) -> Result<(), String> {
    while !rest.is_empty() && !rest.starts_with('}') {
        let number = number(rest)?;
        if let Some(inner) = rest.strip_prefix('{') {
            *rest = inner.trim_start();
            let mut nested = BytesMut::new();
            fields(rest, &mut nested)?;
            *rest = rest.strip_prefix('}').ok_or("a `{` is not closed")?.trim_start();
            put_bytes(message, number, &nested);
        } else if rest.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let string = strings.next().and_then(Result::ok).ok_or("a string is not closed")?;
            let read = strings.byte_offset();
            *rest = rest.get(read..).unwrap_or_default().trim_start();
            put_bytes(message, number, string.as_bytes());
        } else {
            let value = self::number(rest)?;
            put_varint(message, number << 3);
            put_varint(message, value);
        }
    }
    Ok(())
}

fn number(rest: &mut &str) -> Result<u64, String> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let number = digits.parse().map_err(|_| format!("a number is missing before `{rest}`"))?;
    *rest = after.trim_start();
    Ok(number)
}

fn put_bytes(message: &mut BytesMut, number: u64, bytes: &[u8]) {
    put_varint(message, number << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.put_slice(bytes);
}

fn put_varint(message: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        message.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    message.put_u8(u8::try_from(value).unwrap_or_default());
}

#[test]
fn wire_text_becomes_fields() {
    assert_eq!(
        encode("1 \"ab\" 2 300 3 { 1 1 }").unwrap(),
        b"\x0a\x02ab\x10\xac\x02\x1a\x02\x08\x01"
    );
    assert!(encode("1 { 2 3").unwrap_err().contains("not closed"));
    assert!(encode("x").unwrap_err().contains("number is missing"));
}
