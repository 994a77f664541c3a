//! What `kurir status` prints for people.

use serde_json::Value;

/// The gateway's answer as lines.
pub(crate) fn text(answer: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut lines = vec![
        format!("Kurir {}: {}", word(&answer["version"]), word(&answer["status"])),
        format!("  name         {}", word(&answer["host"])),
    ];
    for url in answer["urls"].as_array().into_iter().flatten() {
        lines.push(format!("  address      {}", word(url)));
    }
    let certificate = &answer["certificate"];
    if certificate.is_object() {
        lines.push(format!(
            "  certificate  {}, until {}",
            word(&certificate["source"]),
            word(&certificate["not_after"]).split('T').next().unwrap_or_default()
        ));
        lines.push(format!("  SHA-256      {}", word(&certificate["sha256"])));
    }
    lines.push(format!("  owner        {}", word(&answer["claim"])));
    lines.push(format!("  store        {}", word(&answer["store"])));
    lines.push(format!("  clock        {}", word(&answer["clock"])));
    let disk = &answer["disk"];
    match (disk["free"].as_u64(), disk["total"].as_u64()) {
        (Some(free), Some(total)) => {
            lines.push(format!("  disk         {} MB free of {} MB", free >> 20, total >> 20));
        }
        _ => lines.push(format!("  disk         {}", word(&disk["error"]))),
    }
    for notice in answer["notices"].as_array().into_iter().flatten() {
        lines.push(format!("  correct      {}", word(notice)));
    }
    let sessions = answer["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() {
        lines.push("  sessions     none".into());
    }
    for session in sessions {
        let reason = word(&session["reason"]);
        let why = if reason == "none" { String::new() } else { format!(" ({reason})") };
        lines.push(format!(
            "  session {:<4} {}{why}, {} waiting",
            session["session"].as_u64().unwrap_or_default(),
            word(&session["status"]),
            session["queued"].as_u64().unwrap_or_default()
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_a_person_looks_for_is_there() {
        let answer = json!({
            "version": "0.1.0", "status": "ready", "host": "kurir-a1b2",
            "urls": ["http://kurir-a1b2.local", "http://192.168.1.9"],
            "certificate": {"source": "self-signed", "sha256": "AB:CD", "not_after": "2049-12-31T00:00:00Z"},
            "claim": "waiting for its owner", "store": "ok", "clock": "set",
            "disk": {"free": 1_048_576_000_u64, "total": 2_097_152_000_u64},
            "notices": ["kurir.toml: country: is needed"],
            "sessions": [
                {"session": 1, "status": "connected", "reason": "none", "queued": 0},
                {"session": 2, "status": "connecting", "reason": "network", "queued": 7},
            ],
        });
        let text = text(&answer);
        for part in [
            "Kurir 0.1.0: ready",
            "http://kurir-a1b2.local",
            "self-signed, until 2049-12-31",
            "AB:CD",
            "waiting for its owner",
            "1000 MB free of 2000 MB",
            "correct      kurir.toml: country: is needed",
            "session 1    connected, 0 waiting",
            "session 2    connecting (network), 7 waiting",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn an_answer_of_another_version_is_no_panic() {
        assert!(text(&json!({})).contains("sessions     none"));
    }
}
