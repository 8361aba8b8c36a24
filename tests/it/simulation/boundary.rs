//! The crash boundaries: the named moments at which the worker can die.

/// A moment at which the worker can die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Boundary {
    /// An event came in, and is not stored.
    ReceivedNotStored,
    /// A commit has begun; nothing of it is applied.
    NotApplied,
    /// A commit is applied, and not synced.
    AppliedNotSynced,
    /// An event is stored, and not settled with the broker.
    StoredNotSettled,
    /// The start of an attempt is recorded, and nothing is sent.
    AttemptNotSent,
    /// The request is on its way; the platform may take it, and nobody will see the reply.
    SentReplyUnseen,
    /// The reply was seen, and the outcome is not stored.
    ReplyNotStored,
    /// The outcome is stored, and nobody has been told.
    OutcomeNotTold,
    /// The attempts that were cut off are being ended.
    InRecovery,
}

impl Boundary {
    pub(super) const ALL: [Self; 9] = [
        Self::ReceivedNotStored,
        Self::NotApplied,
        Self::AppliedNotSynced,
        Self::StoredNotSettled,
        Self::AttemptNotSent,
        Self::SentReplyUnseen,
        Self::ReplyNotStored,
        Self::OutcomeNotTold,
        Self::InRecovery,
    ];
}
