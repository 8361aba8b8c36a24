//! `passback config`: the configuration that a worker would run with, without its secrets; or the commented default file.

use clap::Args;

use super::{fault::CliError, output::Screen};

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
shown to others. Where it is wrong, or a secret is missing, it ends with 2 and says which; `passback check` tries all of it.";

/// The commented default file.
pub const DEFAULT_FILE: &str = include_str!("../../../deploy/passback.toml");

/// Prints it. `effective` reads the configuration.
pub fn run(
    args: &ConfigArgs,
    effective: impl FnOnce() -> Result<String, CliError>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    if args.default { screen.print(DEFAULT_FILE) } else { screen.print(&effective()?) }
}
