//! One client's connection: WebSocket, Noise, frames, and the two tasks that read and write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_websockets::{Limits, Message, ServerBuilder, WebSocketStream};
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_binary::{Node, OwnedNodeRef};
use wacore_noise::NoiseCipher;
use wacore_noise::framing::{FRAME_MAX_SIZE, FrameDecoder, append_frame_into};

use crate::noise::{self, NoiseError, Reply, Session};
use crate::server::Server;
use crate::world::{ConnId, Out};

/// Stanzas that may wait for a client to read them; beyond that its connection is closed.
const OUT_CAPACITY: usize = 32_768;
/// A client that has fallen behind gets more when no more than this waits for it.
const CATCH_UP: usize = 1_024;
/// A client has this long to upgrade to a WebSocket and to finish its handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);
/// Frames put into one flush.
const WRITE_BATCH: usize = 64;

type Ws = WebSocketStream<TcpStream>;

/// Why a connection ended other than by the wish of one side.
#[derive(Debug, Error)]
pub(crate) enum ConnError {
    #[error("websocket: {0}")]
    WebSocket(#[from] tokio_websockets::Error),
    #[error("the client did not finish its handshake within {} s", HANDSHAKE_TIME.as_secs())]
    Slow,
    #[error("the client closed the connection during its handshake")]
    Closed,
    #[error("the connection does not begin with WA, magic {}, dictionary {}", WA_CONN_HEADER[2], WA_CONN_HEADER[3])]
    Header,
    #[error("the client sent a WebSocket message that is not binary")]
    NotBinary,
    #[error("noise: {0}")]
    Noise(#[from] NoiseError),
    #[error("frame {counter} does not decrypt: wrong key or wrong counter")]
    Decrypt { counter: u32 },
    #[error("stanza does not decode: {0}")]
    Stanza(#[from] wacore_binary::BinaryError),
}

impl ConnError {
    /// Whether the client broke the protocol; a lost connection is not its fault.
    fn is_violation(&self) -> bool {
        !matches!(self, Self::WebSocket(_) | Self::Closed | Self::Slow)
    }
}

/// What the reader and the writer of a connection both obey.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Control {
    /// Neither read nor write before this moment (the stall fault).
    pub(crate) stalled_until: Option<Instant>,
}

/// Runs a connection until it ends.
pub(crate) async fn serve(server: Arc<Server>, stream: TcpStream, peer: SocketAddr) {
    let guard = server.counters.connection();
    let result = match timeout(HANDSHAKE_TIME, open(&server, stream)).await {
        Ok(Ok((ws, decoder, session))) => run(&server, ws, decoder, session, peer).await,
        Ok(Err(error)) => Err((peer.to_string(), error)),
        Err(_) => Err((peer.to_string(), ConnError::Slow)),
    };
    drop(guard);
    if let Err((who, error)) = result {
        log::debug!("connection ended: {error}");
        if error.is_violation() {
            server.counters.violation(who, error.to_string());
        }
    }
}

async fn open(server: &Server, stream: TcpStream) -> Result<(Ws, FrameDecoder, Session), ConnError> {
    stream.set_nodelay(true).map_err(tokio_websockets::Error::Io)?;
    let limits = Limits::default().max_payload_len(Some(FRAME_MAX_SIZE + 64));
    let (_, mut ws) = ServerBuilder::new().limits(limits).accept(stream).await?;
    let mut decoder = FrameDecoder::new();
    let mut head = Head::default();
    let hello = loop {
        let chunk = next_binary(&mut ws).await?;
        if let Some(rest) = head.take(&chunk)? {
            decoder.feed(&rest);
        }
        if let Some(frame) = decoder.decode_frame() {
            break frame;
        }
    };
    let session = match noise::respond(&server.keys, &hello)? {
        Reply::Done { hello, session } => {
            send_plain(&mut ws, &hello).await?;
            *session
        }
        Reply::AwaitFinish { hello, pending } => {
            send_plain(&mut ws, &hello).await?;
            let finish = loop {
                if let Some(frame) = decoder.decode_frame() {
                    break frame;
                }
                let chunk = next_binary(&mut ws).await?;
                decoder.feed(&chunk);
            };
            pending.finish(&finish)?
        }
    };
    Ok((ws, decoder, session))
}

async fn next_binary(ws: &mut Ws) -> Result<Bytes, ConnError> {
    loop {
        let message = ws.next().await.ok_or(ConnError::Closed)??;
        if message.is_binary() {
            return Ok(Bytes::from(BytesMut::from(message.into_payload())));
        }
        if message.is_close() {
            return Err(ConnError::Closed);
        }
        if message.is_text() {
            return Err(ConnError::NotBinary);
        }
    }
}

async fn send_plain(ws: &mut Ws, payload: &[u8]) -> Result<(), ConnError> {
    let mut frame = Vec::with_capacity(payload.len() + 3);
    append_frame_into(payload, None, &mut frame).expect("a handshake message is far below the frame limit");
    ws.send(Message::binary(frame)).await?;
    Ok(())
}

/// The bytes before the first frame: an optional routing hint (`ED 00 01`, three-byte length, hint), then the header.
#[derive(Default)]
struct Head {
    seen: Vec<u8>,
    done: bool,
}

impl Head {
    /// Returns what follows the header once all of it has arrived.
    fn take(&mut self, chunk: &[u8]) -> Result<Option<Vec<u8>>, ConnError> {
        if self.done {
            return Ok(Some(chunk.to_vec()));
        }
        self.seen.extend_from_slice(chunk);
        let mut at = 0;
        if self.seen.starts_with(b"ED") {
            let Some(length) = self.seen.get(4..7) else { return Ok(None) };
            at = 7 + length.iter().fold(0, |value, byte| (value << 8) | usize::from(*byte));
        }
        let end = at + WA_CONN_HEADER.len();
        if self.seen.len() < end {
            // The routing hint is a few dozen bytes; whoever announces megabytes is no WhatsApp client.
            return if end > 64 * 1024 { Err(ConnError::Header) } else { Ok(None) };
        }
        if self.seen[at..end] != WA_CONN_HEADER {
            return Err(ConnError::Header);
        }
        self.done = true;
        let rest = self.seen.split_off(end);
        self.seen = Vec::new();
        Ok(Some(rest))
    }
}

async fn run(
    server: &Arc<Server>,
    ws: Ws,
    decoder: FrameDecoder,
    session: Session,
    peer: SocketAddr,
) -> Result<(), (String, ConnError)> {
    let Session { read, write, client_static, payload } = session;
    let (sink, stream) = ws.split();
    let (tx, rx) = mpsc::channel(OUT_CAPACITY);
    let (control_tx, control) = watch::channel(Control::default());
    let behind = Arc::new(AtomicBool::new(false));
    let conn = server.world().open(tx, control_tx, Arc::clone(&behind));
    let writer = Writer { server: Arc::clone(server), conn, cipher: write, behind };
    let writer = tokio::spawn(writer.run(sink, rx, control.clone()));
    server.greet(conn, client_static, &payload, peer);
    let result = read_loop(server, conn, stream, decoder, read, control).await;
    let who = server.world().logged_in(conn).map_or_else(|| peer.to_string(), |addr| addr.to_string());
    // What it has left unconfirmed for too long is noticed before it is owed anew.
    server.note_unconfirmed();
    server.world().close(conn);
    // The writer ends with the channel that `close` dropped, or because the socket is gone.
    if writer.await.is_err_and(|error| error.is_panic()) {
        log::error!("a connection's writer panicked");
    }
    result.map_err(|error| (who, error))
}

async fn read_loop(
    server: &Arc<Server>,
    conn: ConnId,
    mut stream: SplitStream<Ws>,
    mut decoder: FrameDecoder,
    cipher: NoiseCipher,
    mut control: watch::Receiver<Control>,
) -> Result<(), ConnError> {
    let mut counter = 0_u32;
    loop {
        while let Some(mut frame) = decoder.decode_frame() {
            wait_out_stall(&mut control).await;
            cipher
                .decrypt_in_place_with_counter(counter, &mut frame)
                .map_err(|_| ConnError::Decrypt { counter })?;
            counter = counter.wrapping_add(1);
            let plain = wacore_binary::util::unpack_bytes(frame)?;
            let node = OwnedNodeRef::new(plain)?.to_owned_node();
            server.counters.stanza_in();
            server.stanza(conn, &node);
        }
        let message = tokio::select! {
            // Only the closing of the channel matters here: the server has given this connection up.
            () = closed(&mut control) => return Ok(()),
            message = stream.next() => message,
        };
        match message {
            None => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) if message.is_binary() => decoder.feed(message.as_payload()),
            Some(Ok(message)) if message.is_close() => return Ok(()),
            Some(Ok(message)) if message.is_text() => return Err(ConnError::NotBinary),
            Some(Ok(_)) => {}
        }
    }
}

/// Resolves when the server has forgotten the connection.
async fn closed(control: &mut watch::Receiver<Control>) {
    while control.changed().await.is_ok() {}
}

async fn wait_out_stall(control: &mut watch::Receiver<Control>) {
    loop {
        let until = control.borrow_and_update().stalled_until;
        let Some(until) = until.filter(|until| *until > Instant::now()) else { return };
        tokio::select! {
            () = sleep_until(until) => {}
            changed = control.changed() => if changed.is_err() { return },
        }
    }
}

struct Writer {
    server: Arc<Server>,
    conn: ConnId,
    cipher: NoiseCipher,
    behind: Arc<AtomicBool>,
}

impl Writer {
    async fn run(
        self,
        mut sink: SplitSink<Ws, Message>,
        mut rx: mpsc::Receiver<Out>,
        mut control: watch::Receiver<Control>,
    ) {
        let mut counter = 0_u32;
        let mut batch = Vec::with_capacity(WRITE_BATCH);
        while rx.recv_many(&mut batch, WRITE_BATCH).await > 0 {
            wait_out_stall(&mut control).await;
            let (frames, close) = self.seal_batch(&mut counter, &mut batch);
            if !frames.is_empty() {
                let sent = tokio::select! {
                    sent = sink.send(Message::binary(frames)) => sent.is_ok(),
                    () = closed(&mut control) => false,
                };
                if !sent {
                    break;
                }
            }
            if close {
                // Either side's close, or the reader's end, ends the wait.
                tokio::select! {
                    _ = timeout(Duration::from_secs(1), sink.close()) => {}
                    () = closed(&mut control) => {}
                }
                break;
            }
            if self.behind.load(Ordering::Relaxed) && rx.len() < CATCH_UP {
                self.server.world().catch_up(self.conn);
            }
        }
        self.server.world().close(self.conn);
    }

