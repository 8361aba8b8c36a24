//! The body of a request on its way out, which remembers whether it has been asked for.
//!
//! The question matters when no reply comes: a grade that was never written can be sent again without a thought, one
//! that may have been read cannot.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::lti::wire::Written;

/// How far one exchange has come; read when a limit cuts it off.
#[derive(Debug, Default)]
pub(super) struct Progress {
    written: AtomicBool,
    /// 0 until the head of the reply is there.
    status: AtomicU16,
}

impl Progress {
    pub(super) fn written(&self) -> Written {
        if self.written.load(Ordering::Acquire) { Written::Perhaps } else { Written::No }
    }

    pub(super) fn status(&self) -> Option<u16> {
        Some(self.status.load(Ordering::Acquire)).filter(|status| *status != 0)
    }

    /// The head of the reply is there.
    pub(super) fn note_status(&self, status: u16) {
        self.written.store(true, Ordering::Release);
        self.status.store(status, Ordering::Release);
    }

    /// A request without a body gives no sign when it is written, so it counts as written from the beginning.
    pub(super) fn note_written(&self) {
        self.written.store(true, Ordering::Release);
    }
}

/// A body in one piece.
pub(super) struct Outgoing {
    bytes: Option<Bytes>,
    progress: Arc<Progress>,
}

impl Outgoing {
    pub(super) fn new(bytes: Vec<u8>, progress: Arc<Progress>) -> Self {
        Self { bytes: Some(bytes.into()), progress }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        this.progress.note_written();
        Poll::Ready(this.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
