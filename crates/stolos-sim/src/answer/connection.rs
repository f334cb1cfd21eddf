//! One connection to a pod.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::http;

/// How long the rest of a line is waited for that may become a request of HTTP; after that it is echoed.
const UNDECIDED: Duration = Duration::from_millis(500);
/// Bytes that are echoed at once.
const CHUNK: usize = 16 * 1024;
/// The largest datagram there is.
const DATAGRAM: usize = 65_535;
/// Wait after the kernel could not give a datagram for want of memory.
const PAUSE: Duration = Duration::from_millis(50);

/// What a PROXY header of version 2 begins with, by which balancers tell who the client is.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of such a header before the addresses, whose length is in the last two.
const FIXED: usize = 16;

/// Answers requests of HTTP/1 with `text`, and sends back whatever else comes, until the client ends its side or is
/// silent for too long. A PROXY header is passed over.
pub(super) async fn serve(mut stream: TcpStream, text: &str, idle: Duration) -> io::Result<()> {
    let mut received = Vec::new();
    let header = told(&mut stream, &mut received, idle, header_length).await?;
    received.drain(..header.unwrap_or(0));
    let is_http = told(&mut stream, &mut received, idle, http::looks_like_request).await?;
    if is_http == Some(true) {
        http::serve(stream, received, text, idle).await
    } else {
        echo(stream, received, idle).await
    }
}

/// Reads until the first bytes tell something; nothing if they never do.
async fn told<T>(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    idle: Duration,
    tell: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    loop {
        if let Some(told) = tell(received) {
            return Ok(Some(told));
        }
        let patience = if received.is_empty() { idle } else { UNDECIDED };
        match tokio::time::timeout(patience, stream.read_buf(received)).await {
            Ok(Ok(0)) => return Ok(None),
            Ok(n_read) => {
                n_read?;
            }
            Err(_) if received.is_empty() => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => return Ok(None),
        }
    }
}

/// Returns the length of a PROXY header; 0 if there is none, nothing if more of it must be seen.
fn header_length(bytes: &[u8]) -> Option<usize> {
    if !SIGNATURE.starts_with(&bytes[..bytes.len().min(SIGNATURE.len())]) {
        return Some(0);
    }
    let addresses = bytes.get(FIXED - 2..FIXED)?;
    let length = FIXED + usize::from(u16::from_be_bytes([addresses[0], addresses[1]]));
    (bytes.len() >= length).then_some(length)
}

/// Sends back `bytes` and all that follows. When the client ends its side, so does the pod, after the last byte.
async fn echo(mut stream: TcpStream, mut bytes: Vec<u8>, idle: Duration) -> io::Result<()> {
    loop {
        within(idle, stream.write_all(&bytes)).await?;
        bytes.clear();
        bytes.reserve(CHUNK);
        if within(idle, stream.read_buf(&mut bytes)).await? == 0 {
            return stream.shutdown().await;
        }
    }
}

/// Sends every datagram back to where it came from. Never ends.
pub(super) async fn echo_datagrams(socket: UdpSocket) {
    loop {
        if socket.readable().await.is_err() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        // Only while there is something to read: thousands of pods wait.
        let mut bytes = vec![0; DATAGRAM];
        while let Ok((n_bytes, client)) = socket.try_recv_from(&mut bytes) {
            // One that cannot be sent is lost, as datagrams are.
            let _ = socket.send_to(&bytes[..n_bytes], client).await;
        }
    }
}

/// Waits for something of a connection, but not for ever.
pub(super) async fn within<T>(
    idle: Duration,
    future: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(idle, future).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_balancer_is_told_from_what_clients_send() {
        let header = [SIGNATURE, &[0x21, 0x11, 0, 3, 1, 2, 3]].concat();
        for n in 0..header.len() {
            assert_eq!(header_length(&header[..n]), None, "{n} of its bytes");
        }
        assert_eq!(header_length(&header), Some(19));
        assert_eq!(header_length(&[&header[..], b"GET"].concat()), Some(19));
        for other in ["G", "\r\nGET", "\n"] {
            assert_eq!(header_length(other.as_bytes()), Some(0), "{other:?}");
        }
    }
}
