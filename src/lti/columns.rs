//! AGS 2.0, line item service: the column that a score belongs to is looked for, page by page, and made where there is
//! none.
//!
//! No platform prevents two columns of the same name, so nothing is made before the whole list was read, and never
//! twice in one search: a making that may have happened is followed by one more look. The caller holds the column
//! for itself meanwhile. Another worker does not know of that: so a making that did happen is followed by one more look
//! as well, and where two have made a column, both go on with the one that came first.

use serde_json::Value;

use super::{
    access_token::AccessToken,
    classify::{Ask, classify, may_have_been_done},
    json::{self, Object},
    pages::{self, Pages, own_words},
    wire::{Answer, Method, Reply, Request},
    words::Hidden,
};
use crate::domain::{
    destination::{ServiceUrl, WantedColumn, digest16},
    outcome::{FailureReason, Finding, Verdict},
    score::Points,
    time::Timestamp,
};

const CONTAINER_TYPE: &str = "application/vnd.ims.lis.v2.lineitemcontainer+json";
const COLUMN_TYPE: &str = "application/vnd.ims.lis.v2.lineitem+json";

/// Open edX takes no longer label.
const LABEL_CHARS_MAX: usize = 100;

/// The name under which the URL of a column is remembered: a digest of who looks, where, and for what.
pub(super) fn key(client_id: &str, container: &ServiceUrl, wanted: &WantedColumn) -> [u8; 16] {
    let wanted = [&wanted.resource_link_id, &wanted.resource_id, &wanted.tag];
    let wanted = wanted.map(|name| name.as_deref().unwrap_or_default());
    let parts = [client_id, container.as_url().as_str()].into_iter().chain(wanted);
    digest16(parts.map(str::as_bytes))
}

/// Whether a column that is not there may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Making {
    /// It may.
    Allowed,
    /// The launch granted no scope for it.
    Forbidden,
    /// It was made anew for this job already, and is gone again: somebody does not want it.
    Done,
    /// Nobody wants one: what is looked for is a grade.
    Unwanted,
}

/// The search for a column.
pub(super) struct ColumnSearch {
    container: ServiceUrl,
    wanted: WantedColumn,
    making: Making,
    /// The column as it would be made.
    document: String,
    turn: Turn,
    pages: Pages,
    /// What came of a making that may have happened.
    doubtful: Option<Verdict>,
    /// Whether there was such a making.
    was_doubtful: bool,
    /// The column that this search has made.
    made: Option<ServiceUrl>,
}

enum Turn {
    Look(ServiceUrl),
    Make,
}

/// Where a search stands after a reply.
pub(super) enum Progress {
    /// There is more to ask.
    Goes,
    /// Here it is.
    Found(ServiceUrl),
    /// There was none, and it was made.
    Made(ServiceUrl),
    /// It ends here.
    Ends(Verdict),
}

impl ColumnSearch {
    /// A search in `container`. `maximum` is the score maximum of a column that has to be made.
    pub(super) fn new(container: ServiceUrl, wanted: WantedColumn, making: Making, maximum: Option<&Points>) -> Self {
        let document = new_column(&wanted, maximum);
        let turn = Turn::Look(filtered(&container, &wanted));
        Self {
            container,
            wanted,
            making,
            document,
            turn,
            pages: Pages::default(),
            doubtful: None,
            was_doubtful: false,
            made: None,
        }
    }

    /// What to send now.
    pub(super) fn request(&self, token: &AccessToken) -> Request {
        match &self.turn {
            Turn::Look(url) => page_request(url, token),
            Turn::Make => Request {
                method: Method::Post,
                url: self.container.clone(),
                headers: vec![
                    ("content-type", COLUMN_TYPE.to_owned()),
                    ("accept", COLUMN_TYPE.to_owned()),
                    ("authorization", token.authorization()),
                ],
                body: self.document.as_bytes().to_vec(),
            },
        }
    }

    /// Whether a column was asked for, whatever came of it.
    pub(super) fn has_asked_to_make(&self) -> bool {
        self.made.is_some() || self.was_doubtful
    }

