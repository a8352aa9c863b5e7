//! The word that somebody probably meant.

/// The known word that is nearest to a mistyped one, if any is near enough to be meant: at most one fault in three
/// letters, letters in another case not counted.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    // Longer words are no typing errors, and the table below would grow with them.
    const MAX_LETTERS: usize = 64;
    let letters: Vec<char> = word.to_lowercase().chars().take(MAX_LETTERS + 1).collect();
    if letters.len() > MAX_LETTERS {
        return None;
    }
    let distance = |candidate: &str| distance(&letters, &candidate.to_lowercase().chars().collect::<Vec<_>>());
    let best = known.iter().map(|candidate| (distance(candidate), *candidate)).min()?;
    let allowed = (letters.len().max(best.1.len()) / 3).max(1);
    (best.0 <= allowed).then_some(best.1)
}

/// How many letters have to be changed, added, left out or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let change = above[j] + usize::from(x != y);
            let mut least = change.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let known = ["interval", "timeout", "targets", "target", "cron", "tokenFile"];
        for (word, meant) in [
            ("intervall", Some("interval")),
            ("intreval", Some("interval")),
            ("Interval", Some("interval")),
            ("token_file", Some("tokenFile")),
            ("tagret", Some("target")),
            ("corn", Some("cron")),
            ("schedule", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(10_000), &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
