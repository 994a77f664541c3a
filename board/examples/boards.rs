//! Prints the section "The boards" of docs/hardware.md, and saves the test pattern of every panel size in the folder
//! that is given.
//!
//! `cargo run -p kurir-board --example boards -- /tmp`

use std::path::PathBuf;

use embedded_graphics::prelude::*;
use kurir_board::{Depth, png, profile, selftest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for profile in profile::Profile::all() {
        print!("### `{}`\n\n```text\n{}```\n\n", profile.name, profile::pin_table(&profile));
    }
    if let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) {
        for (width, height, depth) in [
            (128, 32, Depth::Mono),
            (128, 64, Depth::Mono),
            (128, 128, Depth::Mono),
            (240, 240, Depth::Rgb565),
        ] {
            let path = folder.join(format!("pattern-{width}x{height}.png"));
            let frame = selftest::pattern(Size::new(width, height)).shown(depth);
            std::fs::write(&path, png(&frame, 2))?;
            eprintln!("{}", path.display());
        }
    }
    Ok(())
}
