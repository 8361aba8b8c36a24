//! The columns of a course, read with a token of a platform. They are counted; none is made.

use std::sync::Arc;

use super::{
    Remark, Road, Section, counted, listed,
    platform::{Asked, TokenDesk},
    reach, registrations, told,
};
use crate::{
    config::lti::Platform,
    domain::{
        destination::ServiceUrl,
        outcome::{FailureReason, Finding, Verdict},
        platform::Registration,
    },
    lti::{
        access_token::AccessToken,
        probe::{ColumnCount, Purpose, Walk},
    },
    ports::Registry as _,
};

/// Reads a container.
pub(super) async fn section(road: Road<'_>, name: Option<&str>, container: &ServiceUrl) -> Vec<Remark> {
    let mut section = Section::named("line items", format!("{container:?}"));
    match chosen(road, name) {
        Ok((platform, registration)) => try_container(road, &mut section, platform, registration, container).await,
        Err(seen) => {
            section.fail("platform", seen, "name an LTI 1.3 registration of [[platforms]] with --platform NAME");
        }
    }
    section.done()
}

/// The platform that is meant: by its name, or the only one.
fn chosen<'a>(road: Road<'a>, name: Option<&str>) -> Result<(&'a Platform, Registration), String> {
    let mut fitting =
        registrations(road.platforms).filter(|(platform, _)| name.is_none_or(|name| platform.name == name));
    match (fitting.next(), fitting.next(), name) {
        (Some(one), None, _) => Ok(one),
        (None, _, Some(name)) => Err(format!("no LTI 1.3 registration is called {name}{}", those(road.platforms))),
        (None, ..) => Err("there is no LTI 1.3 registration".to_owned()),
        (Some(_), Some(_), _) => Err(format!("there are several LTI 1.3 registrations{}", those(road.platforms))),
    }
}

/// The registrations to choose from, behind a sentence.
fn those(platforms: &[Platform]) -> String {
    let names: Vec<&str> = registrations(platforms).map(|(platform, _)| platform.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" (there is {})", listed(&names)) }
}

async fn try_container(
    road: Road<'_>,
    section: &mut Section,
    platform: &Platform,
    registration: Registration,
    container: &ServiceUrl,
) {
    let host = container.as_url().host_str().unwrap_or_default();
    if !platform.reaches(host) {
        let seen = format!("{host} is not among the hosts of the platform {}", platform.name);
        section.fail("egress", seen, "its tokens are sent to those hosts alone: correct hosts of [[platforms]]");
        return;
    }
    if !reach::is_on_the_way(road, section, container, "the line items URL").await {
        return;
    }
    let Ok(signing_key) = road.registry.signing_key() else {
        section.fail("token", "there is no [[signing_keys]] entry", "make a key with `passback keys generate`");
        return;
    };
    let desk = TokenDesk { registration: Arc::new(registration), signing_key };
    if let Some(token) = token(road, section, &desk).await {
        read(road, section, &token, container).await;
    }
}

/// A token that reads columns: as the worker asks for it, and else for reading alone.
async fn token(road: Road<'_>, section: &mut Section, desk: &TokenDesk) -> Option<AccessToken> {
    for purpose in [Purpose::Columns, Purpose::ReadColumns] {
        match desk.ask(road, purpose).await {
            Asked::Granted(token, missing) if missing.is_empty() || purpose == Purpose::ReadColumns => {
                return Some(token);
            }
            Asked::Refused(refused) if !refused.is_for_scopes() || purpose == Purpose::ReadColumns => {
                let advice = desk.advice(&refused);
                if refused.is_slow() {
                    road.patience.tell(section, "token", refused.seen(), advice);
                } else {
                    section.fail("token", refused.seen(), advice);
                }
                return None;
            }
            _ => {}
        }
    }
    None
}

async fn read(road: Road<'_>, section: &mut Section, token: &AccessToken, container: &ServiceUrl) {
    let mut count = ColumnCount::new(container.clone());
    let mut is_first = true;
    loop {
        let answer = road.send(count.request(token)).await;
        if is_first && reach::contact(road, section, &answer, container, "the line items URL").await.is_none() {
            return;
        }
        is_first = false;
        let now = road.clock.now();
        match count.handle_reply(&answer, now, road.registry.confidential()) {
            Walk::Goes => {}
            Walk::Counted { columns, cut: "" } => {
                section.ok("read", format!("{} can be read", counted(columns, "column")));
                return;
            }
            Walk::Counted { columns, cut } => {
                let seen = format!("{} can be read, and {cut}", counted(columns, "column"));
                section.warn("read", seen, "a column further on is not found: have the events name their `lineitem`");
                return;
            }
            Walk::Ends(verdict) if verdict.finding == Finding::Failed(FailureReason::Timeout) => {
                road.patience.tell(section, "read", &told(&verdict), "try again when the platform is quick");
                return;
            }
            Walk::Ends(verdict) => {
                section.fail("read", told(&verdict), advice(&verdict));
                return;
            }
        }
    }
}

fn advice(verdict: &Verdict) -> &'static str {
    match verdict.finding {
        Finding::Failed(FailureReason::NotFound) => {
            "the line item container is not there: the course was deleted, or this is not the `lineitems` URL of a launch"
        }
        Finding::Failed(FailureReason::Unauthorized) => {
            "the platform does not let this tool read the columns of this course: check that the tool is in the course and may \
             use grade services there"
        }
        Finding::Failed(FailureReason::ServerError) => "the platform failed on its own side: ask its admins",
        Finding::Failed(FailureReason::RateLimited) => "the platform gets too many requests: try again later",
        Finding::Failed(FailureReason::BadResponse) => {
            "what answers there is no line item service: use the `lineitems` URL of a launch to the letter"
        }
        _ => "use the `lineitems` URL of a launch to the letter",
    }
}
