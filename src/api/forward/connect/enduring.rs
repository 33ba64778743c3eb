//! A connection whose answer is read though what is sent is not taken any more.
//!
//! A host that refuses a large body answers, and closes. Whoever is still sending may learn first that nobody takes it, and would never see why.
//! Invariant: sending fails once all that came has been read, not before.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// It.
pub(in crate::forward) struct Enduring {
    stream: TcpStream,
    sending: Sending,
}

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Taken,
    /// It is not, and an answer may be on its way still. It waits.
    Refused,
    /// It is not, and nothing comes any more.
    Ended,
}

impl From<TcpStream> for Enduring {
    fn from(stream: TcpStream) -> Self {
        Self { stream, sending: Sending::Taken }
    }
}

impl Enduring {
    /// What a try to send tells. While it waits, the end of what comes wakes the task, which reads as well.
    fn sent(&mut self, tried: io::Result<usize>) -> Poll<io::Result<usize>> {
        match tried {
            Err(error) if self.sending != Sending::Ended && is_taken_no_more(&error) => {
                self.sending = Sending::Refused;
                Poll::Pending
            }
            tried => Poll::Ready(tried),
        }
    }
}

fn is_taken_no_more(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for Enduring {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let is_end = read.is_err() || (buf.filled().len() == before && buf.remaining() > 0);
        if is_end && self.sending == Sending::Refused {
            self.sending = Sending::Ended;
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Enduring {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let tried = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.sent(tried)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let tried = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.sent(tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Enduring {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_before_sending_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut enduring = Enduring::from(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        enduring.write_all(b"a body that nobody reads").await.unwrap();
        let (mut host, _) = listener.accept().await.unwrap();
        host.readable().await.unwrap();
        host.write_all(b"answer").await.unwrap();
        // With something unread this resets the connection.
        drop(host);
        poll_fn(|cx| match Pin::new(&mut enduring).poll_write(cx, b"more") {
            Poll::Pending if enduring.sending == Sending::Refused => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
            Poll::Ready(sent) => {
                sent.expect("it waits instead");
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        let mut answer = [0; 6];
        enduring.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        let end = enduring.read(&mut answer).await;
        assert!(!matches!(end, Ok(1..)), "{end:?}");
        assert!(enduring.write(b"more").await.is_err());
    }
}
