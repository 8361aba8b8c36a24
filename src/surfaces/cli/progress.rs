//! How far long work is: a bar on standard error while a person looks on, and nothing where nobody does.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar moves while nothing comes.
const TICK: Duration = Duration::from_millis(200);

/// A bar, on a terminal.
pub struct Progress(Option<ProgressBar>);

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
        let bar = ProgressBar::new(0).with_message(what);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// Something that moves while nobody knows how long it takes.
    pub fn waiting(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let spinner = ProgressBar::new_spinner().with_message(what);
        spinner.enable_steady_tick(TICK);
        Self(Some(spinner))
    }

    /// So much is done of so much.
    pub fn set(&self, done: u64, of: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(of);
            bar.set_position(done.min(of));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