    /// Takes in what came back. After an end the same request can be sent again, with another token.
    pub(super) fn handle_reply(&mut self, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Progress {
        let Turn::Look(page) = &self.turn else {
            return self.handle_made(answer, now, hidden);
        };
        let page = page.clone();
        let listed = answer.as_ref().ok().and_then(|reply| Some((reply, pages::entries(reply)?)));
        let progress = match listed {
            Some((reply, listed)) => self.handle_page(&page, reply, &listed),
            None => Progress::Ends(classify(Ask::Columns, answer, now, hidden)),
        };
        match (progress, &self.made) {
            // Whatever this look says, the column is there.
            (Progress::Ends(_), Some(made)) => Progress::Made(made.clone()),
            (Progress::Found(found), Some(made)) if found == *made => Progress::Made(found),
            (progress, _) => progress,
        }
    }

    fn handle_page(&mut self, page: &ServiceUrl, reply: &Reply, listed: &[Value]) -> Progress {
        let fitting: Vec<&Value> = listed.iter().filter(|column| is_wanted(column, &self.wanted)).collect();
        if !fitting.is_empty() {
            let addresses = fitting.into_iter().filter_map(|column| self.address(column));
            return match eldest(addresses) {
                Some(url) => Progress::Found(url),
                None => Progress::Ends(own_words(reply, "the column's id is no address on the container's platform")),
            };
        }
        match self.pages.after(page, reply) {
            Ok(None) => self.handle_end_of_list(reply),
            Ok(Some(next)) => {
                self.turn = Turn::Look(next);
                Progress::Goes
            }
            Err(why) => Progress::Ends(own_words(reply, why)),
        }
    }

    fn handle_end_of_list(&mut self, reply: &Reply) -> Progress {
        if let Some(url) = self.made.clone() {
            return Progress::Found(url);
        }
        match (self.doubtful.take(), self.making) {
            (Some(verdict), _) => Progress::Ends(verdict),
            (None, Making::Allowed) => {
                self.turn = Turn::Make;
                Progress::Goes
            }
            (None, Making::Forbidden) => {
                Progress::Ends(no_column(reply, "no column fits, and the launch did not grant the scope to make one"))
            }
            (None, Making::Done) => {
                Progress::Ends(no_column(reply, "the column was made anew for this grade once, and is gone again"))
            }
            (None, Making::Unwanted) => Progress::Ends(no_column(reply, "no column of the course fits")),
        }
    }

    fn handle_made(&mut self, answer: &Answer, now: Timestamp, hidden: &Hidden) -> Progress {
        let taken = answer.as_ref().ok().filter(|reply| matches!(reply.status, 200..=299));
        let made = taken.and_then(|reply| json::read(&reply.body, '{')).and_then(|column| self.address(&column));
        if made.is_none() {
            let verdict = classify(Ask::NewColumn, answer, now, hidden);
            if taken.is_none() && !may_have_been_done(answer) {
                return Progress::Ends(verdict);
            }
            self.doubtful = Some(verdict);
            self.was_doubtful = true;
        }
        self.made = made;
        self.pages = Pages::default();
        self.turn = Turn::Look(filtered(&self.container, &self.wanted));
        Progress::Goes
    }

    /// A column's own URL. It must be on the container's platform: our token goes there.
    fn address(&self, column: &Value) -> Option<ServiceUrl> {
        let id = json::member(column, "id")?;
        let url = ServiceUrl::parse(self.container.as_url().join(id.trim()).ok()?.as_str()).ok()?;
        (!id.trim().is_empty() && url.origin() == self.container.origin()).then_some(url)
    }
}

/// The column that was there first: two workers that each made one must end with the same. Where ids differ in their
/// numbers alone, the lowest; else the list is in its order of making.
fn eldest(columns: impl Iterator<Item = ServiceUrl>) -> Option<ServiceUrl> {
    columns.reduce(|first, next| {
        let (known, other) = (numbers(&first), numbers(&next));
        if known.0 == other.0 && other.1 < known.1 { next } else { first }
    })
}

/// The words of an address's path, and the numbers between them. A number is told by its length and its digits, so
/// none is too large.
fn numbers(url: &ServiceUrl) -> (Vec<&str>, Vec<(usize, &str)>) {
    let path = url.as_url().path();
    let words = path.split(|c: char| c.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
    let digits = path.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    (words, digits.map(|digits| digits.trim_start_matches('0')).map(|digits| (digits.len(), digits)).collect())
}

fn no_column(reply: &Reply, words: &str) -> Verdict {
    let verdict = Verdict::without_reply(Finding::Failed(FailureReason::NotFound), words);
    Verdict { http_status: Some(reply.status), ..verdict }
}

/// The request for a page of a container.
pub(super) fn page_request(page: &ServiceUrl, token: &AccessToken) -> Request {
    Request {
        method: Method::Get,
        url: page.clone(),
        // Moodle takes this type alone and no list of types.
        headers: vec![("accept", CONTAINER_TYPE.to_owned()), ("authorization", token.authorization())],
        body: Vec::new(),
    }
}

/// Whether a column has everything that is wanted. Not every platform knows every filter, so the list is not trusted.
fn is_wanted(column: &Value, wanted: &WantedColumn) -> bool {
    let has = |name: &str, want: Option<&String>| {
        want.is_none_or(|want| json::member(column, name).is_some_and(|known| known == want.as_str()))
    };
    has("resourceLinkId", wanted.resource_link_id.as_ref())
        && has("resourceId", wanted.resource_id.as_ref())
        && has("tag", wanted.tag.as_ref())
}

/// The container with what is wanted as filters.
fn filtered(container: &ServiceUrl, wanted: &WantedColumn) -> ServiceUrl {
    let filters =
        [("resource_link_id", &wanted.resource_link_id), ("resource_id", &wanted.resource_id), ("tag", &wanted.tag)];
    pages::filtered(container, filters.into_iter().filter_map(|(name, want)| Some((name, want.as_deref()?))))
}

/// The document of a new column.
fn new_column(wanted: &WantedColumn, maximum: Option<&Points>) -> String {
    let names = [&wanted.label, &wanted.resource_id, &wanted.tag, &wanted.resource_link_id];
    let name = names.into_iter().flatten().next().map_or("", String::as_str);
    let label: String = name.trim().chars().take(LABEL_CHARS_MAX).collect();
    let document = Object::new()
        .raw("scoreMaximum", &maximum.map_or("100".to_owned(), score_maximum))
        .text("label", label.trim_end())
        .maybe("resourceId", wanted.resource_id.as_deref())
        .maybe("tag", wanted.tag.as_deref())
        .maybe("resourceLinkId", wanted.resource_link_id.as_deref());
    match wanted.grades_released {
        Some(released) => document.raw("gradesReleased", &released.to_string()).finish(),
        None => document.finish(),
    }
}

/// A maximum as an integer where it is one, as Open edX and Blackboard want it; else as it came.
fn score_maximum(maximum: &Points) -> String {
    let value = maximum.value();
    if value.fract() == 0.0 && value < 1e15 { format!("{value:.0}") } else { maximum.as_json().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lti::wire::{TransportFailure, TransportFault, Written};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn url(text: &str) -> ServiceUrl {
        ServiceUrl::parse(text).expect("a URL")
    }

    fn wanted() -> WantedColumn {
        WantedColumn {
            resource_link_id: Some("rl+1".to_owned()),
            resource_id: Some("r 1".to_owned()),
            tag: None,
            label: Some("Quiz".to_owned()),
            grades_released: None,
        }
    }

    fn token() -> AccessToken {
        let reply = Reply { status: 200, headers: Vec::new(), body: br#"{"access_token":"t"}"#.to_vec() };
        super::super::access_token::read(&Ok(reply), NOW).expect("a token")
    }

    #[expect(clippy::unnecessary_wraps, reason = "answers come as the transport gives them")]
    fn page(link: &str, body: &str) -> Answer {
        let headers = if link.is_empty() { Vec::new() } else { vec![("link".to_owned(), link.to_owned())] };
        Ok(Reply { status: 200, headers, body: body.as_bytes().to_vec() })
    }

    #[expect(clippy::unnecessary_wraps, reason = "answers come as the transport gives them")]
    fn status(status: u16) -> Answer {
        Ok(Reply { status, ..Reply::default() })
    }

    fn lost() -> Answer {
        let detail = "no answer".to_owned();
        Err(TransportFailure { fault: TransportFault::Timeout, written: Written::Perhaps, status: None, detail })
    }

    /// Plays a search: each line is what must be asked, and what is answered; then how it must end.
    fn check(making: Making, talk: &[(&str, Answer)], want: &Result<&str, FailureReason>) {
        let mut search = ColumnSearch::new(url("https://l/items?x=1"), wanted(), making, None);
        for (number, (asked, answer)) in talk.iter().enumerate() {
            let request = search.request(&token());
            assert_eq!(format!("{:?} {}", request.method, request.url.as_url()), *asked, "request {number}");
            match search.handle_reply(answer, NOW, &Hidden::default()) {
                Progress::Goes => assert!(number + 1 < talk.len(), "it should have ended: {want:?}"),
                Progress::Found(found) | Progress::Made(found) => {
                    assert_eq!((number + 1, Ok(found.as_url().as_str())), (talk.len(), *want));
                }
                Progress::Ends(verdict) => {
                    let got = match verdict.finding {
                        Finding::Failed(reason) => Err(reason),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!((number + 1, got), (talk.len(), *want), "{}", verdict.message);
                    assert!(!verdict.reply_lost, "no score was sent");
                }
            }
        }
    }

    const FIRST: &str = "Get https://l/items?x=1&resource_link_id=rl%2B1&resource_id=r%201";
    const POST: &str = "Post https://l/items?x=1";
    const OURS: &str = r#"[{"id":"https://l/items/7","resourceLinkId":"rl+1","resourceId":"r 1","tag":"other"}]"#;
    const OTHERS: &str =
        r#"[{"id":"https://l/items/1","resourceLinkId":"rl+1"},{"id":"https://l/items/2","resourceId":"r 1"},7]"#;

    #[test]
    fn a_column_is_found_by_all_that_is_wanted() {
        check(Making::Allowed, &[(FIRST, page("", OURS))], &Ok("https://l/items/7"));
        let relative = OURS.replace("https://l/items/7", "items/7?type_id=1");
        check(Making::Allowed, &[(FIRST, page("", &relative))], &Ok("https://l/items/7?type_id=1"));
        let elsewhere = OURS.replace("https://l/", "https://evil.example/");
        check(Making::Allowed, &[(FIRST, page("", &elsewhere))], &Err(FailureReason::BadResponse));
    }

    #[test]
    fn a_list_is_read_to_its_end_before_anything_is_made() {
        let moodle = "<https://l/items?from=10&amp;limit=10>; rel=\u{201c}next\u{201d}";
        let second = "Get https://l/items?from=10&limit=10";
        let made = || page("", r#"{"id":"https://l/items/9","label":"Quiz"}"#);
        let look =
            |again| vec![(FIRST, page(moodle, OTHERS)), (second, page("", "[]")), (POST, made()), (FIRST, again)];
        // One more look shows whether another worker has made one at the same time; the first one serves both.
        check(Making::Allowed, &look(page("", "[]")), &Ok("https://l/items/9"));
        check(Making::Allowed, &look(status(500)), &Ok("https://l/items/9"));
        let ours = OURS.replace("items/7", "items/9");
        check(Making::Allowed, &look(page("", &ours)), &Ok("https://l/items/9"));
        let both = format!("[{},{}]", ours.trim_matches(['[', ']']), OURS.trim_matches(['[', ']']));
        check(Making::Allowed, &look(page("", &both)), &Ok("https://l/items/7"));
        let later = both.replace("items/7", "items/10");
        check(Making::Allowed, &look(page("", &later)), &Ok("https://l/items/9"));
        check(Making::Allowed, &[(FIRST, page(moodle, OTHERS)), (second, page("", OURS))], &Ok("https://l/items/7"));
        check(Making::Forbidden, &[(FIRST, page("", "[]"))], &Err(FailureReason::NotFound));
    }

    #[test]
    fn a_list_that_cannot_be_read_makes_nothing() {
        let check = |answer, reason| check(Making::Allowed, &[(FIRST, answer)], &Err(reason));
        check(status(404), FailureReason::NotFound);
        check(status(401), FailureReason::Unauthorized);
        check(status(500), FailureReason::ServerError);
        check(page("", "{}"), FailureReason::BadResponse);
        check(page("", "<html>"), FailureReason::BadResponse);
        check(page("<https://evil.example/items>; rel=next", "[]"), FailureReason::BadResponse);
        check(page("<http://l/items>; rel=next", "[]"), FailureReason::BadResponse);
        check(lost(), FailureReason::Timeout);
    }

    #[test]
    fn at_most_twenty_pages_are_read() {
        let mut talk = vec![(FIRST, page("<?p=2>; rel=\"next\"", "[]"))];
        talk.resize(20, ("Get https://l/items?p=2", page("<?p=2>; rel=\"next\"", "[]")));
        check(Making::Allowed, &talk, &Err(FailureReason::BadResponse));
    }

    #[test]
    fn a_doubtful_making_is_followed_by_one_look_and_no_other_making() {
        let empty = || (FIRST, page("", "[]"));
        let gateway = || status(504);
        let broken = || Ok(Reply { status: 201, ..Reply::default() });
        check(Making::Allowed, &[empty(), (POST, lost()), (FIRST, page("", OURS))], &Ok("https://l/items/7"));
        check(Making::Allowed, &[empty(), (POST, lost()), empty()], &Err(FailureReason::Timeout));
        check(Making::Allowed, &[empty(), (POST, gateway()), empty()], &Err(FailureReason::ServerError));
        check(Making::Allowed, &[empty(), (POST, broken()), (FIRST, page("", OURS))], &Ok("https://l/items/7"));
        check(Making::Allowed, &[empty(), (POST, broken()), empty()], &Err(FailureReason::BadResponse));
        check(Making::Allowed, &[empty(), (POST, status(500))], &Err(FailureReason::ServerError));
        check(Making::Allowed, &[empty(), (POST, status(403))], &Err(FailureReason::Unauthorized));
    }

    #[test]
    fn a_new_column_has_what_finds_it_again() {
        let points = |json: &str| Points::from_json(serde_json::from_str(json).expect("JSON")).expect("points");
        let check = |wanted: &WantedColumn, maximum: Option<&str>, want: &str| {
            assert_eq!(new_column(wanted, maximum.map(points).as_ref()), want);
        };
        let full = r#""label":"Quiz","resourceId":"r 1","resourceLinkId":"rl+1"}"#;
        check(&wanted(), None, &format!(r#"{{"scoreMaximum":100,{full}"#));
        check(&wanted(), Some("10.0"), &format!(r#"{{"scoreMaximum":10,{full}"#));
        check(&wanted(), Some("1e2"), &format!(r#"{{"scoreMaximum":100,{full}"#));
        check(&wanted(), Some("7.50"), &format!(r#"{{"scoreMaximum":7.50,{full}"#));
        let released = WantedColumn { grades_released: Some(false), ..wanted() };
        check(
            &released,
            None,
            &format!(r#"{{"scoreMaximum":100,{}"#, full.replace('}', r#","gradesReleased":false}"#)),
        );
        let nameless = WantedColumn { tag: Some("t".to_owned()), ..WantedColumn::default() };
        check(&nameless, None, r#"{"scoreMaximum":100,"label":"t","tag":"t"}"#);
        let long = WantedColumn { label: Some("ä".repeat(120)), ..nameless };
        assert!(new_column(&long, None).contains(&format!("\"{}\"", "ä".repeat(100))));
    }

    #[test]
    fn a_key_tells_columns_apart() {
        let container = url("https://l/items");
        let one = key("c", &container, &wanted());
        assert_eq!(one, key("c", &container, &WantedColumn { label: None, ..wanted() }), "its name is no part of it");
        assert_ne!(one, key("d", &container, &wanted()));
        assert_ne!(one, key("c", &url("https://l/items?x"), &wanted()));
        assert_ne!(one, key("c", &container, &WantedColumn { tag: Some("t".to_owned()), ..wanted() }));
    }
}