    /// The frames of a batch, and whether the connection ends after them.
    fn seal_batch(&self, counter: &mut u32, batch: &mut Vec<Out>) -> (Vec<u8>, bool) {
        let mut frames = Vec::new();
        for out in batch.drain(..) {
            let Out::Node(node) = out else { return (frames, true) };
            match seal(&self.cipher, *counter, &node) {
                Some(mut frame) => {
                    *counter = counter.wrapping_add(1);
                    self.server.counters.stanza_out();
                    frames.append(&mut frame);
                }
                None => log::warn!("a <{}> stanza cannot be encoded and is not sent", node.tag),
            }
        }
        (frames, false)
    }
}

fn seal(cipher: &NoiseCipher, counter: u32, node: &Node) -> Option<Vec<u8>> {
    let plain = wacore_binary::marshal(node).ok()?;
    let sealed = cipher.encrypt_with_counter(counter, &plain).ok()?;
    let mut frame = Vec::with_capacity(sealed.len() + 3);
    append_frame_into(&sealed, None, &mut frame).ok()?;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_that_are_no_head_are_refused_or_waited_for(bytes: Vec<u8>) {
            let mut head = Head::default();
            match head.take(&bytes) {
                Ok(Some(rest)) => prop_assert!(bytes.ends_with(&rest) && bytes.len() > rest.len()),
                Ok(None) => prop_assert!(bytes.len() < 11 || bytes.starts_with(b"ED")),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn the_head_is_found_however_it_is_cut() {
        let whole = [b"ED\x00\x01\x00\x00\x02hi".as_slice(), &WA_CONN_HEADER, b"rest"].concat();
        for cut in 0..whole.len() {
            let mut head = Head::default();
            let mut rest = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                if let Some(bytes) = head.take(part).expect("is a head") {
                    rest.extend(bytes);
                }
            }
            assert_eq!(rest, b"rest", "cut at {cut}");
        }
        assert!(Head::default().take(b"GET / HTTP/1.1").is_err());
    }
}
