//! The shared printing of all commands: tables, pages of facts, JSON, and the notes beside them on standard error.
//!
//! Pieces are made as text first and written by [`Screen`] alone, so that a test can read them. Text that comes from
//! elsewhere (an LMS's words, ids) goes through [`printable`]: it must not be able to steer a terminal.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
};

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

use super::{fault::CliError, when};
use crate::domain::time::Timestamp;

/// A column of words is not made narrower than so many letters; before that, another one goes.
const WORDS_MIN: usize = 10;

/// The narrowest terminal that tables are made to fit.
const WIDTH_MIN: u16 = 40;

/// Where a command writes: standard output for what was asked, standard error for what is said about it.
pub struct Screen {
    out: Box<dyn Write + Send>,
    /// What the reader sees with.
    pub look: Look,
}

/// Who reads, and when.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The columns of the terminal; none where a program reads.
    pub width: Option<u16>,
    /// Whether colours may be used.
    pub colours: bool,
    /// The present, for "3 min ago".
    pub now: Timestamp,
}

/// What a colour means; which colour that is stands here alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing to say.
    Plain,
    /// A heading or a label.
    Quiet,
    /// As it should be.
    Good,
    /// Waits, or is slowed down.
    Waiting,
    /// Somebody has to do something.
    Bad,
}

impl Screen {
    /// Standard output; a terminal that is not "dumb" gets colours, unless `NO_COLOR` is set.
    pub fn stdout(now: Timestamp) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        // A terminal that does not tell its width is taken as the usual one.
        let width = is_terminal.then(|| Table::new().width().unwrap_or(80).max(WIDTH_MIN));
        let look = Look { width, colours: is_terminal && !is_dumb && !is_set("NO_COLOR"), now };
        Self::to(Box::new(io::stdout()), look)
    }

    /// Somewhere else.
    pub fn to(out: Box<dyn Write + Send>, look: Look) -> Self {
        Self { out, look }
    }

    /// Writes text, which ends its own lines, and hands it on at once.
    pub fn print(&mut self, text: &str) -> Result<(), CliError> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| CliError::of_output(&error))
    }

    /// Writes one line.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{text}\n"))
    }

    /// Writes what the API answered. The letters that a terminal could obey stand in strings alone, and there an escape
    /// means the same.
    pub fn json(&mut self, body: &str) -> Result<(), CliError> {
        let mut text = String::with_capacity(body.len());
        for letter in body.trim_end_matches('\n').chars() {
            if letter != '\n' && steers(letter) {
                let code = format!("\\u{:04x}", u32::from(letter));
                text.push_str(&code);
            } else {
                text.push(letter);
            }
        }
        self.line(&text)
    }
}

/// A line on standard error, for the person; a program that reads the output is not disturbed by it. That nobody
/// may be there to read it is no failure.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

impl Look {
    /// A moment as the API wrote it: for a person in a list "3 min ago", for a program RFC 3339 to the second.
    pub fn moment(self, text: Option<&str>) -> String {
        match (text, text.and_then(|text| Timestamp::parse(text).ok())) {
            (None, _) => NOTHING.to_owned(),
            (Some(_), Some(moment)) if self.width.is_some() => when::distance(moment, self.now),
            (Some(_), Some(moment)) => when::to_the_second(moment),
            (Some(unread), None) => printable(unread),
        }
    }

    /// A moment with both its time and its distance: `2026-11-21 10:30:00Z (3 min ago)`.
    pub fn full_moment(self, text: &str) -> String {
        match Timestamp::parse(text) {
            Ok(moment) if self.width.is_some() => format!("{} ({})", self.time(text), when::distance(moment, self.now)),
            _ => self.time(text),
        }
    }

    /// A moment's time without its distance.
    pub fn time(self, text: &str) -> String {
        match Timestamp::parse(text).map(when::to_the_second) {
            Ok(time) if self.width.is_some() => time.replace('T', " "),
            Ok(time) => time,
            Err(_) => printable(text),
        }
    }

    /// Text in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Quiet => "1",
            Tone::Good => "32",
            Tone::Waiting => "33",
            Tone::Bad => "31",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What stands where there is nothing, so that the columns of a piped table can be counted.
pub(super) const NOTHING: &str = "-";

/// A column of a table.
pub(super) struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// The narrowest terminal on which it is shown; where a program reads all are.
    pub width_min: u16,
    /// How it behaves where room is short.
    pub fit: Fit,
}

