//! URLs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::opaque::Opaque;
use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::{MapKey, Value};

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "url" => |args| match &args[0] {
            Value::String(text) => {
                let url = Url::parse(text.as_str()).map_err(|why| {
                    Error::new(format!("URL parse error during conversion from string: {why}"))
                })?;
                Ok(Value::Opaque(Opaque::Url(Arc::new(url))))
            }
            _ => no_overload(),
        },
        "isURL" => |args| match &args[0] {
            Value::String(text) => Ok(Url::parse(text.as_str()).is_ok().into()),
            _ => no_overload(),
        },
        "getScheme" => |args| part(args, |url| &url.scheme),
        "getHost" => |args| part(args, |url| &url.host),
        "getHostname" => |args| part(args, Url::hostname),
        "getPort" => |args| part(args, Url::port),
        "getEscapedPath" => |args| part(args, |url| &url.path),
        "getQuery" => query,
        _ => return None,
    })
}

/// A URL that names a place of its own: with a scheme, or a path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// With the port.
    host: String,
    /// As written.
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let fail = |why: &str| Err(format!("parse {text:?}: {why}"));
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return fail("net/url: invalid control character in URL");
        }
        let rest = text.split_once('#').map_or(text, |(rest, _)| rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (scheme, rest) = match rest.find([':', '/']) {
            Some(at) if rest.as_bytes()[at] == b':' && is_scheme(&rest[..at]) => {
                (rest[..at].to_ascii_lowercase(), &rest[at + 1..])
            }
            Some(0) => (String::new(), rest),
            _ => return fail("invalid URI for request"),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
            None if scheme.is_empty() || rest.starts_with('/') => ("", rest),
            None => return fail("invalid URI for request"),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if !is_host(host) {
            return fail(&format!("invalid character {:?} in host name", " "));
        }
        if !is_escaped(path) {
            return fail("invalid URL escape");
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            path: path.replace(' ', "%20"),
            query: query.to_owned(),
        })
    }

    fn split_host(&self) -> (&str, &str) {
        let end = self.host.rfind(']').map_or(0, |at| at + 1);
        match self.host[end..].rfind(':') {
            Some(at) => (&self.host[..end + at], &self.host[end + at + 1..]),
            None => (&self.host, ""),
        }
    }

    fn hostname(&self) -> &str {
        let host = self.split_host().0;
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn port(&self) -> &str {
        self.split_host().1
    }
}

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_host(host: &str) -> bool {
    let port_start = host.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match host[port_start..].find(':') {
        Some(at) => (&host[..port_start + at], &host[port_start + at + 1..]),
        None => (host, ""),
    };
    let is_sound = |byte: u8| !b" <>\"{}|\\^`".contains(&byte);
    name.bytes().all(is_sound) && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every `%` begins a code of two digits.
fn is_escaped(path: &str) -> bool {
    path.split('%')
        .skip(1)
        .all(|after| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

fn part<'a>(args: &[Value<'a>], get: fn(&Url) -> &str) -> Answer<'a> {
    let Value::Opaque(Opaque::Url(url)) = &args[0] else { return no_overload() };
    Ok(Value::text(get(url)))
}

fn query<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let Value::Opaque(Opaque::Url(url)) = &args[0] else { return no_overload() };
    let mut fields: BTreeMap<MapKey, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let values = fields.entry(MapKey::String(decoded(name).into())).or_default();
        values.push(Value::text(decoded(value)));
    }
    let lists = fields.into_iter().map(|(name, values)| (name, Value::list(values)));
    Ok(Value::map(lists.collect()))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let code: Vec<u8> = rest.by_ref().take(2).collect();
                let code = std::str::from_utf8(&code).ok();
                bytes.extend(code.and_then(|code| u8::from_str_radix(code, 16).ok()));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
