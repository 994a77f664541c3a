//! Somebody's server that gets webhooks.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kurir::config::Config;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot};

use super::support::{Office, PATIENCE};

/// A call that a receiver got.
#[derive(Debug)]
pub struct Call {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    pub fn text(&self) -> String {
        self.json()["data"]["text"].as_str().unwrap_or_default().to_owned()
    }
}

type Reaction = Arc<dyn Fn(&Call) -> Response + Send + Sync>;

/// Somebody's server. It ends when dropped, and its port is free again.
pub struct Receiver {
    pub address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    pub async fn start(reaction: impl Fn(&Call) -> Response + Send + Sync + 'static) -> Receiver {
        Receiver::at(SocketAddr::from(([127, 0, 0, 1], 0)), reaction).await
    }

    pub async fn at(
        address: SocketAddr,
        reaction: impl Fn(&Call) -> Response + Send + Sync + 'static,
    ) -> Receiver {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener: TcpListener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let reaction: Reaction = Arc::new(reaction);
        let router = Router::new().fallback(move |request: axum::extract::Request| {
            let (sender, reaction) = (sender.clone(), Arc::clone(&reaction));
            async move {
                let (head, body) = request.into_parts();
                let call = Call { headers: head.headers, body: to_bytes(body, 8 << 20).await.unwrap() };
                let response = reaction(&call);
                let _ = sender.send(call);
                response
            }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(kurir::api::serve::serve(
            listener,
            router,
            kurir::api::serve::ServeLimits { drain: Duration::ZERO, ..Default::default() },
            None,
            async {
                let _ = stopped.await;
            },
        ));
        Receiver { address, calls, stop: Some(stop), task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub async fn next(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv()).await.expect("no call came").unwrap()
    }

    pub async fn stop(mut self) -> SocketAddr {
        let _ = self.stop.take().unwrap().send(());
        self.task.await.unwrap();
        self.address
    }
}

/// Takes everything.
pub fn ok(_: &Call) -> Response {
    StatusCode::OK.into_response()
}

/// Receivers on this machine are allowed, and failures tried again soon.
pub fn near(config: &mut Config) {
    config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()];
    config.webhook_retry = Duration::from_millis(20);
}

/// Makes a webhook; its id and its secret.
pub async fn hook(office: &Office, body: Value) -> (String, String) {
    let answer = office.call("POST", "/api/v1/webhooks", Some(body)).await;
    let body = answer.json();
    assert_eq!(answer.status, 201, "{body}");
    (body["webhook"]["id"].as_str().unwrap().to_owned(), body["secret"].as_str().unwrap().to_owned())
}
