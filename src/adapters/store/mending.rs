//! After a failure: waiting until the store can be written again, opening it anew, and telling the truth anew.
//!
//! sled takes no write after one that failed, so its files have to be opened again. Whether the commit that failed is on
//! disk shows only then; nothing of it was promised. What it brought about is told now if it is there, and the attempts
//! that it would have begun are taken back, because nobody was told to make them. Everybody else asks again: an event
//! that comes again is a duplicate, an end that comes again is refused.

use std::{
    mem,
    sync::{Arc, PoisonError, RwLockWriteGuard},
    time::Duration,
};

use super::{
    OpenError,
    bookkeeper::{Commit, store_error},
    disk::Fault,
    doubt::Lost,
    file::caught,
    opening::Opened,
    writer::{View, Writer},
};
use crate::{domain::notice::Notice, ports::StoreError};

/// How often a full disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause before the first try, in which those who wait get their answers.
const A_MOMENT: Duration = Duration::from_millis(20);

/// The longest pause between two tries to open a store that fails: so soon after the end of the trouble it goes on.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why nothing is written.
pub(super) enum Trouble {
    /// There is no room for a commit. The files are open and have not failed.
    ShortOfRoom,
    /// A commit failed, for want of room or otherwise: the files are opened anew after this pause.
    Failed(Want, Duration),
}

/// What a commit that failed was in want of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Room,
    Other,
}

impl Trouble {
    /// How long to wait before the next look.
    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::ShortOfRoom => LOOK_EVERY,
            Self::Failed(_, pause) => *pause,
        }
    }
}

impl Writer {
    /// From now on nothing is written, until it is mended.
    pub(super) fn fail(&mut self, fault: &Fault) -> StoreError {
        if let Some(open) = &mut self.open {
            self.doubt.failed(&mut open.bookkeeper);
        }
        let want = if matches!(fault, Fault::Full) { Want::Room } else { Want::Other };
        self.trouble = Some(Trouble::Failed(want, self.next_pause()));
        self.tell_failure(store_error(fault))
    }

    /// The store is open, and there is no room to write.
    pub(super) fn fall_short(&mut self) {
        self.trouble = Some(Trouble::ShortOfRoom);
        self.tell_failure(store_error(&Fault::Full));
    }

    /// Looks whether it can be mended, and mends it.
    pub(super) fn mend(&mut self) {
        match self.trouble {
            Some(Trouble::ShortOfRoom) if self.opener.reserve.make_with_margin().is_ok() => self.go_on(),
            Some(Trouble::Failed(want, _)) => self.reopen(want),
            Some(Trouble::ShortOfRoom) | None => {}
        }
    }

    /// Closes the files and opens them again, at once also on a full disk: what sled has not written it cannot read.
    fn reopen(&mut self, want: Want) {
        self.shut();
        self.opener.forget_cached();
        let opened = caught(|| self.opener.open());
        let opened = opened.map_err(|words| StoreError::Unavailable(words.into()));
        match opened.and_then(|opened| opened.map_err(|error| StoreError::Unavailable(error.to_string().into()))) {
            Ok(opened) => match self.doubt.compare(&opened.bookkeeper) {
                Ok(()) => self.take_over(want, opened),
                Err(Lost { commits }) => {
                    let lost = OpenError::Lost { folder: self.opener.folder.clone(), commits };
                    drop(caught(|| drop(opened)));
                    self.stay_shut(want, StoreError::Unavailable(lost.to_string().into()));
                }
            },
            Err(error) => self.stay_shut(want, error),
        }
    }

    /// Nobody reads any more, and the files are closed.
    fn shut(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let census = open.bookkeeper.reader().census();
        let view = mem::replace(&mut *self.view(), View::Shut(census));
        // sled may panic over what it cannot write any more.
        drop(caught(|| drop((view, open))));
    }

    fn stay_shut(&mut self, want: Want, error: StoreError) {
        self.trouble = Some(Trouble::Failed(want, self.next_pause()));
        self.tell_failure(error);
    }

    /// The files are open again: finds out what is true, and goes on if there is room.
    fn take_over(&mut self, want: Want, opened: Opened) {
        self.doubt.reopened(&opened.bookkeeper);
        *self.view() = View::Open(opened.bookkeeper.reader().clone());
        self.open = Some(opened);
        let reserve = &self.opener.reserve;
        let made = if want == Want::Room { reserve.make_with_margin() } else { reserve.make() };
        match made {
            Ok(()) => self.go_on(),
            // What is wrong with the reserve is wrong with the disk.
            Err(_) => self.fall_short(),
        }
    }

    /// Takes back what was never begun, and takes orders again. Whoever is told of it must find that it is so.
    fn go_on(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        let orders = self.doubt.withdrawals(&open.bookkeeper, self.clock.now());
        let withdrawn = caught(|| open.bookkeeper.commit(orders)).map_err(Fault::Panicked);
        match withdrawn.and_then(|withdrawn| withdrawn) {
            Ok(Commit { report, .. }) => self.doubt.tell_later(report),
            Err(fault) => return drop(self.fail(&fault)),
        }
        // Nothing is mended before something was written: events that are taken in only to be sent back are counted.
        let Some(open) = &mut self.open else {
            return;
        };
        let proven = caught(|| open.bookkeeper.prove()).map_err(Fault::Panicked).and_then(|proven| proven);
        if let Err(fault) = proven {
            return drop(self.fail(&fault));
        }
        self.trouble = None;
        self.shared.failure.store(None);
        self.observer.observe(&Notice::StoreMended);
        self.beat();
        (self.sink)(self.doubt.take_untold());
    }

    /// A moment; twice the last pause if nothing was committed since.
    fn next_pause(&mut self) -> Duration {
        self.pause = if self.pause.is_zero() { A_MOMENT } else { (self.pause * 2).clamp(LOOK_EVERY, PAUSE_MAX) };
        self.pause
    }

    /// What everybody is told from now on; said aloud once.
    fn tell_failure(&self, error: StoreError) -> StoreError {
        let before = self.shared.failure.swap(Some(Arc::new(error.clone())));
        if before.is_none_or(|before| *before != error) {
            self.observer.observe(&Notice::StoreFailed { error: error.to_string() });
        }
        error
    }

    fn view(&self) -> RwLockWriteGuard<'_, View> {
        self.shared.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}
