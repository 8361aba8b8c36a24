//! Which queues are being consumed: what readiness asks for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::ports::QueueHealth;

/// A cheap handle that says which queues have no consumer.
#[derive(Clone, Debug, Default)]
pub struct AmqpHealth {
    without_consumer: Arc<Mutex<BTreeSet<String>>>,
}

impl AmqpHealth {
    /// At the start no queue has one.
    pub(super) fn new(queues: &[String]) -> Self {
        Self { without_consumer: Arc::new(Mutex::new(queues.iter().cloned().collect())) }
    }

    pub(super) fn gained(&self, queue: &str) {
        self.queues().remove(queue);
    }

    pub(super) fn lost(&self, queue: &str) {
        self.queues().insert(queue.to_owned());
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole at every moment, also after a panic elsewhere.
        self.without_consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueHealth for AmqpHealth {
    fn queues_without_consumer(&self) -> Vec<String> {
        self.queues().iter().cloned().collect()
    }
}
