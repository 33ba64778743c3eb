//! What a store's answer, or its silence, means for the caller. Pure.
//!
//! Invariant: only a request that certainly did nothing is [`Error::Unavailable`]; where it may have changed something and no answer tells,
//! it is [`Error::Unclear`].

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::connect;
use crate::bucket::Error;

/// What a request changes in the bucket if it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that a reader could see: reads, and the parts of an upload that is not complete.
    Invisible,
    /// An object appears, changes or goes.
    Visible,
}

/// The error for a request that failed.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>, effect: Effect) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let meta = answer.err().meta();
            let status = answer.raw().status().as_u16();
            let message = meta.message().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
            classify(status, meta.code().unwrap_or_default(), message, effect)
        }
        SdkError::ResponseError(answer) => classify(answer.raw().status().as_u16(), "", DisplayErrorContext(error).to_string(), effect),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error().map(|error| error as &(dyn std::error::Error + 'static));
            let message = DisplayErrorContext(error).to_string();
            match cause {
                Some(cause) => unanswered(cause, message, effect),
                None => lost(message, effect),
            }
        }
        SdkError::TimeoutError(_) => lost("the store did not answer in time".to_owned(), effect),
        other => Error::Refused { code: "InvalidRequest".to_owned(), message: DisplayErrorContext(other).to_string() },
    }
}

/// The store's code of a failed request, if it answered with one.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(|answer| answer.meta().code())
}

fn unanswered(cause: &(dyn std::error::Error + 'static), message: String, effect: Effect) -> Error {
    if let Some(why) = connect::no_identity(cause) {
        return Error::Unavailable { message: format!("this process does not know its own identity: {why}") };
    }
    if let Some(refusal) = connect::refusal(cause) {
        return Error::EndpointRefused { reason: refusal.to_string() };
    }
    if connect::never_connected(cause) {
        return Error::Unavailable { message: format!("cannot connect: {}", connect::root(cause)) };
    }
    lost(message, effect)
}

fn lost(message: String, effect: Effect) -> Error {
    match effect {
        Effect::Invisible => Error::Unavailable { message },
        Effect::Visible => Error::Unclear { message },
    }
}

fn classify(status: u16, code: &str, message: String, effect: Effect) -> Error {
    match (status, code) {
        (_, "NoSuchBucket") => Error::NoSuchBucket,
        // A missing object breaks `If-Match`; without a condition no request that gets here is answered so.
        (412, _) | (_, "PreconditionFailed") | (404, "NoSuchKey") => Error::PreconditionFailed,
        // The store says that it did nothing because others were at it, it was too busy, or the request did not arrive whole. An upload
        // that is gone was aborted, so it cannot be completed any more.
        (429 | 503 | 507, _)
        | (_, "SlowDown" | "ServiceUnavailable" | "RequestTimeout" | "ConditionalRequestConflict" | "OperationAborted" | "NoSuchUpload") => {
            Error::Unavailable { message }
        }
        (401 | 403, _) | (_, "ExpiredToken" | "InvalidToken") => {
            let code = if code.is_empty() { "AccessDenied" } else { code };
            Error::AccessDenied { code: code.to_owned(), message }
        }
        (501, _) => Error::Refused { code: "NotImplemented".to_owned(), message },
        // Some operations answer 200 before they fail and put the error into the body.
        (500.. | 200..=299, _) => lost(message, effect),
        _ => Error::Refused { code: if code.is_empty() { status.to_string() } else { code.to_owned() }, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(status: u16, code: &str, effect: Effect) -> &'static str {
        match classify(status, code, String::new(), effect) {
            Error::NoSuchBucket => "no bucket",
            Error::AccessDenied { .. } => "denied",
            Error::EndpointRefused { .. } => "endpoint",
            Error::PreconditionFailed => "precondition",
            Error::Unavailable { .. } => "unavailable",
            Error::Unclear { .. } => "unclear",
            Error::Refused { .. } => "refused",
            Error::Content(_) => "content",
        }
    }

    #[test]
    fn each_answer_has_one_meaning() {
        use Effect::{Invisible, Visible};
        let table = [
            (404, "NoSuchBucket", Visible, "no bucket"),
            (404, "NoSuchKey", Visible, "precondition"),
            (404, "NoSuchUpload", Visible, "unavailable"),
            (404, "", Visible, "refused"),
            (412, "PreconditionFailed", Visible, "precondition"),
            (412, "", Visible, "precondition"),
            (409, "ConditionalRequestConflict", Visible, "unavailable"),
            (409, "BucketNotEmpty", Visible, "refused"),
            (401, "Unauthorized", Invisible, "denied"),
            (403, "SignatureDoesNotMatch", Visible, "denied"),
            (403, "", Invisible, "denied"),
            (400, "ExpiredToken", Visible, "denied"),
            (400, "RequestTimeout", Visible, "unavailable"),
            (400, "InvalidArgument", Visible, "refused"),
            (301, "PermanentRedirect", Invisible, "refused"),
            (429, "TooManyRequests", Visible, "unavailable"),
            (503, "SlowDown", Visible, "unavailable"),
            (503, "", Visible, "unavailable"),
            (507, "XMinioStorageFull", Visible, "unavailable"),
            (500, "InternalError", Visible, "unclear"),
            (500, "InternalError", Invisible, "unavailable"),
            (502, "", Visible, "unclear"),
            (504, "", Invisible, "unavailable"),
            (501, "NotImplemented", Visible, "refused"),
            (200, "InternalError", Visible, "unclear"),
            (200, "SlowDown", Visible, "unavailable"),
            (200, "PreconditionFailed", Visible, "precondition"),
        ];
        for (status, code, effect, expected) in table {
            assert_eq!(word(status, code, effect), expected, "{status} {code} {effect:?}");
        }
    }
}
