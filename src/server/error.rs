//! Errors as OpenAI's API gives them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error of a request.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
        }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// A field is wrong: `message` says how, and what would be right.
    pub fn of_field(name: &str, message: impl std::fmt::Display) -> Self {
        Self {
            param: Some(name.to_owned()),
            ..Self::invalid(format!("{name}: {message}"))
        }
    }

    /// The prompt does not fit.
    pub fn too_long(tokens: usize, n_ctx: usize) -> Self {
        Self {
            code: Some("context_length_exceeded"),
            param: Some("messages".into()),
            ..Self::invalid(format!(
                "the prompt has {tokens} tokens, but the context holds {n_ctx}: shorten it, or \
                 start the server with a larger context"
            ))
        }
    }

    /// A field that is right, but that this server cannot serve.
    pub fn unsupported(name: &str) -> Self {
        Self {
            code: Some("unsupported_parameter"),
            ..Self::of_field(name, "this server does not support it yet: leave it out")
        }
    }

    /// No such address.
    pub fn not_found(what: &str) -> Self {
        let message = format!("{what} is not served here");
        Self::new(StatusCode::NOT_FOUND, "not_found_error", message)
    }

    /// The address does not know the method.
    pub fn wrong_method() -> Self {
        let message = "this address does not take this method: see docs/server.md";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            message,
        )
    }

    /// No key, or a wrong one.
    pub fn unauthorized() -> Self {
        Self {
            code: Some("invalid_api_key"),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "authentication_error",
                "give a valid key in the header Authorization: Bearer KEY",
            )
        }
    }

    /// The body is too large.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            message,
        )
    }

    /// The body did not come in time.
    pub fn too_slow() -> Self {
        let message = "the body did not arrive in time";
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            message,
        )
    }

    /// Too many requests wait.
    pub fn busy() -> Self {
        Self {
            code: Some("queue_full"),
            retry_after: Some(1),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "all slots are busy and the queue is full: try again later",
            )
        }
    }

    /// The server is about to end.
    pub fn stopping() -> Self {
        let message = "the server is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
    }

    /// A worker that the model needs is gone, or not back yet.
    pub fn lost(message: impl Into<String>) -> Self {
        Self {
            code: Some("worker_lost"),
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
        }
    }

    /// The model failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The body: OpenAI's error object.
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, json_body(&self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A JSON answer.
pub fn json_body(value: &Value) -> impl IntoResponse + use<> {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
}
