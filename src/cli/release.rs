//! `kurir update-key` and `kurir update-pack`, for whoever releases.

use std::path::Path;

use kurir::update::release::{self, Release};

/// Makes the secret key, if it is not there, and prints the public one.
pub(crate) fn key(secret: &Path) -> anyhow::Result<()> {
    println!("{}", release::key(secret)?);
    Ok(())
}

/// Writes an update file, and prints what is in it.
pub(crate) fn pack(release: &Release, out: &Path) -> anyhow::Result<()> {
    let manifest = release.pack(out)?;
    println!("Version {} for {}: {}", manifest.version, manifest.board, out.display());
    for part in &manifest.parts {
        println!("  {:<8} {:>12} bytes  SHA-256 {}", part.name, part.size, part.sha256);
    }
    Ok(())
}
