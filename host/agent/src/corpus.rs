//! Tries every file of a corpus under `tests/corpus/`, which the fuzz targets begin with, too.

use std::fs;
use std::path::Path;

/// Each file, and each cut short anywhere. Some of a corpus is taken and some is not, or it shows little.
pub(crate) fn try_each(name: &str, holds: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let (mut taken, mut refused) = (0, 0);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // Shown only if something does not hold.
        eprintln!("{}", path.display());
        *(if holds(&bytes) { &mut taken } else { &mut refused }) += 1;
        for end in 0..bytes.len().min(MAX_CUT) {
            holds(&bytes[..end]);
        }
    }
    assert!(taken > 0 && refused > 0, "{name}: {taken} taken, {refused} refused");
}

/// A file is cut at any of so many places: behind them, there is more of the same.
const MAX_CUT: usize = 120;
