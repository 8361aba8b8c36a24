//! Events in: parsed at the door, made into a job by the ledger, and vouched for only when the job is on disk.

use std::sync::Arc;

use crate::{
    domain::{
        event::{GradeEvent, Refused, event_id_in},
        job::IdempotencyKey,
        ledger::{Answer, Arrival, Work},
        notice::{Loop, Notice},
    },
    ports::{Incoming, Intake, Pending, Receipt, StoreError},
};

use super::{EngineHandle, manage::StoreHealth};

/// The 80 bits of chance that a job's id takes.
const LUCK_MASK: u128 = (1 << 80) - 1;

/// Parses an event; or says why it can never become a job, to the sender and as a notice.
pub fn read(incoming: Incoming, luck: u128) -> Result<Box<Arrival>, Box<(Refused, Notice)>> {
    let Incoming { body, door, source, message_id, sent_at, user } = incoming;
    match GradeEvent::parse(&body, door) {
        Ok(event) => {
            let key = IdempotencyKey::of(event.event_id.as_deref(), message_id.as_deref(), &body, user.as_deref());
            Ok(Box::new(Arrival { event, body, door, source, key, sent_at, luck: luck & LUCK_MASK }))
        }
        Err(refused) => {
            let Refused { field, detail } = refused.clone();
            let event_id = event_id_in(&body);
            Err(Box::new((refused, Notice::EventRefused { source, message_id, event_id, field, detail })))
        }
    }
}

impl Intake for EngineHandle {
    fn read(&self, incoming: Incoming) -> Result<Box<Arrival>, Refused> {
        read(incoming, self.shared.world.clock.luck()).map_err(|told| {
            let (refused, notice) = *told;
            self.shared.notice(&notice);
            refused
        })
    }

    fn is_open(&self) -> bool {
        self.store_health() == StoreHealth::Healthy
    }

    fn store(&self, arrival: Box<Arrival>) -> Pending<'static, Result<Receipt, StoreError>> {
        let event_id = arrival.event.event_id.clone();
        let answer = self.shared.world.submit(Work::Admit(arrival));
        let observer = Arc::clone(&self.shared.world.observer);
        Box::pin(async move {
            let answer = answer.await?;
            observer.observe(&Notice::Beat { of: Loop::Intake });
            match answer {
                Answer::Duplicate(id) => Ok(Receipt { id, event_id, duplicate: true }),
                Answer::Stored(id) => Ok(Receipt { id, event_id, duplicate: false }),
                _ => Err(StoreError::Unavailable("the store did not say what became of an event".into())),
            }
        })
    }
}
