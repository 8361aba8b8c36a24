//! The simulated LMS's own controls over HTTP: faults, gradebook, counts. For demos and tests, so without a key;
//! listen on an address that only they reach.

mod cells;
mod columns;
mod faults;

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ledger::Route;
use super::message::{Answer, Call, Reason};
use super::platform::Platform;

/// Every call: its method, and its path below `/_control/`.
pub(super) const CALLS: [(&str, &str); 10] = [
    ("GET", "faults"),
    ("PUT", "faults"),
    ("GET", "gradebook"),
    ("PUT", "gradebook"),
    ("DELETE", "gradebook"),
    ("GET", "columns"),
    ("PUT", "columns/{context}/{id}"),
    ("DELETE", "columns/{context}/{id}"),
    ("GET", "requests"),
    ("GET", "delegated"),
];

/// Answers `/_control/{call}`.
pub(super) fn answer(platform: &Platform, request: &Call, call: &str) -> Result<Answer, Answer> {
    let method = request.parts.method.as_str();
    let segments: Vec<_> = call.split('/').collect();
    match (method, segments.as_slice()) {
        ("GET", ["faults"]) => Ok(faults::list(platform)),
        ("PUT", ["faults"]) => faults::put(platform, request),
        ("GET", ["gradebook"]) => cells::list(platform, request),
        ("PUT", ["gradebook"]) => cells::put(platform, request),
        ("DELETE", ["gradebook"]) => cells::delete(platform, request),
        ("GET", ["columns"]) => columns::list(platform),
        ("PUT", ["columns", context, id]) => columns::put(platform, request, context, id),
        ("DELETE", ["columns", context, id]) => columns::delete(platform, context, id),
        ("GET", ["requests"]) => Ok(Answer::json(StatusCode::OK, &requests(platform))),
        ("GET", ["delegated"]) => Ok(Answer::json(StatusCode::OK, &delegated(platform))),
        (_, [name, ..]) if CALLS.iter().any(|(_, path)| path.split('/').next() == Some(name)) => {
            Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, calls("this call is not understood", name)))
        }
        _ => Err(Answer::error(StatusCode::NOT_FOUND, calls("there is no such call", ""))),
    }
}

/// What went wrong, and the calls whose names begin so.
fn calls(wrong: &str, name: &str) -> Reason {
    let fitting = CALLS.iter().filter(|(_, path)| path.starts_with(name));
    let calls: Vec<_> = fitting.map(|(method, path)| format!("{method} /_control/{path}")).collect();
    format!("{wrong}; there are {}", calls.join(", "))
}

/// The bodies as JSON; they were read as such when they came.
fn delegated(platform: &Platform) -> Value {
    let bodies = platform.delegated.all();
    Value::Array(bodies.iter().map(|body| serde_json::from_str(body).unwrap_or_default()).collect())
}

fn requests(platform: &Platform) -> Value {
    let routes: BTreeMap<_, _> = Route::ALL.into_iter().map(|route| (route, platform.ledger.counts(route))).collect();
    json!({"routes": routes, "refusals": platform.ledger.refusals()})
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::super::testing::{platform, send};
    use super::*;

    #[tokio::test]
    async fn the_counts_can_be_read_and_what_is_no_call_names_those_there_are() {
        let platform = platform();
        let (_, requests) = send(&platform, "GET", "/_control/requests", "").await;
        assert_eq!(requests["routes"]["scores"], json!({"accepted": 0, "refused": 0, "faulted": 0}));
        let check = async |method: &str, path: &str, status: u16, words: &str| {
            let reply = send(&platform, method, path, "").await;
            let reason = reply.1["reason"].as_str().unwrap_or_default();
            assert!(reply.0 == status && reason.contains(words), "{path}: {} {reason}", reply.0);
        };
        check("POST", "/_control/requests", 405, "there are GET /_control/requests").await;
        check("PATCH", "/_control/columns/c1/a", 405, "DELETE /_control/columns/{context}/{id}").await;
        check("GET", "/_control/columns/c1/a/b", 405, "GET /_control/columns").await;
        check("GET", "/_control/grades", 404, "PUT /_control/gradebook").await;
        check("GET", "/_control", 404, "PUT /_control/faults").await;
    }

    /// Where `passback lms` listens by itself.
    const HOST: &str = "http://127.0.0.1:8090";

    /// Method, address and body of a line of the documentation.
    fn parsed(line: &str) -> (&str, &str, &str) {
        let method = line.split_once("-X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap_or_default());
        let (_, url) = line.split_once(HOST).expect(line);
        let url = url.split([' ', '\'']).next().unwrap_or_default();
        let body = line.split_once("-d '").map_or("", |(_, rest)| rest.trim_end_matches('\''));
        (method, url, body)
    }

    fn names(call: &str, path: &str) -> bool {
        let (call, path): (Vec<_>, Vec<_>) = (call.split('/').collect(), path.split('/').collect());
        call.len() == path.len() && call.iter().zip(path).all(|(call, part)| call.starts_with('{') || *call == part)
    }

    #[tokio::test]
    async fn every_example_of_the_documentation_works_and_none_is_missing() {
        let page = include_str!("../../../docs/simulated-lms.md");
        let contexts = vec![("course-1".to_owned(), vec!["1".to_owned()])];
        let platform =
            Platform::new(Options { contexts, ..Options::default() }, HOST.to_owned()).expect("good options");
        let mut shown = Vec::new();
        for line in page.lines().filter(|line| line.starts_with("curl ")) {
            let (method, url, body) = parsed(line);
            let (status, reply) = send(&platform, method, url, body).await;
            assert!((200..300).contains(&status), "{line}: {reply}");
            let path = url.split('?').next().and_then(|path| path.strip_prefix("/_control/")).expect(line);
            shown.push((method, path));
        }
        for (method, call) in CALLS {
            let is_shown = |(shown_method, path): &(&str, &str)| *shown_method == method && names(call, path);
            assert!(shown.iter().any(is_shown), "{method} {call} has no example");
            assert!(page.contains(&format!("| `{method} {call}` |")), "{method} {call} is not in the table");
        }
    }

    #[tokio::test]
    async fn every_kind_of_fault_is_documented_as_it_is_written() {
        let page = include_str!("../../../docs/simulated-lms.md");
        let (_, table) =
            page.split_once("| kind | what it does | how it is written |\n| --- | --- | --- |\n").expect("it");
        let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), faults::WRITTEN.len());
        let platform = platform();
        for (row, (name, written)) in rows.iter().zip(faults::WRITTEN) {
            assert!(row.starts_with(&format!("| `{name}` | ")) && row.ends_with(&format!(" | `{written}` |")), "{row}");
            let body = format!("{{\"routes\": {{\"lti11\": [{written}]}}}}");
            let (status, reply) = send(&platform, "PUT", "/_control/faults", &body).await;
            assert_eq!((status, &reply["changed"]), (200, &json!(["lti11"])), "{row}: {reply}");
        }
    }
}
