//! How endpoints of a profile are checked, once it is known that they can be.

use std::time::Duration;

use stolos_api::network::{MonitorConfig, MonitorHeader, MonitorProtocol};

use crate::network::balance::HealthSettings;

/// Longest path and longest header of a check.
const MAX_TEXT: usize = 1024;

/// Headers that say where a request ends; the check writes them itself.
const FRAMING: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];

/// How endpoints of a profile are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// What is asked.
    pub check: Check,
    /// Which port is asked.
    pub port: u16,
    /// Time between two checks of an endpoint.
    pub interval: Duration,
    /// Time after which an unanswered check has failed.
    pub timeout: Duration,
    /// Failures in a row with which an endpoint still counts as up.
    pub tolerated_failures: u8,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Connects.
    Tcp,
    /// Asks for a path and expects status 200.
    Http(Request),
    /// The same over TLS. Any certificate is taken, as by Azure.
    Https(Request),
}

/// What is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// Headers besides those of every request; one of them may be the host.
    pub headers: Vec<(String, String)>,
}

/// Why endpoints cannot be checked as a profile says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonitorError {
    /// The port is none.
    #[error("monitorConfig.port is {0} but must be from 1 to 65535")]
    Port(i64),
    /// There is no such time between checks.
    #[error("monitorConfig.intervalInSeconds is {0} but must be 10 or 30")]
    Interval(i64),
    /// The time for an answer is too long or too short.
    #[error("monitorConfig.timeoutInSeconds is {0} but must be from 5 to {1}")]
    Timeout(i64, i64),
    /// So many failures cannot be tolerated.
    #[error("monitorConfig.toleratedNumberOfFailures is {0} but must be from 0 to 9")]
    ToleratedFailures(i64),
    /// It cannot be asked for.
    #[error(
        "monitorConfig.path is `{0}` but must begin with `/` and have at most 1024 printable characters, none of them a space"
    )]
    Path(String),
    /// A header cannot be sent.
    #[error("monitorConfig.customHeaders: `{0}` {1}")]
    Header(String, &'static str),
}

impl Monitor {
    /// Reads how a profile wants its endpoints checked.
    ///
    /// # Errors
    ///
    /// If that cannot be done, with the field that is to be changed.
    pub fn new(config: &MonitorConfig) -> Result<Self, MonitorError> {
        let port = u16::try_from(config.port).ok().filter(|port| *port > 0);
        let longest =
            MonitorConfig { timeout_in_seconds: None, ..config.clone() }.timeout_seconds();
        let timeout = config.timeout_seconds();
        if ![10, 30].contains(&config.interval_in_seconds) {
            return Err(MonitorError::Interval(config.interval_in_seconds));
        }
        if !(5..=longest).contains(&timeout) {
            return Err(MonitorError::Timeout(timeout, longest));
        }
        let tolerated = config.tolerated_number_of_failures;
        let tolerated_failures = u8::try_from(tolerated).ok().filter(|n| *n <= 9);
        Ok(Self {
            check: check(config)?,
            port: port.ok_or(MonitorError::Port(config.port))?,
            interval: seconds(config.interval_in_seconds),
            timeout: seconds(timeout),
            tolerated_failures: tolerated_failures
                .ok_or(MonitorError::ToleratedFailures(tolerated))?,
        })
    }

    /// Returns after how many checks an endpoint goes down and comes up.
    #[must_use]
    pub fn health_settings(&self) -> HealthSettings {
        HealthSettings {
            down_after: self.tolerated_failures.saturating_add(1),
            up_after: 1,
            ..HealthSettings::default()
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

fn check(config: &MonitorConfig) -> Result<Check, MonitorError> {
    let request = || {
        let path = config.path.clone();
        if !is_path(&path) {
            return Err(MonitorError::Path(path));
        }
        let headers = config.custom_headers.iter().map(header);
        Ok(Request { path, headers: headers.collect::<Result<_, _>>()? })
    };
    Ok(match config.protocol {
        MonitorProtocol::Tcp => Check::Tcp,
        MonitorProtocol::Http => Check::Http(request()?),
        MonitorProtocol::Https => Check::Https(request()?),
    })
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= MAX_TEXT
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn header(header: &MonitorHeader) -> Result<(String, String), MonitorError> {
    let MonitorHeader { name, value } = header;
    let refuse = |why| Err(MonitorError::Header(name.clone(), why));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > MAX_TEXT || !name.bytes().all(is_token) {
        return refuse("is not a name of a header: letters, digits and dashes, at most 1024");
    }
    if FRAMING.contains(&name.to_ascii_lowercase().as_str()) {
        return refuse("is written by the check itself and must be left out");
    }
    if value.len() > MAX_TEXT || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return refuse("must have a value of at most 1024 printable characters");
    }
    Ok((name.clone(), value.clone()))
}
