//! Queries over one TCP connection (RFC 1035, section 4.2.2; RFC 7766).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Directory;
use crate::respond::{MAX_QUERY, Transport, respond};

/// Longest wait for the rest of a query, or for the next one.
const IDLE: Duration = Duration::from_secs(5);

/// Longest life of a connection: nobody keeps one for ever with a query now and then.
const LIFE: Duration = Duration::from_secs(60);

/// Answers queries, one after the other, until the peer ends the connection, is silent for too long or sends something
/// that is no query.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    directory: &Directory,
) -> io::Result<()> {
    let end = Instant::now() + LIFE;
    let mut query = Vec::with_capacity(MAX_QUERY);
    while let Ok(read) =
        timeout_at(end.min(Instant::now() + IDLE), read(&mut stream, &mut query)).await
    {
        if !read? {
            return Ok(());
        }
        let Some(answer) = respond(&query, directory, Transport::Tcp, rand::random()) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let message = [length.to_be_bytes().as_slice(), &answer].concat();
        timeout(IDLE, stream.write_all(&message)).await??;
    }
    Ok(())
}

/// Reads a query; false if there is none, or none that is short enough.
async fn read(stream: &mut (impl AsyncRead + Unpin), query: &mut Vec<u8>) -> io::Result<bool> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > MAX_QUERY {
        return Ok(false);
    }
    query.resize(length, 0);
    stream.read_exact(query).await?;
    Ok(true)
}
