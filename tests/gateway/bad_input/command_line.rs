//! The program: each failure is one clear line and an exit code, and the key commands work with and without a gateway.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use whatsapp_sim::{Sim, SimConfig};

use crate::process::{KEY, Process, kurir, run};
use crate::support::request;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Fails unless the command failed with one line on standard error that holds every one of `names`.
fn failed(what: &str, output: &Output, names: &[&str]) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{what}: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{what}: {stderr}");
    assert!(stderr.starts_with("kurir: "), "{what}: {stderr}");
    for name in names {
        assert!(stderr.contains(name), "{what}: {stderr} does not say {name}");
    }
    assert!(!stderr.contains(KEY), "{stderr}");
    assert!(stderr.matches("os error").count() <= 1, "{what} says it twice: {stderr}");
}

async fn worked(folder: &Path, arguments: &[&str]) -> String {
    let output = run(&mut kurir(folder, arguments)).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    stdout(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_removed_with_and_without_a_running_gateway() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new").join("data");
    let offline = worked(&data, &["key", "new", "--name", "Kasir depan", "--admin"]).await.trim().to_owned();
    assert!(offline.starts_with("kurir_") && offline.len() > 40, "{offline}");
    let process = Process::serve(&data, &sim, &[]).await;
    let other =
        worked(&data, &["key", "new", "--name", "klinik", "--account", "clinic"]).await.trim().to_owned();
    let call = async |key: &str| {
        let headers = [("x-api-key", key)];
        let answer = request(process.address, "GET", "/api/sessions", &headers, "").await.unwrap();
        (answer.status, answer.json()["counts"]["total"].clone())
    };
    assert_eq!(call(&offline).await, (200, 1.into()), "made before the gateway started, for every account");
    assert_eq!(call(&other).await, (200, 0.into()), "made while it runs, for its own account");
    let list = worked(&data, &["key", "list"]).await;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(
        lines.iter().any(|l| l.contains("Kasir depan") && l.contains("admin") && l.contains("main")),
        "{list}"
    );
    assert!(!list.contains(&offline) && !list.contains(&other) && !list.contains(KEY), "{list}");
    let id =
        lines.iter().find(|l| l.contains("klinik")).unwrap().split_whitespace().next().unwrap().to_owned();
    for wrong in ["no such", "00000000", "../status", "", "a?b#c", "%00"] {
        let output = run(&mut kurir(&data, &["key", "remove", wrong])).await;
        failed(&format!("remove {wrong:?}"), &output, &["there is no key"]);
    }
    for (name, account, says) in [
        ("", "main", "name"),
        ("a\nb", "main", "name"),
        (&"x".repeat(61), "main", "name"),
        ("x", "a b", "account"),
        ("x", "", "account"),
    ] {
        let output = run(&mut kurir(&data, &["key", "new", "--name", name, "--account", account])).await;
        failed(&format!("new {name:?} {account:?}"), &output, &[says]);
        assert_eq!(stdout(&output), "");
    }
    assert_eq!(worked(&data, &["key", "remove", &id]).await, format!("Removed {id}.\n"));
    assert_eq!(call(&other).await.0, 401, "removed at once");
    let status: serde_json::Value =
        serde_json::from_str(&worked(&data, &["status", "--json"]).await).unwrap();
    assert_eq!(status["status"], "ready");
    assert!(process.stop().await.2);
    let list = worked(&data, &["key", "list"]).await;
    assert!(list.lines().count() == 1 && list.contains("Kasir depan"), "{list}");
    let output = run(&mut kurir(&data, &["key", "remove", "00000000"])).await;
    failed("remove offline", &output, &["there is no key 00000000"]);
    let output = run(&mut kurir(&data, &["key", "new", "--name", ""])).await;
    failed("new offline", &output, &["name"]);
    let output = run(&mut kurir(&data, &["status"])).await;
    failed("status offline", &output, &["kurir serve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_names_the_sim_feature_and_the_configuration_hides_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let version = worked(folder.path(), &["--version"]).await;
    assert!(version.starts_with("kurir ") && version.contains("sim"), "{version}");
    let mut command = kurir(folder.path(), &["config"]);
    let output = run(command.env("KURIR_ADMIN_KEY", KEY).env("KURIR_LISTEN", "127.0.0.1:9999")).await;
    let text = stdout(&output);
    assert!(output.status.success() && text.contains("listen = \"127.0.0.1:9999\""), "{text}");
    assert!(text.contains("admin_key is set") && !text.contains(KEY), "{text}");
    for setting in ["data_dir", "allow_private_fetch", "log", "country_code"] {
        assert!(text.contains(setting), "{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking creates nothing");
    let output = run(&mut kurir(folder.path(), &["dance"])).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_start_says_why_in_one_line() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let serve = async |folder: &Path, environment: &[(&str, &str)]| {
        let mut command = kurir(folder, &["serve"]);
        command.env("KURIR_LISTEN", "127.0.0.1:0").env("KURIR_WHATSAPP_URL", sim.ws_url());
        run(command.envs(environment.iter().copied())).await
    };

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let output = serve(&data, &[("KURIR_LISTEN", &port)]).await;
    failed("a taken port", &output, &[&port, "cannot listen", "KURIR_LISTEN"]);

    let running = Process::serve(&data, &sim, &[]).await;
    let output = serve(&data, &[]).await;
    failed(
        "a second instance",
        &output,
        &[&data.join("kurir.redb").display().to_string(), "another process"],
    );
    let answer = request(running.address, "GET", "/healthz", &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "the first one goes on");
    let status = worked(&data, &["status"]).await;
    assert!(status.contains("ready"), "and so does its control socket: {status}");
    assert!(running.stop().await.2);

    for (name, value) in [
        ("KURIR_LISTEN", "everywhere"),
        ("KURIR_LISTEN", "127.0.0.1:99999"),
        ("KURIR_LISTEN", "a\nb"),
        ("KURIR_ALLOW_PRIVATE_FETCH", "office"),
        ("KURIR_ALLOW_PRIVATE_FETCH", "10.0.0.0/33"),
        ("KURIR_SEND_DELAY_MS", "-1"),
        ("KURIR_QUEUE_LIMIT", "0"),
        ("KURIR_MAX_CONNECTIONS", "many"),
        ("KURIR_COUNTRY_CODE", "Indonesia"),
        ("KURIR_WHATSAPP_URL", "http://example.com"),
        ("KURIR_LOG", "kurir=loud"),
        ("KURIR_ADMIN_KEY", "short"),
        ("KURIR_CONFIG", "/nonexistent/kurir.toml"),
    ] {
        let output = serve(&data, &[(name, value)]).await;
        let names = if name == "KURIR_CONFIG" { vec![value] } else { vec![name] };
        failed(&format!("{name}={value}"), &output, &names);
    }

    for (text, names) in [
        ("lisen = \"127.0.0.1:1\"\n", ["lisen", "kurir.toml"]),
        ("listen = 7\n", ["listen", "kurir.toml"]),
        ("listen = \"127.0.0.1:1\nlog = \"info\"\n", ["line 1", "kurir.toml"]),
        (&format!("log = \"info\"\nadmin_key = \"{KEY}\n"), ["line 2", "kurir.toml"]),
        (&format!("admin_key = {KEY}\n"), ["line 1", "kurir.toml"]),
    ] {
        let file = folder.path().join("kurir.toml");
        std::fs::write(&file, text).unwrap();
        let output = run(kurir(&data, &["serve", "--config"]).arg(&file)).await;
        failed(text, &output, &names);
    }

    let file = folder.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let output = serve(&file, &[]).await;
    failed("a file in the way", &output, &["a-file", "KURIR_DATA_DIR"]);
    let output = serve(&file.join("below"), &[]).await;
    failed("a folder below a file", &output, &["a-file", "KURIR_DATA_DIR"]);
    // Nobody may write there, not even root.
    let output = serve(Path::new("/proc/kurir"), &[]).await;
    failed("a folder that cannot be made", &output, &["/proc/kurir", "KURIR_DATA_DIR"]);
    let output = serve(Path::new("/proc/self"), &[]).await;
    failed("a folder that cannot be written", &output, &["/proc/self/kurir.redb"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x", "nothing was harmed");
}
