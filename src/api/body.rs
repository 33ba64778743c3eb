//! Bodies of requests as they arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{HeaderMap, header};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError};
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::error::{Kind, Problem};

/// The largest body that is read, in bytes.
pub(crate) const BODY_LIMIT: usize = 16 << 20;

/// How long a client may send nothing of a body.
pub(crate) const BODY_WAIT: Duration = Duration::from_secs(30);

/// How bytes are written in JSON; padded or not.
pub(crate) const BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// What is taken in of a body that nobody reads: so much, for so long.
const UNREAD_LIMIT: u64 = 64 << 10;
const UNREAD_WAIT: Duration = Duration::from_secs(5);

/// The body, which fails once nothing of it has come for too long, and what is left of it when nobody reads it any more.
pub(crate) fn patient<B>(body: B) -> (Body, Unread<B>)
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return (Body::empty(), Unread(None));
    }
    let (sender, receiver) = oneshot::channel();
    (Body::new(Patient { body: Some(body), unread: Some(sender), waits: None }), Unread(Some(receiver)))
}

/// What nobody read of a body, once the body has been dropped.
pub(crate) struct Unread<B>(Option<oneshot::Receiver<B>>);

impl<B: HttpBody<Data = Bytes> + Unpin> Unread<B> {
    /// Takes in what still comes of a small body. Clients that are answered while they send may see the end of the stream, or of the
    /// connection, instead of the answer. One that sends much, or nothing for too long, may.
    pub(crate) async fn take_in(self) {
        let Some(mut body) = self.0.and_then(|mut receiver| receiver.try_recv().ok()) else { return };
        let mut room = UNREAD_LIMIT;
        let taking = async {
            while body.size_hint().lower() <= room {
                let Some(Ok(frame)) = body.frame().await else { return };
                let Some(rest) = room.checked_sub(frame.data_ref().map_or(0, Bytes::len) as u64) else { return };
                room = rest;
            }
        };
        // Nobody waits for what comes of it.
        tokio::time::timeout(UNREAD_WAIT, taking).await.ok();
    }
}

/// Nothing of the body came for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for {} s", BODY_WAIT.as_secs())]
struct NothingCame;

/// Sets a timer only if there is something to wait for: most bodies are there with their head.
struct Patient<B> {
    /// Until it has ended or failed.
    body: Option<B>,
    /// Who gets what is left of it.
    unread: Option<oneshot::Sender<B>>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl<B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin> HttpBody for Patient<B> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            self.waits = None;
            if !matches!(frame, Some(Ok(_))) {
                self.body = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_WAIT)));
        ready!(waits.as_mut().poll(cx));
        self.body = None;
        Poll::Ready(Some(Err(axum::Error::new(NothingCame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl<B> Drop for Patient<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(unread)) = (self.body.take(), self.unread.take()) {
            // Nobody wants it if the connection is gone.
            unread.send(body).ok();
        }
    }
}

/// The whole body, if it is not too large.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::BodyTooLarge, format!("the body has more than {BODY_LIMIT} bytes; send less at a time"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(too_large());
    }
    to_bytes(body, BODY_LIMIT).await.map_err(|error| {
        let over = std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if over { too_large() } else { broken(&error) }
    })
}

/// What a body's own error means.
pub(crate) fn broken(error: &axum::Error) -> Problem {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    if causes.into_iter().any(<dyn std::error::Error>::is::<NothingCame>) {
        let detail = format!("nothing of the body came for {} s; send it again", BODY_WAIT.as_secs());
        return Problem::new(Kind::BodyTimeout, detail);
    }
    Problem::bad_request(format!("the body did not arrive whole: {error}"))
}

/// The whole body as the text of JSON. Without a type, and with the one that curl sends by itself, it is JSON, too.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    let named = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("(not text)"));
    let essence = named.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if !matches!(essence.as_deref(), None | Some("application/json" | "application/x-www-form-urlencoded")) {
        let detail = format!("Content-Type `{}` is not understood; send application/json", named.unwrap_or_default());
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let body = read(headers, body).await?;
    String::from_utf8(body.into()).map_err(|error| Problem::bad_request(format!("the body is not UTF-8: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use futures::{Stream, StreamExt as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(BODY_LIMIT as u64 + 1))]);
        assert_eq!(read(&announced, Body::empty()).await.unwrap_err().kind, Kind::BodyTooLarge);
        let body = || Body::from(vec![b' '; BODY_LIMIT + 1]);
        assert_eq!(read(&HeaderMap::new(), body()).await.unwrap_err().kind, Kind::BodyTooLarge);
        assert_eq!(read(&HeaderMap::new(), Body::from(vec![b' '; BODY_LIMIT])).await.unwrap().len(), BODY_LIMIT);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_bad_request() {
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"select")), Err(std::io::Error::other("cut"))]);
        assert_eq!(read(&HeaderMap::new(), Body::from_stream(broken)).await.unwrap_err().kind, Kind::BadRequest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_which_nothing_comes_is_given_up() {
        let stuck = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"select"))]).chain(futures::stream::pending());
        assert_eq!(read(&HeaderMap::new(), patient(Body::from_stream(stuck)).0).await.unwrap_err().kind, Kind::BodyTimeout);
    }

    /// What is left to read of these pieces when whoever had the first `read` of them has let go of the body.
    async fn left_of<const N: usize>(pieces: [usize; N], read: usize, then: impl Stream<Item = usize> + Send + Unpin + 'static) -> usize {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let sent = futures::stream::iter(pieces).chain(then).map(move |length| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![b' '; length])
        });
        let (mut body, unread) = patient(Body::from_stream(sent));
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        unread.take_in().await;
        N - taken.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_body_that_nobody_reads_little_is_taken_in() {
        let end = futures::stream::empty;
        assert_eq!(left_of([10, 20, 30], 0, end()).await, 0);
        assert_eq!(left_of([10, 20, 30], 1, end()).await, 0);
        assert_eq!(left_of([1 << 20, 20, 30], 1, end()).await, 0, "what was read counts for nothing");
        assert_eq!(left_of([10, 1 << 20, 30, 40], 0, end()).await, 2);
        // It ends though nothing more comes.
        assert_eq!(left_of([10, 20, 30], 0, futures::stream::pending()).await, 0);
        let (body, unread) = patient(Body::from(vec![b' '; 1 << 20]));
        drop(body);
        unread.take_in().await;
    }

    #[tokio::test]
    async fn json_is_taken_under_its_own_name_and_from_plain_curl() {
        let given = |name: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(name))]);
        assert_eq!(read_json(&HeaderMap::new(), Body::from("{}")).await.as_deref(), Ok("{}"));
        for name in ["application/json", "Application/JSON; charset=utf-8", "application/x-www-form-urlencoded"] {
            assert_eq!(read_json(&given(name), Body::from("{}")).await.as_deref(), Ok("{}"), "{name}");
        }
        for name in ["text/plain", "application/x-ndjson", ""] {
            assert_eq!(read_json(&given(name), Body::from("{}")).await.unwrap_err().kind, Kind::UnsupportedMediaType, "{name}");
        }
        assert_eq!(read_json(&HeaderMap::new(), Body::from(&b"\xff"[..])).await.unwrap_err().kind, Kind::BadRequest);
    }
}
