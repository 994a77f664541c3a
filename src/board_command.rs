//! `kurir board`: which boards there are, how the one in use is wired, and whether its parts work.

use std::io::{self, Write};
use std::path::Path;

use kurir_board::profile::{Chosen, Kind, MODEL_FILE, Profile, ProfileError, choose, pin_table};
use kurir_board::{Board, selftest};

use crate::config::Config;

/// Why the board could not be shown or tested.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The setting names no board.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The gateway holds the parts.
    #[error("the gateway is running and uses the panel; stop it for the test: systemctl stop kurir")]
    Running,
    /// There is nothing to test.
    #[error("the board `{0}` has no parts to test: {1}")]
    Nothing(String, String),
    /// Some parts do not work.
    #[error("{failed} of the parts of the board `{name}` did not pass; the lines above say which and why")]
    Failed {
        /// The board.
        name: String,
        /// How many parts.
        failed: usize,
    },
    /// Nobody can read what is printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// The board that the settings ask for.
///
/// # Errors
/// [`BoardError::Profile`].
pub fn chosen(config: &Config) -> Result<Chosen, BoardError> {
    Ok(choose(&config.board, Path::new(MODEL_FILE))?)
}

/// Lists the boards and prints the wiring of the one in use.
///
/// # Errors
/// [`BoardError::Profile`], after the list; [`BoardError::Print`].
pub fn show(config: &Config, out: &mut dyn Write) -> Result<(), BoardError> {
    let found = chosen(config);
    let in_use = found.as_ref().ok().map(|found| found.profile.name.clone());
    writeln!(out, "Boards (KURIR_BOARD=NAME chooses one, or the path of a .toml file of your own):\n")?;
    let all = Profile::all();
    let width = all.iter().map(|profile| profile.name.len()).max().unwrap_or(0);
    for profile in &all {
        let mark = if in_use.as_ref() == Some(&profile.name) { '*' } else { ' ' };
        writeln!(out, "{mark} {:width$}  {}", profile.name, profile.title)?;
    }
    let Chosen { profile, why } = found?;
    writeln!(out, "\nIn use: {}: {why}\n\n{}", profile.name, pin_table(&profile).trim_end())?;
    if profile.kind != Kind::None {
        writeln!(out, "\n`kurir board test` shows a picture, blinks the LED and waits for each button.")?;
    }
    Ok(())
}

/// Tests each part of the board in use with the help of a person: draws a picture, blinks, waits for each button.
///
/// # Errors
/// [`BoardError`]; the parts that work are tested all the same.
pub async fn test(config: &Config, out: &mut (dyn Write + Send)) -> Result<(), BoardError> {
    let Chosen { profile, why } = chosen(config)?;
    if profile.kind == Kind::None {
        return Err(BoardError::Nothing(profile.name, why));
    }
    // Whoever answers there has the lines and the display; both would draw.
    if tokio::net::UnixStream::connect(config.control_path()).await.is_ok() {
        return Err(BoardError::Running);
    }
    writeln!(out, "Testing {}: {why}", profile.name)?;
    let mut board = Board::open(&profile);
    let failed = run(&profile, &mut board, out).await?;
    // The terminal of the simulated panel is given back before anything else is printed.
    drop(board);
    if failed > 0 {
        return Err(BoardError::Failed { name: profile.name, failed });
    }
    writeln!(out, "Every part works.")?;
    Ok(())
}

async fn run(
    profile: &Profile,
    board: &mut Board,
    out: &mut (dyn Write + Send),
) -> Result<usize, BoardError> {
    // The simulated panel has the upper rows of the terminal; what is said goes below its legend.
    let first = match (&board.display, profile.kind) {
        (Some(display), Kind::Sim) => Some(display.panel().size.height.div_ceil(2) + 3),
        _ => None,
    };
    let mut printed = Ok(());
    let mut row = first.unwrap_or_default();
    let failed = selftest::run(board, &mut |line| {
        if printed.is_err() {
            return;
        }
        printed = match first {
            Some(_) => {
                row += 1;
                write!(out, "\x1b[{};3H{line}", row - 1)
            }
            None => writeln!(out, "{line}"),
        }
        .and_then(|()| out.flush());
    })
    .await;
    printed?;
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(board: &str) -> Config {
        Config { board: board.into(), ..Config::default() }
    }

    fn printed(config: &Config) -> (String, Result<(), BoardError>) {
        let mut out = Vec::new();
        let result = show(config, &mut out);
        (String::from_utf8(out).unwrap(), result)
    }

    #[test]
    fn the_boards_are_listed_and_the_one_in_use_is_drawn_as_a_table() {
        let (text, result) = printed(&config("raspberry-pi-sh1106"));
        result.unwrap();
        assert!(text.contains("\n* raspberry-pi-sh1106 "), "{text}");
        assert_eq!(text.matches("\n* ").count(), 1, "{text}");
        for profile in Profile::all() {
            assert!(
                text.contains(&format!("{}  {}", profile.name, profile.title))
                    || text.contains(&profile.title)
            );
        }
        assert!(text.contains("   16  GPIO23  button reconnect\n"), "{text}");
        assert!(text.contains("SH1106 128x64 at address 0x3c on /dev/i2c-1"), "{text}");
    }

    #[test]
    fn an_unknown_board_is_named_after_the_list_of_those_that_exist() {
        let (text, result) = printed(&config("rasberry-pi"));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("`rasberry-pi`") && error.contains("`raspberry-pi`"), "{error}");
        assert!(text.contains("raspberry-pi-sh1106"), "{text}");
    }

    #[tokio::test]
    async fn a_board_without_parts_has_nothing_to_test() {
        let error = test(&config("none"), &mut Vec::new()).await.unwrap_err();
        assert!(matches!(&error, BoardError::Nothing(name, _) if name == "none"), "{error}");
    }

    #[tokio::test]
    async fn every_missing_part_of_a_board_is_said_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board.toml");
        let text = include_str!("../tests/fixtures/nowhere.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config { data_dir: folder.path().into(), ..config(&path.display().to_string()) };
        let mut out = Vec::new();
        let error = test(&config, &mut out).await.unwrap_err();
        let said = String::from_utf8(out).unwrap();
        assert!(matches!(error, BoardError::Failed { failed: 3, .. }), "{error}");
        for part in
            ["/nonexistent/i2c-7", "dtparam=i2c_arm=on", "button reset", "NO-SUCH-LINE", "no-such-led"]
        {
            assert!(said.contains(part), "{said}");
        }
    }
}
