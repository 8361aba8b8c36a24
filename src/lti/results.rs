//! AGS 2.0, result service: the grade of one user in one column, read and not written.
//!
//! Not every platform filters by `user_id`, so the list is gone through, page by page, until the user is there. A
//! result without a score, and a list without the user, both say that nothing was graded.

use serde_json::Value;

use super::{
    access_token::AccessToken,
    ags,
    classify::{Ask, classify},
    json,
    pages::{self, Pages, own_words},
    wire::{Answer, Method, Request},
    words::Hidden,
};
use crate::domain::{
    destination::ServiceUrl,
    outcome::Verdict,
    time::Timestamp,
    verification::{Grade, Reading},
};

const RESULTS_TYPE: &str = "application/vnd.ims.lis.v2.resultcontainer+json";

/// Where a search stands after a reply.
pub(super) enum Progress {
    /// There is more to ask.
    Goes,
    /// This is there.
    Found(Reading),
    /// It ends here.
    Ends(Verdict),
}

/// The search for a user's result.
pub(super) struct ResultSearch {
    user_id: String,
    page: ServiceUrl,
    pages: Pages,
}

impl ResultSearch {
    /// A search in a column.
    pub(super) fn new(column: &ServiceUrl, user_id: &str) -> Self {
        let page = pages::filtered(&ags::below(column, "results"), [("user_id", user_id)]);
        Self { user_id: user_id.to_owned(), page, pages: Pages::default() }
    }

    /// What to send now.
    pub(super) fn request(&self, token: &AccessToken) -> Request {
        Request {
            method: Method::Get,
            url: self.page.clone(),
            headers: vec![("accept", RESULTS_TYPE.to_owned()), ("authorization", token.authorization())],
            body: Vec::new(),
        }
    }

