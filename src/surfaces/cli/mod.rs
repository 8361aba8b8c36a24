//! The command line: what can be asked, in which words, and with which exit code it ends.
//!
//! Each subcommand is a file. `main` parses, matches on [`Command`], hands each command what it needs from elsewhere
//! (the configuration, a publisher, keys) and ends with [`finish`]. The commands talk to a worker by its HTTP API
//! alone and never touch its store; the present comes in with the [`Screen`].
//!
//! ```text
//! run, demo                     arguments only: the service and the demo are started elsewhere
//! submit  ── batches ─────────┐
//! failures, jobs, stats, verify, platforms, replays, audit, reload ── connect ── client ── a worker's API
//! backup, export ─────────────┘
//!     └── filter, names       └── answers ── job_table, job_page ── output, progress
//! lms                           a simulated LMS, until it is told to stop
//! export, import, backup        between the store's own halves of them and a person
//! config                        what `config` shows, printed
//! keys                          what `config` makes, printed or written
//! completions, man              made from this definition
//! check                         what `crate::check` finds, printed
//! ```

mod answers;
pub mod audit;
pub mod backup;
mod batches;
pub mod check;
mod client;
pub mod config;
mod connect;
pub mod demo;
pub mod export;
pub mod failures;
mod fault;
mod filter;
mod groups;
pub mod import;
mod job_page;
mod job_table;
pub mod jobs;
pub mod keys;
pub mod lms;
pub mod manual;
mod names;
mod output;
pub mod platforms;
pub mod progress;
pub mod reload;
pub mod replays;
pub mod stats;
pub mod submit;
#[cfg(test)]
mod testing;
pub mod verify;
mod when;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

pub use connect::{ConnectArgs, FindLocal, LocalWorker};
pub use fault::CliError;
pub use output::{Look, Screen, note};

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "passback", version, about = ABOUT, arg_required_else_help = true, after_long_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file. Else `PASSBACK_CONFIG`, else `./passback.toml` if there is one, else the defaults
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const ABOUT: &str = "Gets every grade into the LMS gradebook, by LTI 1.1 and LTI 1.3, and loses none";

const EXAMPLES: &str = "Examples:
  passback demo                               see it work, in less than a minute
  passback check --config passback.toml       try the whole way, without writing a grade
  passback run --config passback.toml         run the worker
  passback failures list                      what could not be delivered, and why
  passback failures replay --platform moodle  try again, once that is mended

Exit codes: 0 done, 1 it failed, 2 wrong usage or configuration.";

/// What can be asked.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the worker until SIGTERM or SIGINT
    Run(RunArgs),
    /// Show the whole way of a grade with simulated platforms, in less than a minute
    Demo(DemoArgs),
    /// Send events, one JSON object a line, to a worker or to RabbitMQ
    Submit(submit::SubmitArgs),
    /// See and mend what could not be delivered
    #[command(subcommand)]
    Failures(failures::Command),
    /// See jobs in any state
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Read a job's grade back from the LMS, and say whether it is what was sent
    Verify(verify::VerifyArgs),
    /// Count the jobs, and show how each platform is doing
    Stats(stats::StatsArgs),
    /// See how each platform is doing, check the way there, and pause or resume it
    #[command(subcommand)]
    Platforms(platforms::Command),
    /// See what changes of many jobs in the background have come to
    Replays(replays::ReplaysArgs),
    /// See who did what, when, to how many jobs, and why
    Audit(audit::AuditArgs),
    /// Have the worker read its keys, platforms and tokens anew, as SIGHUP does
    Reload(reload::ReloadArgs),
    /// Write the jobs of a store as NDJSON, and save what can be read of a damaged one
    Export(export::ExportArgs),
    /// Take over the jobs that an export wrote
    Import(import::ImportArgs),
    /// Copy the store, also of a worker that runs
    Backup(backup::BackupArgs),
    /// Make the tool's RSA keys, and show their public halves
    #[command(subcommand)]
    Keys(keys::Command),
    /// Print the configuration that a worker would run with, without its secrets, or the commented default file
    Config(config::ConfigArgs),
    /// Try the configuration, the store, the broker, the keys and each platform, and say how to mend what is wrong
    Check(check::CheckArgs),
    /// Run a simulated LMS that speaks LTI 1.1 and 1.3, for trying out and for tests
    Lms(lms::LmsArgs),
    /// Print what lets a shell complete this command line
    Completions(manual::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(manual::ManArgs),
}

/// `passback run`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Examples:
  passback run
  passback run --config /etc/passback/passback.toml
  PASSBACK_AMQP__URL=amqp://guest:guest@127.0.0.1:5672/%2f passback run

SIGTERM and SIGINT stop the intake, let attempts under way end, and flush; SIGHUP reads keys, platforms and tokens anew.")]
pub struct RunArgs {}

/// `passback demo`
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Send the events through this RabbitMQ instead of the HTTP door
    #[arg(long, value_name = "URL")]
    pub amqp: Option<SecretString>,
    /// Leave the worker and the simulated platforms running at the end
    #[arg(long)]
    pub keep: bool,
}

/// Reads the command line of this process. Wrong usage ends the process with 2, `--help` and `--version` with 0.
pub fn parse() -> Cli {
    Cli::parse()
}

