//! Requests, their failures, and when to retry.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ureq::http::Response;
use ureq::{Agent, Body};

use crate::hub::settings::{RetryPolicy, Settings};
use crate::hub::{Event, HubError, Watch};

/// How often a wait checks whether it is cancelled.
const TICK: Duration = Duration::from_millis(100);

/// The message for a host without an address.
const UNKNOWN: &str = "unknown host";

/// An HTTP client with the token and the timeouts of the settings.
pub(super) struct Http {
    agent: Agent,
    pub(super) settings: Settings,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused.
    Status {
        status: u16,
        /// The Hub's own error code, for example `GatedRepo`.
        code: Option<String>,
        /// The wait that the server asks for.
        retry_after: Option<Duration>,
    },
    /// No connection.
    Unreachable(String),
    /// A connection that broke, or an answer that is not HTTP.
    Broken(String),
}

impl Http {
    pub(super) fn new(settings: Settings) -> Self {
        let retry = settings.retry;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("logitspec/", env!("CARGO_PKG_VERSION")))
            // The Hub redirects to other hosts, which must not see the token.
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(retry.connect_timeout))
            .timeout_connect(Some(retry.connect_timeout))
            .timeout_recv_response(Some(retry.read_timeout))
            .timeout_per_read(Some(retry.read_timeout))
            .build()
            .into();
        Self { agent, settings }
    }

    /// Requests a file from byte `start` on.
    pub(super) fn get_from(&self, url: &str, start: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        // Byte ranges must refer to the file itself.
        request = request.header("Accept-Encoding", "identity");
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        if let Some(token) = &self.settings.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        successful(request.call())
    }
}

/// The answer, if its status is a success.
pub(super) fn successful(
    answer: Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, Failure> {
    let response = answer.map_err(Failure::from)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    Err(Failure::Status {
        status: response.status().as_u16(),
        code: header("X-Error-Code").map(Into::into),
        retry_after: header("Retry-After")
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs),
    })
}

impl From<ureq::Error> for Failure {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::StatusCode(status) => Self::Status {
                status,
                code: None,
                retry_after: None,
            },
            ureq::Error::HostNotFound => Self::Unreachable(UNKNOWN.into()),
            // The standard library has no stable error kind for a failed lookup.
            ureq::Error::Io(error) if error.to_string().contains("lookup address") => {
                Self::Unreachable(UNKNOWN.into())
            }
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Self::Unreachable("no answer".into())
            }
            ureq::Error::ConnectionFailed => Self::Unreachable("no connection".into()),
            ureq::Error::Io(error) if is_unreachable(error.kind()) => {
                Self::Unreachable(error.to_string())
            }
            error => Self::Broken(error.to_string()),
        }
    }
}

fn is_unreachable(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind;
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    )
}

impl Failure {
    /// Whether the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::Unreachable(_) | Self::Broken(_) => true,
        }
    }

    /// The cause, in a few words.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Status { status, .. } => format!("the server answers {status}"),
            Self::Unreachable(cause) | Self::Broken(cause) => cause.clone(),
        }
    }

    /// The error after `tries` requests for `what`, a file of `repo` or the repository itself.
    pub(super) fn error(self, settings: &Settings, repo: &str, what: &str, tries: u32) -> HubError {
        let endpoint = settings.endpoint.clone();
        let had_token = settings.token.is_some();
        let (status, code) = match self {
            Self::Unreachable(cause) | Self::Broken(cause) => {
                return HubError::Offline { endpoint, cause };
            }
            Self::Status { status, code, .. } => (status, code),
        };
        let repo = repo.to_owned();
        match (status, code.as_deref()) {
            (_, Some("GatedRepo")) | (403, _) => HubError::Gated {
                endpoint,
                repo,
                had_token,
            },
            (401, _) => HubError::Unauthorized {
                endpoint,
                repo,
                had_token,
            },
            (404, _) => HubError::NotFound {
                endpoint,
                what: what.into(),
            },
            (408 | 425 | 429 | 500.., _) => HubError::Server {
                endpoint,
                status,
                tries,
            },
            (status, _) => HubError::Status {
                endpoint,
                status,
                what: what.into(),
            },
        }
    }
}

/// Counts failures in a row.
pub(super) struct Failures {
    retry: RetryPolicy,
    pub(super) count: u32,
}

impl Failures {
    pub(super) fn new(retry: RetryPolicy) -> Self {
        Self { retry, count: 0 }
    }

    /// Counts a failure and waits. Returns `false` at once if there should be no other try.
    pub(super) fn another_try(
        &mut self,
        failure: &Failure,
        watch: &mut Watch<'_>,
    ) -> Result<bool, HubError> {
        self.count += 1;
        if self.count >= self.retry.max_tries || !failure.is_temporary() {
            return Ok(false);
        }
        let asked = match failure {
            Failure::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        let doubled = self.retry.initial_backoff * 2u32.saturating_pow(self.count - 1);
        let wait = asked.unwrap_or(doubled).min(self.retry.max_backoff);
        notify(
            watch,
            &Event::Retrying {
                cause: &failure.cause(),
                wait,
            },
        )?;
        pause(wait, watch)?;
        Ok(true)
    }
}

/// Waits, unless the caller cancels.
pub(super) fn pause(wait: Duration, watch: &mut Watch<'_>) -> Result<(), HubError> {
    let end = Instant::now() + wait;
    loop {
        notify(watch, &Event::Waiting)?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
}

/// Reports an event to the caller, who may cancel.
pub(super) fn notify(watch: &mut Watch<'_>, event: &Event<'_>) -> Result<(), HubError> {
    match watch(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(HubError::Cancelled),
    }
}
