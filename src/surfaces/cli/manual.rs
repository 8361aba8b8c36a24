//! `passback completions` and `passback man`: made from the definition of the command line, so they know every command.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use super::{
    Cli,
    fault::CliError,
    output::{Screen, note},
};

/// `passback completions`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// Which shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", value_parser = shell)]
    pub shell: Shell,
}

/// A shell by its name. One that is not known is not like another.
fn shell(text: &str) -> Result<Shell, String> {
    let known = || Shell::value_variants().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    text.parse().map_err(|_| format!("it is none of the shells that can be served: {}", known()))
}

const COMPLETIONS_EXAMPLES: &str = "Examples:
  passback completions bash > /etc/bash_completion.d/passback
  passback completions zsh > ~/.zfunc/_passback                 (with fpath+=~/.zfunc before compinit)
  passback completions fish > ~/.config/fish/completions/passback.fish";

/// `passback man`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// The folder to write a page for each command into; without it passback(1) goes to standard output
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

const MAN_EXAMPLES: &str = "Examples:
  passback man | man -l -
  passback man /usr/local/share/man/man1 && man passback-failures-replay";

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs, screen: &mut Screen) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "passback", &mut script);
    screen.print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes one for each command.
pub fn man(args: &ManArgs, screen: &mut Screen) -> Result<(), CliError> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command()).render(&mut page);
        rendered.map_err(|error| CliError::of_output(&error))?;
        return screen.print(&String::from_utf8_lossy(&page));
    };
    let failed = |error: io::Error| CliError::Failed(format!("cannot write to {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command(), folder).map_err(failed)?;
    note(&format!("{} manual pages are in {}", pages(folder).map_err(failed)?, folder.display()));
    Ok(())
}

/// Without `help`, of which each command would have a page too.
fn command() -> Command {
    Cli::command().disable_help_subcommand(true)
}

fn pages(folder: &Path) -> io::Result<usize> {
    let names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| name.to_string_lossy().starts_with("passback")).count())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    /// Every command with those above it: `failures replay` is `["failures", "replay"]`.
    fn commands(of: &Command, above: &[String]) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for command in of.get_subcommands() {
            let path = [above, &[command.get_name().to_owned()]].concat();
            all.extend(commands(command, &path));
            all.push(path);
        }
        all
    }

    #[test]
    fn completions_know_every_command() {
        let all = commands(&Cli::command(), &[]);
        assert!(all.len() > 20 && all.contains(&vec!["failures".to_owned(), "replay".to_owned()]), "{all:?}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let written = testing::Written::default();
            completions(&CompletionsArgs { shell }, &mut written.screen(testing::program())).expect("a script");
            let script = written.text();
            for command in all.iter().flatten() {
                assert!(script.contains(command.as_str()), "{shell} does not know {command}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = ManArgs { folder: Some(folder.path().join("man1")) };
        man(&args, &mut testing::Written::default().screen(testing::program())).expect("pages");
        for path in commands(&Cli::command(), &[]) {
            let page = folder.path().join(format!("man1/passback-{}.1", path.join("-")));
            let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(text.contains(".SH SYNOPSIS"), "{text}");
        }
        let written = testing::Written::default();
        man(&ManArgs { folder: None }, &mut written.screen(testing::program())).expect("a page");
        let page = written.text();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name().replace('-', "\\-");
            assert!(page.contains(&format!("passback\\-{name}(1)")), "{name}: {page}");
        }
    }
}
