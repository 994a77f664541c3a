//! `/sw.js`, where clients look up the version they must say they are.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

/// The route. `revision` is the last number of the version `2.3000.N`.
pub(crate) fn router(revision: u32) -> Router {
    // Clients search the script for this one property.
    let script = format!("self.__swData=JSON.parse(\"{{\\\"client_revision\\\":{revision}}}\");\n");
    Router::new().route(
        "/sw.js",
        get(move || {
            let script = script.clone();
            async move { ([(CONTENT_TYPE, "application/javascript")], script) }
        }),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    #[tokio::test]
    async fn the_script_names_the_version_where_clients_look() {
        let request = Request::get("/sw.js").body(Body::empty()).unwrap();
        let response = super::router(1_026_131_876).oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        let version = wacore::version::parse_sw_js(std::str::from_utf8(&body).unwrap());
        assert_eq!(version, Some((2, 3000, 1_026_131_876)));
    }
}