    /// Takes in what came back. After an end the same request can be sent again, with another token.
    pub(super) fn handle_reply(&mut self, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Progress {
        let listed = answer.as_ref().ok().and_then(|reply| Some((reply, pages::entries(reply)?)));
        let Some((reply, listed)) = listed else {
            return Progress::Ends(classify(Ask::Results, answer, now, hidden));
        };
        let is_ours = |result: &&Value| json::member(result, "userId").is_some_and(|user| user == self.user_id);
        if let Some(result) = listed.iter().find(is_ours) {
            return match read(result) {
                Some(reading) => Progress::Found(reading),
                None => Progress::Ends(own_words(reply, "the result there has no number as its score and maximum")),
            };
        }
        match self.pages.after(&self.page, reply) {
            Ok(None) => Progress::Found(Reading::Empty),
            Ok(Some(next)) => {
                self.page = next;
                Progress::Goes
            }
            Err(why) => Progress::Ends(own_words(reply, why)),
        }
    }
}

/// A result (AGS 2.0, section 3.3): a maximum that is not given is 1.
fn read(result: &Value) -> Option<Reading> {
    let number = |name: &str| match result.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(_) => json::member(result, name)?.trim().parse::<f64>().ok().map(Some),
    };
    let maximum = number("resultMaximum")?.unwrap_or(1.0);
    match number("resultScore")? {
        None => Some(Reading::Empty),
        Some(score) => Grade::new(score, maximum).map(Reading::Grade),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::outcome::{FailureReason, Finding},
        lti::wire::Reply,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn url(text: &str) -> ServiceUrl {
        ServiceUrl::parse(text).expect("a URL")
    }

    fn token() -> AccessToken {
        let reply = Reply { status: 200, headers: Vec::new(), body: br#"{"access_token":"t"}"#.to_vec() };
        super::super::access_token::read(&Ok(reply), NOW).expect("a token")
    }

    fn page(status: u16, link: &str, body: &str) -> Reply {
        let headers = if link.is_empty() { Vec::new() } else { vec![("link".to_owned(), link.to_owned())] };
        Reply { status, headers, body: body.as_bytes().to_vec() }
    }

    /// Plays a search: each line is what must be asked, and what is answered; then how it must end.
    fn check(talk: &[(&str, Reply)], want: &Result<Reading, FailureReason>) {
        let mut search = ResultSearch::new(&url("https://l/1/lineitem?type_id=2"), "u 1");
        for (number, (asked, reply)) in talk.iter().enumerate() {
            let request = search.request(&token());
            assert_eq!((request.method, request.url.as_url().as_str()), (Method::Get, *asked), "request {number}");
            assert_eq!(request.headers[0], ("accept", RESULTS_TYPE.to_owned()));
            let got = match search.handle_reply(&Ok(reply.clone()), NOW, &Hidden::default()) {
                Progress::Goes => {
                    assert!(number + 1 < talk.len(), "it should have ended: {want:?}");
                    continue;
                }
                Progress::Found(reading) => Ok(reading),
                Progress::Ends(verdict) => match verdict.finding {
                    Finding::Failed(reason) => Err(reason),
                    other => panic!("{other:?}"),
                },
            };
            assert_eq!((number + 1, &got), (talk.len(), want));
        }
    }

    const FIRST: &str = "https://l/1/lineitem/results?type_id=2&user_id=u%201";

    #[test]
    fn a_result_is_read_however_it_is_written() {
        let check = |body: &str, want: Result<Reading, FailureReason>| {
            check(&[(FIRST, page(200, "", body))], &want);
        };
        let grade = |score, maximum| Ok(Reading::Grade(Grade::new(score, maximum).expect("a grade")));
        check(r#"[{"userId":"u 1","resultScore":8.5,"resultMaximum":10,"comment":"x"}]"#, grade(8.5, 10.0));
        check(r#"[{"userId":"u 1","resultScore":"0.5"}]"#, grade(0.5, 1.0));
        check(r#"[{"userId":"u 1","resultScore":0,"resultMaximum":100}]"#, grade(0.0, 100.0));
        check(r#"[{"userId":"u 2","resultScore":1},{"userId":"u 1","resultScore":0.25}]"#, grade(0.25, 1.0));
        check(r#"[{"userId":"u 1","resultMaximum":10}]"#, Ok(Reading::Empty));
        check(r#"[{"userId":"u 1","resultScore":null,"resultMaximum":null}]"#, Ok(Reading::Empty));
        check(r#"[{"userId":"u 2","resultScore":1}]"#, Ok(Reading::Empty));
        check("[]", Ok(Reading::Empty));
        check(r#"[{"userId":"u 1","resultScore":"A+"}]"#, Err(FailureReason::BadResponse));
        check(r#"[{"userId":"u 1","resultScore":1,"resultMaximum":0}]"#, Err(FailureReason::BadResponse));
        check(r#"[{"userId":"u 1","resultScore":[1]}]"#, Err(FailureReason::BadResponse));
        check("{}", Err(FailureReason::BadResponse));
        check("<html>", Err(FailureReason::BadResponse));
        check("", Err(FailureReason::BadResponse));
    }

    #[test]
    fn a_refusal_is_told_apart_from_an_empty_cell() {
        let check = |status, want| check(&[(FIRST, page(status, "", "[]"))], &Err(want));
        check(401, FailureReason::Unauthorized);
        check(404, FailureReason::NotFound);
        check(400, FailureReason::Rejected);
        check(500, FailureReason::ServerError);
    }

    #[test]
    fn the_list_is_gone_through_to_its_end() {
        let others = r#"[{"userId":"u 2","resultScore":1}]"#;
        let ours = r#"[{"userId":"u 1","resultScore":1}]"#;
        let next = "<https://l/1/lineitem/results?from=10&amp;limit=10>; rel=\u{201c}next\u{201d}";
        let second = "https://l/1/lineitem/results?from=10&limit=10";
        let one = Grade::new(1.0, 1.0).expect("a grade");
        check(&[(FIRST, page(200, next, others)), (second, page(200, "", ours))], &Ok(Reading::Grade(one)));
        check(&[(FIRST, page(200, next, others)), (second, page(200, "", "[]"))], &Ok(Reading::Empty));
        let away = "<https://evil.example/results>; rel=next";
        check(&[(FIRST, page(200, away, others))], &Err(FailureReason::BadResponse));
        let mut talk = vec![(FIRST, page(200, "<?p=2>; rel=next", others))];
        talk.resize(20, ("https://l/1/lineitem/results?p=2", page(200, "<?p=2>; rel=next", others)));
        check(&talk, &Err(FailureReason::BadResponse));
    }
}
