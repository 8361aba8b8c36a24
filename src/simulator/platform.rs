//! All that a request may read or change, and the table of addresses: which path is whose.
//!
//! Nothing here waits, but for the token endpoint, which may have to fetch a tool's keys.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;

use axum::http::StatusCode;
use axum::http::header::{HOST, LOCATION, USER_AGENT};
use secrecy::SecretString;

use super::delegated::Bodies;
use super::faults::{Faults, Trouble};
use super::gradebook::{Cell, Gradebook};
use super::jwks::Clients;
use super::ledger::{Ledger, Route};
use super::lineitems::LineItems;
use super::manners::{Addresses, Manners, UserAgent, WrongHost};
use super::message::{Answer, Call, Reason};
use super::options::Options;
use super::rate::Rate;
use super::seen::Seen;
use super::token::{self, Tokens};
use super::{ags, control, delegated, locked, lti11, refusal_form, score};

pub(super) struct Platform {
    pub(super) manners: &'static Manners,
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
    pub(super) rate: Rate,
    /// Resource links of other contexts.
    pub(super) foreign_links: Mutex<BTreeSet<String>>,
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
    /// The place of a path, by the addresses of a platform.
    pub(super) fn of(path: &'a str, addresses: &Addresses) -> Self {
        if path == addresses.outcomes {
            return Self::Outcomes;
        }
        if path == addresses.token {
            return Self::Token;
        }
        if path == "/delegated/passback" {
            return Self::Delegated;
        }
        if let Some(call) = path.strip_prefix("/_control") {
            // `/_controls` is none of them; it is refused as an unknown call.
            return Self::Control { call: call.strip_prefix('/').unwrap_or(call) };
        }
        let line_item = |path: Option<&'a str>| parts_of(path?, addresses.line_item);
        if let Some((context, id)) = line_item(path.strip_suffix("/scores")) {
            return Self::Scores { context, id };
        }
        if let Some((context, id)) = line_item(path.strip_suffix("/results")) {
            return Self::Results { context, id };
        }
        if let Some((context, id)) = line_item(Some(path)) {
            return Self::LineItem { context, id };
        }
        parts_of(path, addresses.container).map_or(Self::Nowhere, |(context, _)| Self::Container { context })
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

/// What stands in a path for `{context}` and `{id}` of a template; none where it does not fit.
fn parts_of<'a>(path: &'a str, template: &str) -> Option<(&'a str, &'a str)> {
    let (mut context, mut id) = ("", "");
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let segment = segments.next()?;
        match wanted {
            "{context}" if is_plain_name(segment) => context = segment,
            "{id}" if is_plain_name(segment) => id = segment,
            wanted if wanted == segment => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some((context, id))
}

/// Whether a context or line item id can stand in an address as it is.
pub(super) fn is_plain_name(name: &str) -> bool {
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
            manners: Manners::of(options.like),
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
            rate: Rate::new(options.rate_limit),
            foreign_links: Mutex::default(),
            ledger: Ledger::new(options.refusals_max),
        })
    }

    fn addresses(&self) -> &'static Addresses {
        &self.manners.site.addresses.is
    }

    /// The place of a path.
    pub(super) fn place<'a>(&self, path: &'a str) -> Place<'a> {
        Place::of(path, self.addresses())
    }

    pub(super) fn outcomes_path(&self) -> &'static str {
        self.addresses().outcomes
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}{}", self.base_url, self.addresses().token)
    }

    pub(super) fn lineitems_url(&self, context: &str) -> String {
        let path = self.addresses().container.replace("{context}", context);
        let query = self.addresses().container_query.map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{path}{query}", self.base_url)
    }

    pub(super) fn lineitem_url(&self, context: &str, id: &str) -> String {
        let path = self.addresses().line_item.replace("{context}", context).replace("{id}", id);
        let query = self.addresses().line_item_query;
        let query = query.map_or_else(String::new, |(name, value)| format!("?{name}={value}"));
        format!("{}{path}{query}", self.base_url)
    }

    /// Why nothing is written into a cell, if so.
    pub(super) fn trouble_of(&self, cell: &Cell) -> Option<Trouble> {
        let of_user = self.faults.trouble_of(&cell.user);
        of_user.or_else(|| self.gradebook.is_locked(cell).then_some(Trouble::Locked))
    }

    /// Whether a resource link belongs to another context.
    pub(super) fn is_foreign(&self, resource_link: &str) -> bool {
        locked(&self.foreign_links).contains(resource_link)
    }

    /// Judges a request by the rules of its place.
    pub(super) async fn answer(&self, place: Place<'_>, request: &Call, now_ms: i64) -> Answer {
        if let Some(turned_away) = self.turn_away(place, request) {
            return turned_away;
        }
        let judged = match place {
            Place::Outcomes => Ok(lti11::answer(self, request, now_ms)),
            Place::Token => Ok(token::answer(self, request, now_ms).await),
            Place::Container { context } => ags::container(self, request, context, now_ms),
            Place::LineItem { context, id } => ags::line_item(self, request, context, id, now_ms),
            Place::Results { context, id } => ags::results(self, request, context, id, now_ms),
            Place::Scores { context, id } => score::post(self, request, context, id, now_ms),
            Place::Delegated => delegated::post(self, request, now_ms),
            Place::Control { call: name } => control::answer(self, request, name),
            Place::Nowhere => Err(self.nothing_there(request)),
        };
        let answer = judged.unwrap_or_else(|refused| refused);
        refusal_form::dress(self.manners.ags.errors.is, place, request, answer)
    }

    /// What is answered before anybody looks at the request: it came to another name, or from nobody.
    fn turn_away(&self, place: Place<'_>, request: &Call) -> Option<Answer> {
        place.route().filter(|route| *route != Route::Delegated)?;
        let site = &self.manners.site;
        let own_host = self.base_url.split("//").nth(1).unwrap_or_default();
        let host = request.header(&HOST).unwrap_or_default();
        if site.wrong_host.is == WrongHost::SeeOther && !host.eq_ignore_ascii_case(own_host) {
            let page = "<!DOCTYPE html><html><head><title>Redirect</title></head><body>This page should automatically \
                redirect.</body></html>";
            let answer = Answer::text(StatusCode::SEE_OTHER, "text/html; charset=utf-8", page);
            let answer = answer.with_header(LOCATION, &self.base_url);
            return Some(answer.refusing(format!("{host} is not {own_host}")));
        }
        if site.user_agent.is == UserAgent::Needed && request.header(&USER_AGENT).is_err() {
            return Some(Answer::error(StatusCode::FORBIDDEN, "the User-Agent header is missing".to_owned()));
        }
        None
    }

    /// Moodle's line items are below a script that knows its own paths.
    fn nothing_there(&self, request: &Call) -> Answer {
        let script = self.addresses().container.split("/{context}").next().unwrap_or_default();
        let is_script = Path::new(script).extension().is_some_and(|extension| extension == "php");
        if is_script && request.path().starts_with(script) {
            return Answer::bad_request("No handler found for this path".to_owned());
        }
        Answer::error(StatusCode::NOT_FOUND, format!("there is nothing at {}", request.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_their_places() {
        let check = |path: &str, expected: Place<'_>| {
            assert_eq!(Place::of(path, &Manners::of(None).site.addresses.is), expected, "{path}");
        };
        let (context, id) = ("c-1", "7");
        check("/lti11/outcomes", Place::Outcomes);
        check("/lti13/token", Place::Token);
        check("/lti13/c-1/lineitems", Place::Container { context });
        check("/lti13/c-1/lineitems/7/lineitem", Place::LineItem { context, id });
        check("/lti13/c-1/lineitems/7/lineitem/scores", Place::Scores { context, id });
        check("/lti13/c-1/lineitems/7/lineitem/results", Place::Results { context, id });
        check("/delegated/passback", Place::Delegated);
        check("/_control", Place::Control { call: "" });
        check("/_control/faults", Place::Control { call: "faults" });
        check("/_control/columns/c-1/7", Place::Control { call: "columns/c-1/7" });
        for nowhere in
            ["/", "", "/lti11", "/lti11/outcomes/", "/lti13//lineitems", "/lti13/c%20/lineitems", "/a/b/c/d/e/f/g/h/i"]
        {
            check(nowhere, Place::Nowhere);
        }
    }
}
