//! `passback config`: the configuration that a worker would run with, without its secrets; or the commented default file.

use clap::Args;

use super::{
    fault::CliError,
    output::{Screen, counted, note},
};

/// `passback config`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ConfigArgs {
    /// Print the default file instead: every setting with its default or an example, and what it means
    #[arg(long)]
    pub default: bool,
}

const EXAMPLES: &str = "Examples:
  passback config
  passback config --config /etc/passback/passback.toml
  passback config --default > passback.toml

Each setting stands with its value and where that comes from: a line of the file, a variable, or the default. A secret is shown
as its source, { env = \"NAME\" } or { file = \"PATH\" }, or as *** where it is written down itself; so what is printed can be
shown to others. A secret need not be there: one that is not is marked with (not set), and the worker would not start without it.
Where something is wrong, it ends with 2 and says what; `passback check` tries all of it.";

/// The commented default file.
pub const DEFAULT_FILE: &str = include_str!("../../../deploy/passback.toml");

/// The effective configuration as a file.
pub struct Effective {
    /// Its text.
    pub text: String,
    /// How many of its secrets are not there.
    pub missing: usize,
}

/// Prints it. `effective` reads the configuration.
pub fn run(
    args: &ConfigArgs,
    effective: impl FnOnce() -> Result<Effective, CliError>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    if args.default {
        return screen.print(DEFAULT_FILE);
    }
    let Effective { text, missing } = effective()?;
    screen.print(&text)?;
    if missing > 0 {
        let secrets = counted(missing as u64, "secret is", "secrets are");
        let them = if missing == 1 { "it" } else { "them" };
        note(&format!("warning: {secrets} not here, and marked: the worker does not start without {them}"));
    }
    Ok(())
}
