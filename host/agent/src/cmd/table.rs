//! Tables and messages for people at a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use roundsman_model::state::State;

/// The widest that the last column gets where the terminal's width is not known.
const DEFAULT_WIDTH: usize = 160;
const MIN_LAST_COLUMN: usize = 20;

/// Rows of cells; columns are as wide as their widest cell, the last one takes what is left.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // What plugins say must not move the cursor of a terminal.
        self.rows.push(cells.map(|cell| cell.chars().filter(|c| !c.is_control()).collect()).to_vec());
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        say(&self.render(terminal_width()))
    }

    fn render(&self, width: usize) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> =
            (0..columns).map(|n| self.rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0)).collect();
        let fixed: usize = widths.iter().take(columns.saturating_sub(1)).map(|w| w + 2).sum();
        let last = width.saturating_sub(fixed).max(MIN_LAST_COLUMN);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (n, cell) in row.iter().enumerate() {
                if n + 1 == columns {
                    line.push_str(&shorten(cell, last));
                } else {
                    write!(line, "{cell:<0$}  ", widths[n]).expect("writing to a string cannot fail");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
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

/// Prints to standard error; there is nobody left to tell when that fails.
pub(crate) fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// `1 check`, `2 checks`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A value as indented JSON.
pub(crate) fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// A state in its colour, where there is a terminal that wants colours.
pub(crate) fn state_word(state: State, soft: bool) -> String {
    let word = state.as_str();
    if soft { format!("{word} (soft)") } else { word.to_owned() }
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
    fn ages() {
        for (seconds, text) in [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3_725, "1h2m"), (90_000, "1d1h")] {
            assert_eq!(age(seconds), text);
        }
    }
}
