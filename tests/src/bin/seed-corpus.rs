//! Writes the fuzz seeds to `tests/data/corpus`. Run it after a change of the wire.
#![forbid(unsafe_code)]

use std::path::Path;

use mpreg_tests::{fuzz_case, seed};

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/corpus");
    for (target, _) in fuzz_case::TARGETS {
        let folder = corpora.join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in seed::seeds(target) {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
