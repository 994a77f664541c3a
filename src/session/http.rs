//! The HTTP client that whatsapp-rust uploads and downloads media with: ureq with time limits, shared by all sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody};
use whatsapp_rust::anyhow::{Result, anyhow};
use whatsapp_rust::http::UreqHttpClient;

/// Requests at once over all sessions: each holds a blocking thread and two 16 KiB buffers.
const PARALLEL: usize = 8;
/// Largest body that is held in memory; media are streamed and not counted.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// See the module.
#[derive(Clone)]
pub struct WhatsAppHttp {
    inner: UreqHttpClient,
    slots: Arc<Semaphore>,
    /// The test server's `host:port`, whose media are served without TLS.
    plain_host: Option<Arc<str>>,
}

impl WhatsAppHttp {
    /// `whatsapp_url`: the test server's WebSocket address, if Kurir is pointed at one.
    pub fn new(whatsapp_url: Option<&str>) -> WhatsAppHttp {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .input_buffer_size(16 * 1024)
            .output_buffer_size(16 * 1024)
            .max_idle_connections(4)
            .max_idle_connections_per_host(2)
            .timeout_resolve(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // 50 MB at 100 kB/s, with room.
            .timeout_global(Some(Duration::from_secs(600)))
            .proxy(None)
            .build()
            .into();
        WhatsAppHttp {
            inner: UreqHttpClient::with_agent(agent).with_max_body_bytes(MAX_BODY),
            slots: Arc::new(Semaphore::new(PARALLEL)),
            plain_host: whatsapp_url
                .and_then(|url| url.strip_prefix("ws://"))
                .and_then(|rest| rest.split('/').next())
                .map(Arc::from),
        }
    }

    fn route(&self, mut request: HttpRequest) -> HttpRequest {
        if let Some(host) = &self.plain_host
            && let Some(rest) = request.url.strip_prefix("https://")
            && rest.strip_prefix(host.as_ref()).is_some_and(|rest| rest.starts_with('/'))
        {
            request.url = format!("http://{rest}");
        }
        request
    }
}

#[async_trait::async_trait]
impl HttpClient for WhatsAppHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        let _slot = self.slots.acquire().await.map_err(|_| anyhow!("shutting down"))?;
        self.inner.execute(self.route(request)).await
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
        self.inner.execute_streaming(self.route(request))
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    fn execute_upload(
        &self,
        request: HttpRequest,
        body: UploadBody,
        content_length: u64,
    ) -> Result<HttpResponse> {
        self.inner.execute_upload(self.route(request), body, content_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(whatsapp: Option<&str>, url: &str) -> String {
        WhatsAppHttp::new(whatsapp).route(HttpRequest::get(url)).url
    }

    #[test]
    fn only_the_test_servers_own_host_loses_tls() {
        let sim = Some("ws://127.0.0.1:9/ws/chat");
        assert_eq!(routed(sim, "https://127.0.0.1:9/mms/image"), "http://127.0.0.1:9/mms/image");
        assert_eq!(routed(sim, "https://127.0.0.1:99/mms"), "https://127.0.0.1:99/mms");
        assert_eq!(routed(sim, "https://mmg.whatsapp.net/x"), "https://mmg.whatsapp.net/x");
        assert_eq!(routed(None, "https://127.0.0.1:9/mms"), "https://127.0.0.1:9/mms");
    }
}