/// Tells the person what went wrong, and the caller by the exit code.
pub fn finish(result: &Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::ClosedPipe) {
                note(&format!("error: {error}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    const ID: &str = "01JD8Y3K5V7Q2W9XZB4N6M8P0R";

    fn try_parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["passback"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_contract_names_is_understood() {
        for line in [
            "run",
            "demo --keep --amqp amqp://guest:guest@127.0.0.1:5672/%2f",
            "submit events.ndjson",
            "submit - --url http://127.0.0.1:9 --token t",
            "submit - --amqp amqp://localhost --queue q",
            "submit - --amqp amqp://localhost --exchange e --routing-key k",
            "failures list --platform moodle --reason server_error --since 2h --until 1h --user u --activity a --json",
            "failures list --session s --limit 1000 --cursor abc",
            &format!("failures show {ID}"),
            &format!("failures replay {ID} {ID}"),
            &format!("failures replay {ID} --dry-run"),
            "failures replay --all",
            "failures replay --all --dry-run --json",
            "failures replay --platform moodle --since 2026-11-21T10:30:00Z",
            &format!("failures discard {ID}"),
            "jobs list --state queued",
            &format!("jobs show {ID} --json"),
            &format!("verify {ID}"),
            &format!("verify {ID} --json"),
            "stats --json",
            "stats --watch",
            "stats --watch 10 --json",
            "platforms list --json",
            "platforms pause moodle --note maintenance",
            "platforms resume moodle --json",
            "platforms check moodle --json",
            "reload --note rotated --json",
            "replays --limit 10 --cursor abc --json",
            "replays",
            &format!("replays {ID} --wait"),
            &format!("replays {ID} --jobs --limit 100 --cursor abc --json"),
            "audit --limit 10 --cursor abc --json",
            "failures list --group --json",
            "failures list --delivery lti11 --session s",
            "failures replay --session s --background --wait",
            "failures discard --delivery lti13-ags --background --no-wait",
            "completions bash",
            "completions zsh",
            "completions fish",
            "man",
            "man /usr/share/man/man1",
            "export",
            "export jobs.ndjson --salvage",
            "export --salvage --url http://127.0.0.1:9",
            "export --url http://127.0.0.1:9 --token t -",
            "import jobs.ndjson",
            "import - --partial --json",
            "backup /backups/1",
            "backup /backups/1 --url http://127.0.0.1:9 --note nightly --json",
            "keys generate",
            "keys generate --kid 2026-11 --out keys",
            "keys jwks",
            "config",
            "config --default",
            "check",
            "check --json --jwks-url https://tool.example.edu/.well-known/jwks.json",
            "check --lineitems https://lms.example.edu/a --lineitems https://lms.example.edu/b --platform moodle",
            "check --platform moodle",
            "check --outcome-url https://lms.example.edu/o --key k --sourcedid s",
            "check --outcome-url https://lms.example.edu/o --key k --sourcedid -",
            "lms",
            "lms --listen 127.0.0.1:0 --jwks keys.json --json",
        ] {
            if let Err(error) = try_parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_usage_ends_with_2_and_names_what_is_wrong() {
        let check = |line: &str, named: &str| {
            let error = try_parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(named), "{line}: {error}");
        };
        check("", "Usage: passback");
        check("fly", "fly");
        check("failures replay", "--all");
        check("failures replay --dry-run", "--all");
        check("failures replay --all --platform moodle", "--platform");
        check(&format!("failures replay {ID} --all"), "--all");
        check(&format!("failures replay {ID} --user u"), "--user");
        check("failures replay 17", "is not a job id");
        check("failures discard", "<ID>");
        check("failures list --reason tired", "server_error");
        check("failures list --since yesterday", "2h, 3d");
        check("failures list --limit 0", "1..=100000");
        check("jobs list --state lost", "superseded");
        check("jobs show", "<ID>");
        check("verify", "<JOB>");
        check("verify 17", "is not a job id");
        check("submit", "<FILE>");
        check("submit - --queue q", "--amqp");
        check("submit - --amqp amqp://h --queue q --exchange e", "--exchange");
        check("import", "<FILE>");
        check("stats --watch 0", "1..=86400");
        check("failures list --group --platform moodle", "--platform");
        check("failures list --group --limit 3", "--limit");
        check("failures replay --all --wait", "--background");
        check("replays --wait", "<ID>");
        check("replays --jobs", "<ID>");
        check("replays nosuch", "is not the id of a change of many");
        check("replays --limit 0", "1..=1000");
        check("platforms check", "<NAME>");
        check("platforms pause", "<NAME>");
        check("completions tcsh", "fish");
        check("backup", "<DIR>");
        check("keys generate --kid a/b", "letters");
        check("check --outcome-url https://lms.example.edu/o", "--key");
        check("check --jwks-url tool.example.edu", "absolute URL");
        check("lms --listen nowhere", "nowhere");
        check("lms --consumer key", "KEY=SECRET");
    }

    #[test]
    fn the_configuration_is_named_before_or_after_the_subcommand() {
        for line in ["--config a.toml jobs list", "jobs list --config a.toml", "jobs --config a.toml list"] {
            assert_eq!(try_parse(line).expect(line).config, Some(PathBuf::from("a.toml")), "{line}");
        }
    }

    #[test]
    fn help_shows_no_secret_of_the_environment_and_neither_does_debug() {
        let mut submit = Cli::command();
        let help = submit.find_subcommand_mut("stats").expect("stats").render_long_help().to_string();
        assert!(help.contains("PASSBACK_TOKEN") && !help.contains("PASSBACK_TOKEN="), "{help}");
        for line in [
            "submit - --token hunter2 --amqp amqp://u:hunter2@h",
            "check --outcome-url https://h/o?ticket=hunter2 --key k --sourcedid hunter2",
        ] {
            let cli = try_parse(line).expect("it is understood");
            assert!(!format!("{cli:?}").contains("hunter2"));
        }
        assert_eq!(try_parse("--help").expect_err("help").kind(), ErrorKind::DisplayHelp);
    }
}
