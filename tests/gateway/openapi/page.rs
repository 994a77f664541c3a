//! `/docs`: offline, and nothing but itself.

use crate::support::{Office, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_nothing_from_elsewhere_and_runs_nothing_but_its_own_files() {
    let office = Office::open().await;
    let address = office.gateway.address();
    let page = request(address, "GET", "/docs", &[], "").await.unwrap();
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert_eq!(page.status, 200);
    assert!(html.contains("/docs/app.js") && html.contains("/docs/style.css"), "{html}");
    for (path, kind) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/app.js", "text/javascript; charset=utf-8"),
        ("/docs/samples.js", "text/javascript; charset=utf-8"),
        ("/docs/style.css", "text/css; charset=utf-8"),
    ] {
        let answer = request(address, "GET", path, &[], "").await.unwrap();
        assert_eq!(answer.headers["content-type"], kind, "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        // The policy would block both; the page would be broken in an office without the Internet.
        assert!(!text.contains("https://") && !text.contains("//cdn"), "{path} names another server");
        assert!(!text.contains("innerHTML") && !text.contains("eval("), "{path} could run what it shows");
    }
    // What the page's script does not run, the policy does not allow either.
    assert!(!html.contains("<style") && !html.contains("onclick") && !html.contains("<script>"), "{html}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_document_is_not_sent_again() {
    let office = Office::open().await;
    let address = office.gateway.address();
    let first = request(address, "GET", "/openapi.json", &[], "").await.unwrap();
    let tag = first.headers["etag"].to_str().unwrap();
    let again = request(address, "GET", "/openapi.json", &[("if-none-match", tag)], "").await.unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other =
        request(address, "GET", "/openapi.json", &[("if-none-match", "\"other\"")], "").await.unwrap();
    assert_eq!((other.status, &other.body), (200, &first.body));
    assert!(!String::from_utf8_lossy(&first.body).contains(&office.key));
}
