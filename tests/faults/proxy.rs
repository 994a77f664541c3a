//! Stands between the gateway and the test server, answers `/sw.js` itself, and counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// `None`: an error is the answer.
    revision: Arc<Mutex<Option<u32>>>,
}

impl Proxy {
    /// `to`: the test server's address.
    pub(crate) async fn start(to: SocketAddr, revision: Option<u32>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            revision: Arc::new(Mutex::new(revision)),
        };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                // A connection that breaks is one of the things that are tested.
                tokio::spawn(async move { shared.serve(stream, to).await });
            }
        });
        proxy
    }

    pub(crate) fn ws_url(&self) -> String {
        format!("ws://{}/ws/chat", self.address)
    }

    /// How often the version was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn set_revision(&self, revision: Option<u32>) {
        *self.revision.lock().unwrap() = revision;
    }

    async fn serve(&self, mut stream: TcpStream, to: SocketAddr) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if head.starts_with(b"GET /sw.js ") {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let revision = *self.revision.lock().unwrap();
            let answer = match revision {
                Some(revision) => {
                    let script =
                        format!("self.__swData=JSON.parse(\"{{\\\"client_revision\\\":{revision}}}\");\n");
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{script}",
                        script.len()
                    )
                }
                None => "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await?;
            return stream.shutdown().await;
        }
        let mut server = TcpStream::connect(to).await?;
        server.write_all(&head).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
        Ok(())
    }
}
