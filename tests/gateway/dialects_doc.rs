//! `docs/dialects.md` says which test replays which endpoint: the tests are there, and name the endpoint.
#![allow(clippy::unwrap_used, reason = "a test's own helpers")]

use std::path::Path;

/// The texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The body of a function, up to the next one that stands at the margin.
fn function<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let begin = source.find(&format!("fn {name}("))?;
    let rest = &source[begin..];
    Some(&rest[..rest.find("\n}\n").map_or(rest.len(), |end| end + 2)])
}

#[test]
fn every_row_names_a_test_that_is_there_and_asks_its_endpoint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/dialects.md")).unwrap();
    let mut rows = 0;
    for row in page.lines().filter(|line| line.contains(".rs::")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, endpoints, _, test, _] = cells[..] else { panic!("not three columns: {row}") };
        let (file, name) = quoted(test)[0].split_once("::").unwrap_or_else(|| panic!("no test in {row}"));
        let source =
            std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}, in {row}: {e}"));
        let body = function(&source, name).unwrap_or_else(|| panic!("there is no {name} in {file}"));
        let before = source[..source.find(&format!("async fn {name}(")).unwrap_or(0)].trim_end();
        assert!(
            before.lines().last().is_some_and(|line| line.contains("#[tokio::test")),
            "{name} in {file} is no test"
        );
        for endpoint in quoted(endpoints) {
            // What stands before and after the id; helpers above the test may hold the first part.
            for part in endpoint.split("/:id").filter(|part| !part.is_empty()) {
                assert!(
                    body.contains(part) || source.contains(part),
                    "{file} does not ask {endpoint} as {row} says"
                );
            }
        }
        rows += 1;
    }
    assert!(rows > 40, "only {rows} rows");
}
