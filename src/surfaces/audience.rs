//! The audience: all who want to know what happens. Each notice goes to every one of them, once; the name of a platform
//! is learnt first, so that all show the same.

use std::sync::Arc;

use crate::{config::names::Labels, domain::notice::Notice, ports::Observer};

/// Hands each notice to all observers, in order.
pub struct Audience {
    labels: Arc<Labels>,
    observers: Vec<Arc<dyn Observer>>,
}

impl Audience {
    /// Those who want to know, and the names that they show.
    pub fn new(labels: Arc<Labels>, observers: Vec<Arc<dyn Observer>>) -> Self {
        Self { labels, observers }
    }
}

impl Observer for Audience {
    fn observe(&self, notice: &Notice) {
        if let Notice::PlatformMet { origin, client_id } = notice {
            self.labels.meet(origin, client_id.as_deref());
        }
        for observer in &self.observers {
            observer.observe(notice);
        }
    }
}
