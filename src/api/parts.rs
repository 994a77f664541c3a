//! The parts of a multipart body, in bounded memory.
//!
//! The parser takes in all that has arrived before it looks at any of it, and the head of a part up to its end, however
//! long that is: a client on the same network could fill the memory with one upload. Here the body is handed to it
//! piece by piece, and a head that goes on for too long ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{FromRequest, Multipart, Request};
use futures_util::Stream;

/// What may come before the head of a part is whole.
const MAX_HEAD: usize = 64 * 1024;

/// See the module. Each part has to be read to its end before the next one is asked for.
pub(super) struct Parts {
    multipart: Multipart,
    left: Arc<AtomicUsize>,
}

impl Parts {
    /// The parts of a request's body.
    pub(super) async fn of(request: Request) -> Result<Parts, MultipartRejection> {
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let pieces = |body: Body| {
            let inner = body.into_data_stream();
            Body::from_stream(Pieces { inner, rest: false, left: Arc::clone(&left) })
        };
        let multipart = Multipart::from_request(request.map(pieces), &()).await?;
        Ok(Parts { multipart, left })
    }

    /// The next part.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>, MultipartError> {
        self.left.store(MAX_HEAD, Ordering::Relaxed);
        let field = self.multipart.next_field().await;
        self.left.store(usize::MAX, Ordering::Relaxed);
        field
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the head of a part of the body is longer than {MAX_HEAD} bytes")]
struct LongHead;

struct Pieces {
    inner: BodyDataStream,
    /// Whether to say "nothing yet", so that what was handed over is looked at first.
    rest: bool,
    left: Arc<AtomicUsize>,
}

impl Stream for Pieces {
    type Item = Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Some(Err(LongHead.into())));
        }
        let polled = Pin::new(&mut self.inner).poll_next(cx);
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            self.rest = true;
            if left != usize::MAX {
                self.left.store(left.saturating_sub(piece.len()), Ordering::Relaxed);
            }
        }
        polled.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 16 * 1024;

    fn request(pieces: Vec<Vec<u8>>) -> Request {
        let stream = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        Request::builder()
            .method("POST")
            .header("content-type", "multipart/form-data; boundary=B")
            .body(Body::from_stream(stream))
            .unwrap()
    }

    const HEAD: &[u8] = b"--B\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a\"\r\n\r\n";

    #[tokio::test]
    async fn what_has_arrived_is_taken_in_piece_by_piece() {
        let mut pieces = vec![HEAD.to_vec()];
        pieces.extend(vec![vec![7; PIECE]; 100]);
        pieces.push(b"\r\n--B--\r\n".to_vec());
        let mut parts = Parts::of(request(pieces)).await.unwrap();
        let mut field = parts.next().await.unwrap().unwrap();
        let (mut total, mut largest) = (0, 0);
        while let Some(chunk) = field.chunk().await.unwrap() {
            total += chunk.len();
            largest = largest.max(chunk.len());
        }
        assert_eq!(total, 100 * PIECE);
        assert!(largest <= 2 * PIECE, "{largest} bytes at once");
        drop(field);
        assert!(parts.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_an_error_before_the_body_has_ended() {
        let mut pieces = vec![b"--B\r\nContent-Disposition: form-data; name=\"".to_vec()];
        pieces.extend(vec![vec![b'a'; PIECE]; 60]);
        let mut parts = Parts::of(request(pieces)).await.unwrap();
        let error = parts.next().await.err().unwrap();
        assert!(crate::api::serve::has_source::<LongHead>(&error), "{error:?}");
    }
}
