//! How far long work is: a bar on standard error while a person looks on, and nothing where nobody does.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar moves while nothing comes.
const TICK: Duration = Duration::from_millis(200);

/// A bar, on a terminal; it has numbers once somebody knows them.
pub struct Progress(Option<(ProgressBar, ProgressStyle)>);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Jobs.
    Jobs,
    /// Bytes.
    Bytes,
}

impl Progress {
    /// A bar for work that is called `what`; the words are a few.
    pub fn of(what: &'static str, unit: Unit) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let numbers = match unit {
            Unit::Jobs => "{human_pos}/{human_len} jobs",
            Unit::Bytes => "{binary_bytes}/{binary_total_bytes}",
        };
        // The colours of the usual bar are left out: NO_COLOR holds here too.
        let style = ProgressStyle::with_template(&format!("{{msg}} [{{bar:30}}] {numbers}, {{eta}} left"));
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        // Of nothing all is done: a bar would be full before the work has begun.
        Self(Some((turning(what), style)))
    }

    /// Something that moves while nobody knows how long it takes.
    pub fn waiting(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        Self(Some((turning(what), ProgressStyle::default_spinner())))
    }

    /// So much is done of so much; 0 where that is not known yet.
    pub fn set(&self, done: u64, of: u64) {
        let Some((bar, style)) = self.0.as_ref().filter(|_| of > 0) else { return };
        if bar.length().is_none() {
            bar.set_style(style.clone());
        }
        bar.set_length(of);
        bar.set_position(done.min(of));
    }
}

fn turning(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(TICK);
    spinner
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, _)) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
