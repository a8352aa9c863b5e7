//! Tables and messages for people at a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use roundsman_model::state::State;

/// The widest that the last column gets where the terminal's width is not known.
const DEFAULT_WIDTH: usize = 160;
const MIN_LAST_COLUMN: usize = 20;
/// Where there is not room for everything, no column is made narrower than this.
const MIN_COLUMN: usize = 8;

/// Rows of cells; columns are as wide as their widest cell, the last one takes what is left. A column that is empty in
/// every row is left out.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)).to_vec());
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        say(&self.render(terminal_width()))
    }

    fn render(&self, width: usize) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let has_content = |n: &usize| self.rows.len() < 2 || self.rows.iter().skip(1).any(|row| !row[*n].is_empty());
        let shown: Vec<usize> = (0..columns).filter(has_content).collect();
        let widest = |n: &usize| self.rows.iter().map(|row| row[*n].chars().count()).max().unwrap_or(0);
        let mut widths: Vec<usize> = shown.iter().map(widest).collect();
        if let Some((last, others)) = widths.split_last_mut() {
            let room = width.saturating_sub(MIN_LAST_COLUMN.min(*last));
            narrow(others, room);
            let fixed: usize = others.iter().map(|width| width + 2).sum();
            *last = width.saturating_sub(fixed).max(MIN_LAST_COLUMN);
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (n, width) in shown.iter().zip(&widths) {
                let cell = shorten(&row[*n], *width);
                if Some(n) == shown.last() {
                    line.push_str(&cell);
                } else {
                    write!(line, "{cell:<width$}  ").expect("writing to a string cannot fail");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Takes from the widest columns until all of them and the gaps between them fit.
fn narrow(widths: &mut [usize], room: usize) {
    while widths.iter().map(|width| width + 2).sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width).filter(|width| **width > MIN_COLUMN) else {
            return;
        };
        *widest -= 1;
    }
}

fn shorten(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn terminal_width() -> usize {
    if !std::io::stdout().is_terminal() {
        // A pipe or file wants whole lines.
        return usize::MAX;
    }
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(DEFAULT_WIDTH)
}

/// Prints to standard output; a reader that has gone (`| head`) is no error.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints to standard error; there is nobody left to tell when that fails. A file that cannot be used may have a say in it.
pub(crate) fn complain(text: &str) {
    let lines: Vec<_> = text.lines().map(plain).collect();
    drop(writeln!(std::io::stderr(), "{}", lines.join("\n")));
}

/// `1 check`, `2 checks`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A value as indented JSON.
pub(crate) fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// A state, and whether a change of it waits for its confirmation.
pub(crate) fn state_word(state: State, soft: bool) -> String {
    let word = state.as_str();
    if soft { format!("{word} (soft)") } else { word.to_owned() }
}

/// What a terminal can show of a text that somebody else wrote: one line, nothing that moves the cursor or turns the
/// direction of what follows.
pub(crate) fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let line = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    line.filter(|c| !c.is_control() && !turns(*c)).collect()
}

/// A word as a shell takes it, in quotes where it needs them.
pub(crate) fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `12.3 ms`, `1.5 s`.
pub(crate) fn millis(ms: f64) -> String {
    if ms < 10_000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1e3) }
}

/// `3m12s`: whole seconds, at most two units.
pub(crate) fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let (size, unit) = units[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((next, unit)) = units.get(first + 1)
        && seconds % size >= *next
    {
        write!(text, "{}{unit}", seconds % size / next).expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_is_cut() {
        let mut table = Table::new(["A", "B", "C"]);
        table.row(["one".into(), "x".into(), "a long text that goes on and on".into()]);
        table.row(["three".into(), "\u{1b}[2Jyy".into(), String::new()]);
        assert_eq!(table.render(34), "A      B      C\none    x      a long text that go…\nthree  [2Jyy\n");
    }

    #[test]
    fn a_narrow_terminal_takes_from_the_widest_columns() {
        let mut table = Table::new(["CHECK", "FILE", "EMPTY", "NOTE"]);
        table.row(["shop".into(), "/etc/roundsman/checks/a-long-name.yaml:12".into(), String::new(), "x".repeat(40)]);
        let text = table.render(60);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.starts_with("CHECK  FILE") && !text.contains("EMPTY") && text.contains("/etc/roundsman/checks/"));
        assert!(table.render(usize::MAX).contains("a-long-name.yaml:12  xxx"));
        assert_eq!(table.render(1).lines().count(), 2, "too narrow for anything is no reason to fail");
    }

    #[test]
    fn words_for_a_shell() {
        for (word, text) in
            [("eu", "eu"), ("https://a/b:1", "https://a/b:1"), ("a b", "'a b'"), ("", "''"), ("a'$(b)", r"'a'\''$(b)'")]
        {
            assert_eq!(quoted(word), text);
        }
        assert_eq!(plain("a\nb\u{1b}[31m"), "a b[31m");
    }

    #[test]
    fn ages() {
        for (seconds, text) in [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3_725, "1h2m"), (90_000, "1d1h")] {
            assert_eq!(age(seconds), text);
        }
    }
}
