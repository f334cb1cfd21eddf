//! The little of HTTP/1 that a pod speaks: whatever is asked, it says who it is.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connection::within;

/// Bytes of a request line or header line; longer ones are refused.
const MAX_LINE: usize = 8 * 1024;
/// Lines of the head of a request.
const MAX_LINES: usize = 128;
/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// Methods whose requests are answered. A client that begins otherwise does not speak HTTP.
const METHODS: [&str; 8] =
    ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "TRACE "];

/// Tells whether first bytes are those of a request of HTTP/1; nothing if more of them must be seen.
pub(super) fn looks_like_request(bytes: &[u8]) -> Option<bool> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let begins =
        |method: &&str| line.starts_with(method.as_bytes()) || method.as_bytes().starts_with(line);
    if line.len() > MAX_LINE || !METHODS.iter().any(begins) {
        return Some(false);
    }
    end.map(|_| version(line).is_some())
}

/// Returns the minor version that a request line asks for.
fn version(line: &[u8]) -> Option<u8> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let minor = |suffix: &[u8]| line.ends_with(suffix);
    match (minor(b" HTTP/1.0"), minor(b" HTTP/1.1")) {
        (true, _) => Some(0),
        (false, true) => Some(1),
        (false, false) => None,
    }
}

/// What a request asks for, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    wants_body: bool,
    minor_version: u8,
    keep_alive: bool,
    waits_for_continue: bool,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

impl Request {
    /// Reads the head of a request; nothing if it is not one.
    fn read(lines: &[String]) -> Option<Self> {
        let (first, headers) = lines.split_first()?;
        let minor_version = version(first.as_bytes())?;
        let mut request = Self {
            wants_body: !first.starts_with("HEAD "),
            minor_version,
            keep_alive: minor_version > 0,
            waits_for_continue: false,
            body: Body::Length(0),
        };
        for header in headers {
            let (name, value) = header.split_once(':')?;
            let value = value.trim().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_str() {
                "connection" if value.contains("close") => request.keep_alive = false,
                "connection" if value.contains("keep-alive") => request.keep_alive = true,
                "content-length" if request.body != Body::Chunked => {
                    request.body = Body::Length(value.parse().ok()?);
                }
                "transfer-encoding" if value.ends_with("chunked") => request.body = Body::Chunked,
                "expect" => request.waits_for_continue = value == "100-continue",
                _ => {}
            }
        }
        Some(request)
    }

    fn answer(&self, text: &str) -> String {
        let length = text.len();
        let connection = match (self.keep_alive, self.minor_version) {
            (false, _) => "connection: close\r\n",
            (true, 0) => "connection: keep-alive\r\n",
            (true, _) => "",
        };
        let text = if self.wants_body { text } else { "" };
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n{connection}\r\n{text}"
        )
    }
}

/// Answers every request of a connection with `text`. `received` are its first bytes.
pub(super) async fn serve(
    stream: TcpStream,
    received: Vec<u8>,
    text: &str,
    idle: Duration,
) -> io::Result<()> {
    let mut incoming = Incoming { stream, received, idle };
    while let Some(lines) = incoming.head().await? {
        let Some(request) = Request::read(&lines) else {
            let refusal =
                "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            incoming.send(refusal).await?;
            break;
        };
        if request.waits_for_continue {
            incoming.send("HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match request.body {
            Body::Length(length) => incoming.skip(length).await?,
            Body::Chunked => incoming.skip_chunks().await?,
        }
        incoming.send(&request.answer(text)).await?;
        if !request.keep_alive {
            break;
        }
    }
    incoming.stream.shutdown().await
}

/// What arrives on a connection.
struct Incoming {
    stream: TcpStream,
    received: Vec<u8>,
    idle: Duration,
}

impl Incoming {
    /// Reads more; tells whether there was anything.
    async fn fill(&mut self) -> io::Result<bool> {
        self.received.reserve(CHUNK);
        Ok(within(self.idle, self.stream.read_buf(&mut self.received)).await? > 0)
    }

    /// Returns the next line without its end; nothing at the end of the connection.
    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            let end = self.received.iter().position(|byte| *byte == b'\n');
            if end.unwrap_or(self.received.len()) > MAX_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if let Some(end) = end {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Returns the lines of the head of the next request; nothing when there is none.
    async fn head(&mut self) -> io::Result<Option<Vec<String>>> {
        let mut lines = Vec::new();
        while lines.len() < MAX_LINES {
            match self.line().await? {
                None => return Ok(None),
                // Some clients end a body with an empty line too many.
                Some(line) if line.is_empty() && lines.is_empty() => {}
                Some(line) if line.is_empty() => return Ok(Some(lines)),
                Some(line) => lines.push(line),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Passes over bytes of a body.
    async fn skip(&mut self, mut n: u64) -> io::Result<()> {
        loop {
            let here =
                usize::try_from(n).map_or(self.received.len(), |n| n.min(self.received.len()));
            self.received.drain(..here);
            n -= here as u64;
            if n == 0 {
                return Ok(());
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Passes over a body in chunks, and what comes after it.
    async fn skip_chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                break;
            }
            self.skip(size).await?;
            self.line().await?;
        }
        for _ in 0..MAX_LINES {
            match self.line().await? {
                Some(line) if !line.is_empty() => {}
                Some(_) | None => return Ok(()),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        within(self.idle, self.stream.write_all(text.as_bytes())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_who_speaks_http() {
        for (bytes, want) in [
            ("", None),
            ("G", None),
            ("GET /", None),
            ("GET / HTTP/1.1\r\n", Some(true)),
            ("HEAD /x?y HTTP/1.0\nHost: a", Some(true)),
            ("GET / HTTP/2.0\r\n", Some(false)),
            ("GET\n", Some(false)),
            ("GETTY", Some(false)),
            ("PING", Some(false)),
            ("\n", Some(false)),
            ("\0\x01", Some(false)),
        ] {
            assert_eq!(looks_like_request(bytes.as_bytes()), want, "{bytes:?}");
        }
        let long = format!("GET /{}", "x".repeat(MAX_LINE));
        assert_eq!(looks_like_request(long.as_bytes()), Some(false));
    }

    #[test]
    fn a_head_tells_what_follows_it_and_whether_the_connection_goes_on() {
        let read = |text: &str| {
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let request = Request::read(&lines)?;
            Some((request.keep_alive, request.body, request.wants_body))
        };
        for (text, want) in [
            ("GET / HTTP/1.1", Some((true, Body::Length(0), true))),
            ("GET / HTTP/1.0", Some((false, Body::Length(0), true))),
            ("GET / HTTP/1.0\nConnection: Keep-Alive", Some((true, Body::Length(0), true))),
            ("HEAD / HTTP/1.1\nConnection: close", Some((false, Body::Length(0), false))),
            ("POST / HTTP/1.1\ncontent-length: 12", Some((true, Body::Length(12), true))),
            (
                "POST / HTTP/1.1\nTransfer-Encoding: gzip, chunked\nContent-Length: 3",
                Some((true, Body::Chunked, true)),
            ),
            ("POST / HTTP/1.1\ncontent-length: -1", None),
            ("GET / HTTP/1.1\nno header", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(read(text), want, "{text:?}");
        }
    }
}
