//! How a launch ends: what the dispatcher is told of it, and what the ledger writes down.

use super::{
    dispatch::Launch,
    health::Signal,
    ledger::Work,
    outcome::{Finding, Verdict},
};

/// How the conversation of an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a verdict.
    Verdict(Verdict),
    /// The worker had to stop.
    CutOff {
        /// Whether the score may have been written.
        reply_lost: bool,
    },
}

impl Ending {
    /// What it says about the platform.
    pub fn signal(&self) -> Signal {
        match self {
            Self::Verdict(verdict) => Signal::of(verdict),
            Self::CutOff { .. } => Signal::Nothing,
        }
    }

    /// What went wrong at the platform, in words.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Verdict(Verdict { finding: Finding::Failed(_), message, .. }) => Some(message),
            Self::Verdict(_) | Self::CutOff { .. } => None,
        }
    }

    /// What the ledger writes down.
    pub fn work(&self, launch: &Launch) -> Work {
        match self {
            Self::Verdict(verdict) => Work::Finish { id: launch.id, verdict: verdict.clone(), trial: launch.trial },
            Self::CutOff { reply_lost } => Work::Interrupt { id: launch.id, reply_lost: *reply_lost },
        }
    }
}
