//! Media URLs that lead nowhere good.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::desk::{Desk, Shape};
use crate::support::PATIENCE;

/// The limit on a whole download in these tests.
const TOTAL: Duration = Duration::from_secs(2);

/// A web server that answers each path in its own bad way. A header out of the URL gets no file.
async fn site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client closing early is what most of these cases are about.
            tokio::spawn(async move { answer(stream).await });
        }
    });
    address
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // Seen by the client as an answer that cannot be used, where a text is expected.
    if head.to_lowercase().contains("\nx-evil") {
        return stream.write_all(b"injected").await;
    }
    let path = head.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
    let whole = |kind: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let text = match path.as_str() {
        "/page" => whole("text/html", "<html><body>Sign in</body></html>"),
        "/disguised" => whole("image/png", "<!DOCTYPE html><html><body>Download</body></html>"),
        "/text" => whole("text/plain", "just a text, no picture"),
        "/404" => "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone".to_owned(),
        "/500" => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/empty" => whole("image/png", ""),
        "/large" => {
            "HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncontent-length: 99999999999\r\n\r\n".to_owned()
        }
        "/garbage" => "\u{1}\u{2}\u{3} this is not HTTP\r\n\r\n".to_owned(),
        "/cut" => "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\nPNG".to_owned(),
        "/around" => "HTTP/1.1 302 Found\r\nlocation: /around\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/inside" => {
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        "/file" => {
            "HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        "/silent" => {
            // Until the client has had enough.
            let _ = stream.read_u8().await;
            return Ok(());
        }
        "/trickle" | "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n").await?;
            let piece = if path == "/endless" { vec![7; 64 * 1024] } else { b"x".to_vec() };
            let mut pause = tokio::time::interval(Duration::from_millis(20));
            loop {
                pause.tick().await;
                stream.write_all(&piece).await?;
            }
        }
        _ => whole("text/plain", path.as_str()),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

async fn refused(desk: &Desk, url: &str, media_type: &str, status: u16, names: &[&str]) {
    let began = Instant::now();
    let body = json!({"url": url, "media_type": media_type});
    let answer =
        tokio::time::timeout(PATIENCE, desk.mpwa("/send-media", body)).await.expect("no answer in time");
    let what: String = url.chars().take(120).collect();
    Shape::Mpwa.refused(&what, &answer, status, names);
    // Generous, for a machine that is busy; the default limit is two minutes.
    assert!(began.elapsed() < TOTAL * 10, "{what} took {:?}", began.elapsed());
    desk.assert_nothing_kept(&what);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_gives_no_file_is_refused_in_bounded_time() {
    let desk = Desk::open_with(|config| {
        config.allow_private_fetch = kurir::media::Cidr::parse_list("127.0.0.1").unwrap();
        config.limits.fetch_total = TOTAL;
        config.limits.fetch_stall = TOTAL / 2;
    })
    .await;
    let site = site().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let cases: &[(&str, &str, u16, &[&str])] = &[
        ("/page", "image", 400, &["url", "direct link", "web page"]),
        ("/disguised", "image", 400, &["url", "direct link", "web page"]),
        ("/text", "image", 400, &["media_type", "image", "text/plain"]),
        ("/text", "video", 400, &["media_type", "video"]),
        ("/text", "audio", 400, &["media_type", "audio"]),
        ("/text", "pdf", 400, &["media_type", "pdf"]),
        ("/text", "zip", 400, &["media_type", "zip"]),
        ("/text", "sticker", 400, &["media_type", "sticker"]),
        ("/text\r\nX-Evil: 1", "image", 400, &["media_type"]),
        ("/text HTTP/1.1\r\nX-Evil: 1\r\n\r\n", "image", 400, &["media_type"]),
        ("/text\u{0}", "image", 400, &["media_type"]),
        ("/404", "image", 502, &["url", "404"]),
        ("/500", "image", 502, &["url", "500"]),
        ("/empty", "image", 400, &["url", "empty"]),
        ("/large", "video", 400, &["url", "larger"]),
        ("/garbage", "image", 502, &["url"]),
        ("/cut", "image", 502, &["url"]),
        ("/around", "image", 400, &["url", "redirects"]),
        ("/inside", "image", 400, &["url", "link-local"]),
        ("/file", "image", 400, &["url"]),
        ("/silent", "image", 502, &["url", "too slow"]),
        ("/trickle", "image", 502, &["url", "too slow"]),
        ("/endless", "image", 502, &["url", "too slow"]),
    ];
    for (path, media_type, status, names) in cases {
        refused(&desk, &format!("http://{site}{path}?token=secret"), media_type, *status, names).await;
    }
    refused(&desk, &format!("http://{closed}/"), "image", 502, &["url", "cannot be reached"]).await;
    refused(&desk, "http://kurir.invalid/a.png", "image", 502, &["url", "kurir.invalid"]).await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_points_inside_is_refused_without_a_connection() {
    let desk = Desk::open().await;
    let own = desk.office.gateway.address().port();
    let inside = [
        format!("http://127.0.0.1:{own}/healthz"),
        format!("http://localhost:{own}/healthz"),
        format!("http://127.1:{own}/healthz"),
        format!("http://0x7f000001:{own}/healthz"),
        format!("http://2130706433:{own}/healthz"),
        format!("http://0:{own}/healthz"),
        format!("http://0.0.0.0:{own}/healthz"),
        format!("http://[::1]:{own}/healthz"),
        format!("http://[::ffff:127.0.0.1]:{own}/healthz"),
        "http://169.254.169.254/latest/meta-data/".into(),
        "http://[fe80::1]/".into(),
        "http://10.0.0.1/".into(),
        "http://192.168.1.1/admin".into(),
        "http://172.16.0.1/".into(),
        "http://100.64.0.1/".into(),
        "http://[fd00::1]/".into(),
        "http://224.0.0.1/".into(),
        "http://255.255.255.255/".into(),
    ];
    for url in &inside {
        refused(&desk, url, "image", 400, &["url"]).await;
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_url_is_refused() {
    let desk = Desk::open().await;
    let long = format!("http://example.com/{}", "a".repeat(200_000));
    for url in [
        "not a url",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http:///a.png",
        "https://user:password@example.com/a.png",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "\u{202e}http://example.com",
        "http://[::1",
        &long,
    ] {
        refused(&desk, url, "image", 400, &["url"]).await;
    }
    desk.close().await;
}
