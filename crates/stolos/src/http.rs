//! One request over plain HTTP.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for the whole of an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer; the figures of 1,000 services with 20 endpoints each take about a fifth of it.
const LARGEST: usize = 32 << 20;

/// Asks for what is at a URL, over a connection of its own.
pub(crate) async fn get(url: &str) -> anyhow::Result<Bytes> {
    let waited = tokio::time::timeout(PATIENCE, answer(url)).await;
    waited.with_context(|| format!("it has not answered for {} s", PATIENCE.as_secs()))?
}

async fn answer(url: &str) -> anyhow::Result<Bytes> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("`{url}` must begin with http://");
    }
    let host = uri.host().with_context(|| format!("`{url}` has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(hyper::header::HOST, format!("{host}:{port}"))
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            bail!("it answers {}", answer.status());
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes())
    };
    let (answer, ended) = tokio::join!(answered, connection);
    let answer = answer?;
    ended?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_url_is_told() {
        for (url, told) in [
            ("10.0.0.1 80", "is no URL"),
            ("https://10.0.0.1/figures", "must begin with http://"),
            ("/figures", "must begin with http://"),
        ] {
            let error = get(url).await.expect_err("nobody can be asked").to_string();
            assert!(error.contains(told) && error.contains(url), "{error}");
        }
    }
}
