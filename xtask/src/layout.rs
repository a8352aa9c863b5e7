//! Lays out the folder in which `run` works, without ever overwriting what a user changed there.
//!
//! Beside the files that are used lies a copy of each as it was shipped. A file that differs from that copy was edited,
//! and stays; one that is gone was removed, and stays away; any other follows the source.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::files;

const SHIPPED: &str = ".shipped";

/// What is laid out: a file of the source, and its place in the folder.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) source: PathBuf,
    pub(crate) place: PathBuf,
}

/// Brings the folder up to date and returns the places that were left as their user wants them.
pub(crate) fn update(folder: &Path, items: &[Item]) -> Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for Item { source, place } in items {
        let (live, shipped) = (folder.join(place), folder.join(SHIPPED).join(place));
        let (now, then) = (files::read(&live)?, files::read(&shipped)?);
        if now != then && now != files::read(source)? {
            kept.push(place.clone());
            continue;
        }
        files::copy(source, &live)?;
        files::copy(source, &shipped)?;
    }
    for place in files::list(&folder.join(SHIPPED))? {
        if items.iter().any(|item| item.place == place) {
            continue;
        }
        let (live, shipped) = (folder.join(&place), folder.join(SHIPPED).join(&place));
        if files::read(&live)? == files::read(&shipped)? {
            files::remove(&live)?;
        }
        files::remove(&shipped)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    /// What is in the source and in the folder before, and in the folder after; `-` for no such file.
    #[test]
    fn files_follow_the_source_until_a_user_touches_them() {
        for (what, shipped, live, source, after, kept) in [
            ("a first start", "-", "-", "new", "new", false),
            ("nothing changed", "old", "old", "old", "old", false),
            ("the source changed", "old", "old", "new", "new", false),
            ("a user edited it", "old", "mine", "old", "mine", true),
            ("both changed", "old", "mine", "new", "mine", true),
            ("both changed alike", "old", "new", "new", "new", false),
            ("a user removed it", "old", "-", "new", "-", true),
            ("a user's own file of that name", "-", "mine", "new", "mine", true),
            ("the source dropped it", "old", "old", "-", "-", false),
            ("the source dropped what a user edited", "old", "mine", "-", "mine", false),
        ] {
            let scratch = Scratch::new();
            for (name, text) in
                [("run/.shipped/checks/a.yaml", shipped), ("run/checks/a.yaml", live), ("source", source)]
            {
                if text != "-" {
                    scratch.write(name, text);
                }
            }
            let item = || Item { source: scratch.0.join("source"), place: "checks/a.yaml".into() };
            let items = if source == "-" { vec![] } else { vec![item()] };
            let result = update(&scratch.0.join("run"), &items).unwrap();
            assert_eq!(scratch.text("run/checks/a.yaml").as_deref().unwrap_or("-"), after, "{what}");
            assert_eq!(!result.is_empty(), kept, "{what}");
            let again = update(&scratch.0.join("run"), &items).unwrap();
            assert_eq!(scratch.text("run/checks/a.yaml").as_deref().unwrap_or("-"), after, "{what}, once more");
            assert_eq!(again, result, "{what}, once more");
        }
    }
}
