//! What went over the wire, seen from our side of the real transport: each request as it was handed over, the status that
//! came back, and how many were under way.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use passback::{
    adapters::transport::HttpTransport,
    lti::wire::{Answer, Method, Request},
    ports::{Pending, Transport},
};
use serde_json::Value;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Outcome,
    Token,
    Columns,
    NewColumn,
    Score,
    Delegated,
}

/// One request and what became of it.
#[derive(Clone)]
pub(super) struct Talk {
    pub(super) sort: Sort,
    pub(super) request: Request,
    /// None without a whole reply, and while it is under way.
    pub(super) status: Option<u16>,
    /// How many of its sort were under way, itself included.
    pub(super) beside: usize,
}

impl Talk {
    /// The value of a header; empty where it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        self.request.headers.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub(super) fn body(&self) -> String {
        String::from_utf8(self.request.body.clone()).expect("UTF-8")
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.request.body).expect("JSON")
    }

    /// A field of the body, a form.
    pub(super) fn form(&self, name: &str) -> String {
        let mut fields = url::form_urlencoded::parse(&self.request.body);
        fields.find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    /// The text between two marks of the body.
    pub(super) fn between(&self, before: &str, after: &str) -> String {
        let body = self.body();
        let (_, rest) = body.split_once(before).unwrap_or_else(|| panic!("no {before} in {body}"));
        rest.split(after).next().unwrap_or_default().to_owned()
    }
}

/// The real transport, overheard. Clones hear the same.
#[derive(Clone)]
pub(super) struct Tap {
    transport: HttpTransport,
    talks: Arc<Mutex<Vec<Talk>>>,
    under_way: Arc<[AtomicUsize; 6]>,
}

impl Tap {
    pub(super) fn on(transport: HttpTransport) -> Self {
        Self { transport, talks: Arc::default(), under_way: Arc::default() }
    }

    /// The requests of a sort so far, in the order in which they went out.
    pub(super) fn all(&self, sort: Sort) -> Vec<Talk> {
        let talks = self.talks.lock().expect("no panic");
        talks.iter().filter(|talk| talk.sort == sort).cloned().collect()
    }

    /// How many requests of a sort there were so far.
    pub(super) fn count(&self, sort: Sort) -> usize {
        self.all(sort).len()
    }
}

impl Transport for Tap {
    fn send(&self, request: Request, within: Duration) -> Pending<'_, Answer> {
        Box::pin(async move {
            let sort = sort_of(&request);
            let under_way = &self.under_way[sort as usize];
            let beside = under_way.fetch_add(1, Ordering::SeqCst) + 1;
            let number = {
                let mut talks = self.talks.lock().expect("no panic");
                talks.push(Talk { sort, request: request.clone(), status: None, beside });
                talks.len() - 1
            };
            let answer = self.transport.send(request, within).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            self.talks.lock().expect("no panic")[number].status = answer.as_ref().ok().map(|reply| reply.status);
            answer
        })
    }
}

fn sort_of(request: &Request) -> Sort {
    let kind = request.headers.iter().find(|(name, _)| *name == "content-type").map_or("", |(_, value)| value);
    match (request.method, kind) {
        (Method::Get, _) => Sort::Columns,
        (_, "application/xml") => Sort::Outcome,
        (_, "application/x-www-form-urlencoded") => Sort::Token,
        (_, "application/vnd.ims.lis.v2.lineitem+json") => Sort::NewColumn,
        (_, "application/vnd.ims.lis.v1.score+json") => Sort::Score,
        _ => Sort::Delegated,
    }
}
