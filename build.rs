//! Packs the API's description, which is ten times smaller that way and rarely asked for.

use std::io::Write;
use std::path::Path;

const DOCUMENT: &str = "src/api/openapi/openapi.json";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("cargo sets OUT_DIR"))?;
    let file = std::fs::File::create(Path::new(&out).join("openapi.json.gz"))?;
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    packed.write_all(&std::fs::read(DOCUMENT)?)?;
    packed.finish()?;
    Ok(())
}
