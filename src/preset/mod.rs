//! What a person presets in `kurir.toml` on the card's first partition: read, checked and handed to whom it concerns, at
//! each start and before the network is up. docs/image.md explains the file.
//!
//! A wrong file never stops the start. Each wrong value falls back alone, is told in one line, and the rest holds.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use toml::Table;

use crate::config::NOTICES_FILE;
use network::Interface;
use problem::Problem;
use settings::Settings;

mod country;
mod network;
mod problem;
mod render;
mod settings;

/// Bytes that the file may have.
pub const LARGEST: usize = 64 * 1024;
/// The group of the service's user.
const GROUP: &str = "kurir";
const WPA_SUPPLICANT: &str = "wpa_supplicant/wpa_supplicant.conf";
const TIMESYNCD: &str = "systemd/timesyncd.conf.d/kurir.conf";

/// The person's file, as it was found.
pub enum Found {
    /// There is none.
    Nothing,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// Its bytes; one more than [`LARGEST`] means that there are more.
    Bytes(Vec<u8>),
}

/// A file to write, or to remove where it has no contents.
pub struct Wanted {
    /// Below `/run`.
    pub path: PathBuf,
    /// What it holds; `None`: it must not be there.
    pub contents: Option<String>,
    /// Its permissions.
    pub mode: u32,
    /// Whether the service's group owns it.
    pub for_service: bool,
}

/// All that follows from the file.
pub struct Plan {
    /// The files to write.
    pub files: Vec<Wanted>,
    /// What a person has to correct, one line each, in the panel's language.
    pub problems: Vec<String>,
    /// What the box is called.
    pub host_name: String,
}

/// Reads the file. At most one byte more than [`LARGEST`] is read.
pub fn find(path: &Path) -> Found {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    match read() {
        Ok(bytes) => Found::Bytes(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(e) => Found::Unreadable(e.kind().to_string()),
    }
}

/// Decides everything. `base`: the image's own settings. `host_name` makes the name of the one that was set, if one was,
/// and of the data folder.
pub fn plan(found: &Found, base: &str, host_name: impl FnOnce(Option<&str>, &Path) -> String) -> Plan {
    let mut problems = Vec::new();
    let mut settings = Settings::of_the_image(base, &mut problems);
    let table = table(found).unwrap_or_else(|problem| {
        problems.push(problem);
        Table::new()
    });
    let network = network::read(table.get("network"), &mut problems);
    settings.override_with(&table, &mut problems);
    let host_name = host_name(settings.config.host_name.as_deref(), &settings.config.data_dir);
    settings.fix_host_name(&host_name);
    let language = settings.config.panel_language;
    let problems: Vec<String> = problems.iter().map(|problem| problem.text(language)).collect();
    let file = |path: &str, mode: u32, contents: Option<String>| Wanted {
        path: path.into(),
        contents,
        mode,
        for_service: false,
    };
    let unit = |interface| Some(render::unit(&network, interface, &host_name));
    let errors = Some(problems.join("\n") + "\n").filter(|_| !problems.is_empty());
    let servers = Some(&network.time_servers).filter(|servers| !servers.is_empty());
    let files = vec![
        file("systemd/network/50-kurir-ethernet.network", 0o644, unit(Interface::Ethernet)),
        file("systemd/network/50-kurir-wifi.network", 0o644, unit(Interface::Wifi)),
        // Passwords are in it.
        file(WPA_SUPPLICANT, 0o600, network.wifi.as_ref().map(render::wpa_supplicant)),
        file(TIMESYNCD, 0o644, servers.map(|servers| render::timesyncd(servers))),
        file("kurir/host-name", 0o644, Some(format!("{host_name}\n"))),
        file(&format!("kurir/{NOTICES_FILE}"), 0o644, errors),
        // An administrator's key may be in it.
        Wanted { for_service: true, ..file("kurir/kurir.toml", 0o640, Some(settings.to_toml())) },
    ];
    Plan { files, problems, host_name }
}

fn table(found: &Found) -> Result<Table, Problem> {
    let bytes = match found {
        Found::Nothing => return Ok(Table::new()),
        Found::Unreadable(why) => return Err(Problem::Unreadable(why.clone())),
        Found::Bytes(bytes) if bytes.len() > LARGEST => return Err(Problem::TooLarge),
        Found::Bytes(bytes) => bytes,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotUtf8)?;
    // Windows' Notepad begins its files with one.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.parse().map_err(|e: toml::de::Error| {
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Problem::Syntax(before.matches('\n').count() + 1)
    })
}

/// Writes the files below `into`, each as a whole; `group` is that of the service's user. Returns what could not be
/// written, one line each.
pub fn write(plan: &Plan, into: &Path, group: Option<u32>) -> Vec<String> {
    let mut failures = Vec::new();
    for file in &plan.files {
        let path = into.join(&file.path);
        let written = match &file.contents {
            Some(contents) => put(&path, contents, file.mode, group.filter(|_| file.for_service)),
            None => match std::fs::remove_file(&path) {
                // Without its folder it is not there either.
                Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    Err(e)
                }
                _ => Ok(()),
            },
        };
        if let Err(e) = written {
            failures.push(format!("cannot write {}: {e}", path.display()));
        }
    }
    failures
}

fn put(path: &Path, contents: &str, mode: u32, group: Option<u32>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    // It is for its owner only until it has its group.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(contents.as_bytes())?;
    if group.is_some() {
        std::os::unix::fs::fchown(file.as_file(), None, group)?;
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// The number of the group `kurir`; `None`: there is none on this machine. It is looked up in /etc/group, because a static
/// program has no other way.
pub fn service_group() -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let mut fields = groups.lines().map(|line| line.split(':'));
    fields
        .find_map(|mut fields| if fields.next() == Some(GROUP) { fields.nth(1)?.parse().ok() } else { None })
}

#[cfg(test)]
mod tests;
