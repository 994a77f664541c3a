//! The files of a package that come from the command line's own definition, so that they cannot disagree with it.

use std::path::Path;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;
use kurir::config::Config;

/// Writes `kurir.1`, the shells' completions under the names that Debian's folders want, and `kurir.toml`.
pub(crate) fn write(mut command: Command, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    // A build with `sim` says so in its version; no package may be made of it, and its page would say so, too.
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .section("1")
        .source(format!("kurir {}", env!("CARGO_PKG_VERSION")))
        .manual("Kurir")
        .render(&mut page)?;
    subcommands(&command, &mut page)?;
    put("kurir.1", &page)?;
    for (shell, name) in [(Shell::Bash, "kurir.bash"), (Shell::Zsh, "_kurir"), (Shell::Fish, "kurir.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "kurir", &mut script);
        put(name, &script)?;
    }
    put("kurir.toml", Config::default().to_packaged_toml().as_bytes())
}

/// One page for all: what each subcommand takes, after the page that `clap_mangen` makes.
fn subcommands(command: &Command, page: &mut Vec<u8>) -> anyhow::Result<()> {
    use std::io::Write;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let options = |sub: &Command| sub.get_arguments().any(|a| !a.is_global_set() && a.get_id() != "help");
        let nested: Vec<&Command> = sub.get_subcommands().filter(|s| s.get_name() != "help").collect();
        let all = if nested.is_empty() {
            vec![(sub.get_name().to_owned(), sub)]
        } else {
            nested.iter().map(|s| (format!("{} {}", sub.get_name(), s.get_name()), *s)).collect()
        };
        for (name, sub) in all.into_iter().filter(|(_, sub)| options(sub)) {
            writeln!(page, ".SH \"KURIR {}\"", name.to_uppercase())?;
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(page, "{}", about.replace('-', "\\-"))?;
            for argument in sub.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help") {
                let name = match argument.get_long() {
                    Some(long) => format!("\\-\\-{}", long.replace('-', "\\-")),
                    None => format!("<{}>", argument.get_id().as_str().to_uppercase()),
                };
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                writeln!(page, ".TP\n\\fB{name}\\fR\n{}", help.replace('-', "\\-"))?;
            }
        }
    }
    Ok(())
}