/// How a column behaves where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Never cut: an id that will be copied.
    Whole,
    /// A number, to the right.
    Number,
    /// Words, cut or wrapped.
    Words,
}

/// How many lines a row may take on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// One; what does not fit is cut, and ends in `…`.
    Cut,
    /// As many as it needs.
    Wrap,
}

/// Lays out a table; each line ends without spaces, the last with a line break. On a terminal it is never wider than that:
/// where the columns do not fit, those that are needed least go; in a table of one line a row, what they hold stands below it.
pub(super) fn table(look: Look, columns: &[Column], rows: Rows, cells: &[Vec<(Tone, String)>]) -> String {
    let shown = |column: &Column| look.width.is_none_or(|width| width >= column.width_min);
    let mut kept: Vec<usize> = (0..columns.len()).filter(|index| shown(&columns[*index])).collect();
    loop {
        // Colours have no width.
        let laid = lay_out(Look { colours: false, ..look }, columns, &kept, rows, cells);
        let fits = look.width.is_none_or(|width| laid.lines().all(|line| line.chars().count() <= usize::from(width)));
        // The first says what a line is about.
        let least = kept.iter().skip(1).max_by_key(|index| (columns[**index].width_min, **index)).copied();
        match least {
            Some(least) if !fits => kept.retain(|index| *index != least),
            _ => {
                let laid = if look.colours { lay_out(look, columns, &kept, rows, cells) } else { laid };
                return if rows == Rows::Cut { with_the_rest(look, &laid, columns, &kept, cells) } else { laid };
            }
        }
    }
}

