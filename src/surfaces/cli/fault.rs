//! How a command fails: with a sentence for the person at the terminal, and an exit code for the program that called.

use std::io;

use super::client::ClientError;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Wrong usage or configuration; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It was asked well, and failed; exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Whoever read the output has seen enough (`| head`), which is no failure; exit code 0.
    #[error("nobody reads the output any more")]
    ClosedPipe,
}

impl CliError {
    /// The exit code: 0 done, 1 it failed, 2 wrong usage or configuration.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// What became of a write to standard output.
    pub(super) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("the output cannot be written: {error}")),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        if error.is_wrong_usage() { Self::Usage(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}
