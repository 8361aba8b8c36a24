//! An LTI 1.1 outcome service: the key, the way there, and, with a sourcedid, the grade that it holds, read and not
//! written.

use super::{Finding, OutcomeWish, Road, Section, reach};
use crate::{domain::outcome::FailureReason, ports::Registry as _};

/// Tries an outcome service.
pub(super) async fn section(road: Road<'_>, wish: &OutcomeWish) -> Vec<Finding> {
    let mut section = Section::named("lti 1.1", format!("{:?}", wish.url));
    let host = wish.url.as_url().host_str().unwrap_or_default();
    match road.scene.registry.shared_secret(&wish.key, host) {
        Ok(_) => {
            section.ok("key", format!("there is a secret for {}", wish.key));
            reach::visit(road, &mut section, &wish.url, "the outcome URL").await;
        }
        Err(FailureReason::BlockedDestination) => {
            let seen = format!("the key {} may not be used at {host}", wish.key);
            section.fail("key", seen, "add the host to `hosts` of this key in [[lti_keys]]");
        }
        Err(_) => {
            let seen = format!("there is no [[lti_keys]] entry for the consumer key {}", wish.key);
            section.fail("key", seen, "add it with its secret, or correct --key");
        }
    }
    section.done()
}
