//! All that a request may read or change, and the table of addresses: which path is whose.
//!
//! Nothing here waits, but for the token endpoint, which may have to fetch a tool's keys.

use std::collections::HashMap;

use axum::http::StatusCode;
use secrecy::SecretString;

use super::delegated::Bodies;
use super::faults::Faults;
use super::gradebook::Gradebook;
use super::jwks::Clients;
use super::ledger::{Ledger, Route};
use super::lineitems::LineItems;
use super::message::{Answer, Call, Reason};
use super::options::Options;
use super::seen::Seen;
use super::token::{self, Tokens};
use super::{ags, control, delegated, lti11, score};

pub(super) struct Platform {
    pub(super) base_url: String,
    /// Set where a proxy stands before us, so that what was signed is not what arrives.
    pub(super) public_url: Option<String>,
    pub(super) page_size: usize,
    pub(super) clock_skew_ms: i64,
    pub(super) consumers: HashMap<String, SecretString>,
    pub(super) clients: Clients,
    pub(super) line_items: LineItems,
    pub(super) gradebook: Gradebook,
    pub(super) delegated: Bodies,
    pub(super) tokens: Tokens,
    pub(super) nonces: Seen,
    pub(super) jtis: Seen,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
}

/// What an address names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place<'a> {
    Outcomes,
    Token,
    Container { context: &'a str },
    LineItem { context: &'a str, id: &'a str },
    Results { context: &'a str, id: &'a str },
    Scores { context: &'a str, id: &'a str },
    Delegated,
    Control { call: &'a str },
    Nowhere,
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        let mut parts = [""; 8];
        let mut count = 0;
        for part in path.split('/').skip(1) {
            let Some(slot) = parts.get_mut(count) else {
                return Self::Nowhere;
            };
            *slot = part;
            count += 1;
        }
        match parts[..count] {
            ["lti11", "outcomes"] => Self::Outcomes,
            ["lti13", "token"] => Self::Token,
            ["lti13", context, ref rest @ ..] if is_plain_name(context) => Self::in_context(context, rest),
            ["delegated", "passback"] => Self::Delegated,
            ["_control", call] => Self::Control { call },
            _ => Self::Nowhere,
        }
    }

    fn in_context(context: &'a str, rest: &[&'a str]) -> Self {
        match *rest {
            ["lineitems"] => Self::Container { context },
            ["lineitems", id, ref below @ ..] if is_plain_name(id) => match below {
                ["lineitem"] => Self::LineItem { context, id },
                ["lineitem", "results"] => Self::Results { context, id },
                ["lineitem", "scores"] => Self::Scores { context, id },
                _ => Self::Nowhere,
            },
            _ => Self::Nowhere,
        }
    }

    /// The route whose faults and counts this is; the control calls have none.
    pub(super) fn route(self) -> Option<Route> {
        match self {
            Self::Outcomes => Some(Route::Lti11),
            Self::Token => Some(Route::Token),
            Self::Container { .. } | Self::LineItem { .. } | Self::Results { .. } => Some(Route::Lineitems),
            Self::Scores { .. } => Some(Route::Scores),
            Self::Delegated => Some(Route::Delegated),
            Self::Control { .. } | Self::Nowhere => None,
        }
    }
}

/// Whether a context or line item id can stand in an address as it is.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte))
}

impl Platform {
    pub(super) fn new(options: Options, base_url: String) -> Result<Self, Reason> {
        let names = options.contexts.iter().flat_map(|(context, ids)| [context].into_iter().chain(ids));
        if let Some(name) = names.into_iter().find(|name| !is_plain_name(name)) {
            return Err(format!("{name:?} cannot be a context or line item id: letters, digits and .-_~ only"));
        }
        let public_url = options.public_url.map(|url| url.trim_end_matches('/').to_owned());
        let clients = Clients::default();
        for client in options.clients {
            clients.add(client)?;
        }
        Ok(Self {
            base_url: public_url.clone().unwrap_or(base_url),
            public_url,
            page_size: options.page_size,
            clock_skew_ms: options.clock_skew_ms,
            consumers: options.consumers.into_iter().map(|consumer| (consumer.key, consumer.secret)).collect(),
            clients,
            line_items: LineItems::new(options.auto_columns, &options.contexts),
            gradebook: Gradebook::default(),
            delegated: Bodies::default(),
            tokens: Tokens::new(options.token_life),
            nonces: Seen::default(),
            jtis: Seen::default(),
            faults: Faults::default(),
            ledger: Ledger::new(options.refusals_max),
        })
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/lti13/token", self.base_url)
    }

    pub(super) fn lineitems_url(&self, context: &str) -> String {
        format!("{}/lti13/{context}/lineitems", self.base_url)
    }

    pub(super) fn lineitem_url(&self, context: &str, id: &str) -> String {
        format!("{}/lti13/{context}/lineitems/{id}/lineitem?type_id=1", self.base_url)
    }

    /// Judges a request by the rules of its place.
    pub(super) async fn answer(&self, place: Place<'_>, request: &Call, now_ms: i64) -> Answer {
        let judged = match place {
            Place::Outcomes => Ok(lti11::answer(self, request, now_ms)),
            Place::Token => Ok(token::answer(self, request, now_ms).await),
            Place::Container { context } => ags::container(self, request, context, now_ms),
            Place::LineItem { context, id } => ags::line_item(self, request, context, id, now_ms),
            Place::Results { context, id } => ags::results(self, request, context, id, now_ms),
            Place::Scores { context, id } => score::post(self, request, context, id, now_ms),
            Place::Delegated => delegated::post(self, request, now_ms),
            Place::Control { call: name } => control::answer(self, request, name),
            Place::Nowhere => {
                Err(Answer::error(StatusCode::NOT_FOUND, format!("there is nothing at {}", request.path())))
            }
        };
        judged.unwrap_or_else(|refused| refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_their_places() {
        let check = |path: &str, expected: Place<'_>| assert_eq!(Place::of(path), expected, "{path}");
        let (context, id) = ("c-1", "7");
        check("/lti11/outcomes", Place::Outcomes);
        check("/lti13/token", Place::Token);
        check("/lti13/c-1/lineitems", Place::Container { context });
        check("/lti13/c-1/lineitems/7/lineitem", Place::LineItem { context, id });
        check("/lti13/c-1/lineitems/7/lineitem/scores", Place::Scores { context, id });
        check("/lti13/c-1/lineitems/7/lineitem/results", Place::Results { context, id });
        check("/delegated/passback", Place::Delegated);
        check("/_control/faults", Place::Control { call: "faults" });
        for nowhere in
            ["/", "", "/lti11", "/lti11/outcomes/", "/lti13//lineitems", "/lti13/c%20/lineitems", "/a/b/c/d/e/f/g/h/i"]
        {
            check(nowhere, Place::Nowhere);
        }
    }
}
