//! The journal as a stream: what happens, from where the client was, and nobody else's.

use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE, request};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// One open stream.
struct Stream {
    body: Incoming,
    buffer: String,
    _connection: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

/// One event: id, name, data.
type Shown = (String, String, Value);

impl Stream {
    async fn open(office: &Office, key: &str, path: &str, last: Option<&str>) -> Stream {
        let stream = TcpStream::connect(office.gateway.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().uri(path).header("host", "kurir").header("x-api-key", key);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream =
            Stream { body: response.into_body(), buffer: String::new(), _connection: connection };
        assert!(stream.block().await.unwrap().contains(": connected"));
        stream
    }

    /// The next block of lines; `None`: the stream has ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let block = block.to_owned();
                self.buffer = rest.to_owned();
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("nothing came")?;
            self.buffer.push_str(std::str::from_utf8(&frame.ok()?.into_data().ok()?).unwrap());
        }
    }

    async fn next(&mut self) -> Option<Shown> {
        loop {
            let block = self.block().await?;
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(event), Some(data)) = (field("id: "), field("event: "), field("data: ")) {
                return Some((id, event, serde_json::from_str(&data).unwrap()));
            }
        }
    }
}

fn text(shown: &Shown) -> &str {
    shown.2["data"]["text"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_the_client_was() {
    let (office, session) = Office::paired().await;
    let path = "/api/v1/events?types=message,media";
    let mut stream = Stream::open(&office, &office.key, path, None).await;
    office.sim.send_text(CUSTOMER, OFFICE, "satu").await.unwrap();
    let first = stream.next().await.unwrap();
    assert_eq!((first.1.as_str(), text(&first)), ("message", "satu"));
    assert_eq!(first.2["session"], session.id());
    drop(stream);
    for word in ["dua", "tiga"] {
        office.sim.send_text(CUSTOMER, OFFICE, word).await.unwrap();
    }
    // By number and by the event's own id, after a restart as well.
    let office = office.restart().await;
    for last in [first.0.as_str(), first.2["id"].as_str().unwrap()] {
        let mut stream = Stream::open(&office, &office.key, path, Some(last)).await;
        assert_eq!(text(&stream.next().await.unwrap()), "dua");
        assert_eq!(text(&stream.next().await.unwrap()), "tiga");
    }
    let by_person = format!("{path}&after=0&person={CUSTOMER}&session={}", session.id());
    let mut stream = Stream::open(&office, &office.key, &by_person, None).await;
    assert_eq!(text(&stream.next().await.unwrap()), "satu");
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_another_accounts_events_and_a_closing_gateway_ends_the_stream() {
    let (office, session) = Office::paired().await;
    let stranger = office.gateway.keys().create("other", "other", false).await.unwrap();
    let admin = office.gateway.keys().create("admin", "other", true).await.unwrap();
    let mut none = Stream::open(&office, &stranger, "/api/v1/events?after=0", None).await;
    let mut all = Stream::open(&office, &admin, "/api/v1/events?types=message", None).await;
    office.sim.send_text(CUSTOMER, OFFICE, "rahasia").await.unwrap();
    assert_eq!(text(&all.next().await.unwrap()), "rahasia");
    let address = office.gateway.address();
    for (path, key, status) in [
        ("/api/v1/events".to_owned(), "", 401),
        (format!("/api/v1/events?session={}", session.id()), stranger.as_str(), 403),
        ("/api/v1/events?session=none".to_owned(), stranger.as_str(), 404),
        ("/api/v1/events?types=everything".to_owned(), stranger.as_str(), 400),
        ("/api/v1/events?after=nowhere".to_owned(), stranger.as_str(), 400),
    ] {
        let answer = request(address, "GET", &path, &[("x-api-key", key)], "").await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
    let closing = tokio::spawn(office.gateway.shutdown());
    assert_eq!(none.next().await, None, "it saw something that is not its own");
    while let Some(shown) = all.next().await {
        assert_eq!(shown.1, "message");
    }
    tokio::time::timeout(PATIENCE, closing).await.unwrap().unwrap();
}
