//! The places between the parts of a service where something can be put in: at its store, its transport and its way in.
//!
//! The program puts nothing there. A test that wants the worker to die at a certain step, or its disk to be slow, wraps
//! the port that the step goes through, and so nothing of that stands in the parts themselves.

use std::sync::Arc;

use crate::ports::{Intake, JobStore, Transport};

/// What is put in at each place; by default, nothing.
pub trait Seams: Send + Sync {
    /// Between the engine and the store.
    fn store(&self, store: Arc<dyn JobStore>) -> Arc<dyn JobStore> {
        store
    }

    /// Between the engine and the platforms.
    fn transport(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        transport
    }

    /// Between those who bring events and the engine.
    fn intake(&self, intake: Arc<dyn Intake>) -> Arc<dyn Intake> {
        intake
    }
}

/// Nothing is put in.
pub(super) struct Plain;

impl Seams for Plain {}