/// Below each row what is in the columns that have no room, so that nothing goes in silence.
fn with_the_rest(look: Look, laid: &str, columns: &[Column], kept: &[usize], cells: &[Vec<(Tone, String)>]) -> String {
    let hidden: Vec<usize> = (0..columns.len()).filter(|index| !kept.contains(index)).collect();
    let Some(width) = look.width.filter(|_| !hidden.is_empty()) else { return laid.to_owned() };
    let headings = laid.lines().count().saturating_sub(cells.len());
    let rests = std::iter::repeat_n(None, headings).chain(cells.iter().map(Some));
    let mut text = String::new();
    for (line, row) in laid.lines().zip(rests) {
        text.push_str(line);
        text.push('\n');
        let held = |index: &usize| {
            let (_, text) = row?.get(*index)?;
            let heading = columns[*index].heading.to_lowercase();
            (!text.is_empty() && text != NOTHING).then(|| format!("{heading} {}", printable(text)))
        };
        for line in packed(hidden.iter().filter_map(held), usize::from(width).saturating_sub(2)) {
            text.push_str("  ");
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// Pieces in lines of at most so many characters; a longer piece is cut.
fn packed(pieces: impl Iterator<Item = String>, width: usize) -> Vec<String> {
    const GAP: &str = " · ";
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces.map(|piece| cut(&piece, width)) {
        let room = |line: &String| line.chars().count() + GAP.chars().count() + piece.chars().count() <= width;
        match lines.last_mut().filter(|line| room(line)) {
            Some(line) => line.extend([GAP, piece.as_str()]),
            None => lines.push(piece),
        }
    }
    lines
}

/// A text of at most so many characters; what was longer ends in `…`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

fn lay_out(look: Look, columns: &[Column], kept: &[usize], rows: Rows, cells: &[Vec<(Tone, String)>]) -> String {
    let mut table = bare_table(look);
    let headings = kept.iter().map(|index| Cell::new(columns[*index].heading).add_attribute(Attribute::Bold));
    table.set_header(headings.collect::<Vec<_>>());
    for row in cells {
        let kept = kept.iter().filter_map(|index| row.get(*index));
        let mut row = Row::from(kept.map(|(tone, text)| cell(*tone, text)).collect::<Vec<_>>());
        if look.width.is_some() && rows == Rows::Cut {
            row.max_height(1);
        }
        table.add_row(row);
    }
    let last = kept.len().saturating_sub(1);
    for (place, index) in kept.iter().enumerate() {
        let Some(laid) = table.column_mut(place) else { continue };
        let padding = if place == last { 0 } else { 2 };
        laid.set_padding((0, padding));
        match columns[*index].fit {
            Fit::Whole => drop(laid.set_constraint(ColumnConstraint::ContentWidth)),
            Fit::Number => {
                laid.set_constraint(ColumnConstraint::ContentWidth);
                laid.set_cell_alignment(CellAlignment::Right);
            }
            Fit::Words => {
                let longest =
                    cells.iter().filter_map(|row| row.get(*index)).map(|(_, text)| text.chars().count()).max();
                let least = longest.unwrap_or_default().min(WORDS_MIN).max(columns[*index].heading.len());
                let least = u16::try_from(least).unwrap_or(u16::MAX).saturating_add(padding);
                laid.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
            }
        }
    }
    trimmed(&table)
}

/// Lays out labels with what belongs to them; long texts wrap beside their label.
pub(super) fn facts(look: Look, facts: &[(&str, String)]) -> String {
    let mut table = bare_table(look);
    for (label, text) in facts {
        table.add_row(vec![Cell::new(label).add_attribute(Attribute::Bold), cell(Tone::Plain, text)]);
    }
    if let Some(labels) = table.column_mut(0) {
        labels.set_padding((2, 2)).set_constraint(ColumnConstraint::ContentWidth);
    }
    if let Some(texts) = table.column_mut(1) {
        texts.set_padding((0, 0));
    }
    trimmed(&table)
}

fn bare_table(look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_truncation_indicator("…").force_no_tty();
    if look.colours {
        table.enforce_styling();
    }
    match look.width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

fn cell(tone: Tone, text: &str) -> Cell {
    let text = if text.is_empty() { NOTHING.to_owned() } else { printable(text) };
    let cell = Cell::new_owned(text);
    match tone {
        Tone::Plain => cell,
        Tone::Quiet => cell.add_attribute(Attribute::Bold),
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Waiting => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
    }
}

fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text from elsewhere, on one line and without anything that a terminal obeys: control characters and line breaks
/// become single spaces, marks that turn the direction of writing are dropped.
pub(super) fn printable(text: &str) -> String {
    let plain = text.chars().filter(|letter| !turns(*letter));
    let plain: String = plain.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a letter turns the direction of writing.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a terminal may do something else with a letter than show it.
fn steers(letter: char) -> bool {
    turns(letter) || (letter.is_control() && letter != '\t')
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 job`, `2 jobs`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        let check = |text: &str, plain: &str| assert_eq!(printable(text), plain);
        check("a\r\nb\t c ", "a b c");
        check("\u{1b}]0;title\u{7}x\u{9b}31m", "]0;title x 31m");
        check("abc\u{202e}cba", "abccba");
        check("Müller 李", "Müller 李");
        let columns = [Column { heading: "A", width_min: 0, fit: Fit::Words }];
        let text = table(testing::program(), &columns, Rows::Cut, &[vec![(Tone::Bad, "x\u{1b}[2Jy".to_owned())]]);
        assert_eq!(text, "A\nx [2Jy\n");
    }

    #[test]
    fn json_means_the_same_and_steers_no_terminal() {
        #[derive(Clone, Default)]
        struct Paper(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Paper {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("paper").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let paper = Paper::default();
        let body = "{\n\t\"a\": \"x\u{9b}31m\u{7f}\u{202e} Müller\"}\n";
        Screen::to(Box::new(paper.clone()), testing::program()).json(body).expect("it is written");
        let shown = String::from_utf8(paper.0.lock().expect("paper").clone()).expect("text");
        assert_eq!(shown, "{\n\t\"a\": \"x\\u009b31m\\u007f\\u202e Müller\"}\n");
        let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(same(&shown), same(body));
    }

    #[test]
    fn numbers_are_grouped_and_have_their_noun() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "job", "jobs"), counted(2, "job", "jobs")), ("1 job".into(), "2 jobs".into()));
    }

    #[test]
    fn colours_are_only_where_they_may_be() {
        let plain = testing::person(80);
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
        assert_eq!(Look { colours: true, ..plain }.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut screen = Screen::to(Box::new(Closed), testing::program());
        let error = screen.line("x").expect_err("nobody reads");
        assert!(matches!(error, CliError::ClosedPipe) && error.exit_code() == 0);
    }
}
