//! AGS line items: found, made once, made anew once, and read page by page.

use passback::{
    domain::{job::Job, outcome::FailureReason, retry::RetryPolicy},
    simulator::{Fault, FaultKind, Likeness, Route},
};
use serde_json::json;

use super::{
    campus::{Campus, Plan, each, is_delivered, is_refused, status},
    scripted::{Conduct, Script},
    tap::Sort,
};
use crate::lms_faults::scene::{AMPLE, Scene, Setting, open_transport};

/// How many columns there are for the resource of [`Campus::sought`].
fn quizzes(campus: &Campus) -> usize {
    campus.lms.columns("c").iter().filter(|column| column.resource_id.as_deref() == Some("quiz")).count()
}

/// No platform prevents two columns of one name.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_08_a_class_that_finishes_at_once_gets_one_column() {
    each(Likeness::ALL, |like| async move {
        let campus = Plan::like(like).room(8).flagging().open().await;
        let class: Vec<_> = (1..=8).map(|user| campus.sought(&user.to_string(), 8)).collect();
        for job in campus.deliver_all(&class).await {
            is_delivered(&job, 1, like.word());
        }
        assert_eq!((quizzes(&campus), campus.tap.count(Sort::NewColumn)), (1, 1), "{like}");
        assert_eq!(campus.writes(), 8, "{like}");
    })
    .await;
}

/// The answer to the making was lost: the list is read again, and nothing is made a second time.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_08_a_making_that_may_have_happened_is_looked_for() {
    each(Likeness::ALL, |like| async move {
        for kind in [FaultKind::AcceptThenCut, FaultKind::AcceptThenStatus { code: 504 }] {
            let campus = Campus::flagging(like).await;
            // The second request at this route: after the list.
            let fault = Fault { kind, times: Some(1), every: 2 };
            campus.lms.set_fault(Route::Lineitems, fault).expect("a sensible fault");
            is_delivered(&campus.deliver(&campus.sought("7", 8)).await, 1, like.word());
            assert_eq!((quizzes(&campus), campus.tap.count(Sort::NewColumn)), (1, 1), "{like}");
        }
    })
    .await;
}

/// The column's address is kept before the score goes out: the next try asks for no list.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_08_a_column_is_remembered_before_the_score_is_sent() {
    let asked = async |fails: bool| {
        let campus = Campus::like(Likeness::Moodle).await;
        if fails {
            campus.once(Route::Scores, status(500));
        }
        is_delivered(&campus.deliver(&campus.sought("7", 8)).await, 1 + usize::from(fails), "in the end");
        (campus.tap.count(Sort::Columns), campus.tap.count(Sort::NewColumn))
    };
    assert_eq!(asked(true).await, asked(false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn quirk_09_a_column_that_a_teacher_deleted_is_made_anew_once() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.sought("7", 8)).await, 1, like.word());
        let made = campus.lms.line_items("c").pop().expect("it was made");
        assert!(campus.lms.delete_line_item("c", &made));
        let job = campus.deliver(&campus.sought("8", 8)).await;
        is_delivered(&job, 1, like.word());
        assert!(job.attempts[0].column_remade, "{like}");
        assert_eq!((quizzes(&campus), campus.tap.count(Sort::NewColumn)), (1, 2), "{like}");
    })
    .await;
}

/// 404 for the whole course: nothing is made there.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_09_a_course_that_is_gone_gets_no_column() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        campus.lms.set_fault(Route::Lineitems, Fault::status(404)).expect("a fault");
        is_refused(&campus.deliver(&campus.sought("7", 8)).await, FailureReason::NotFound, "", "check");
        assert_eq!(campus.tap.count(Sort::NewColumn), 0, "{like}");
    })
    .await;
}

/// Moodle takes the type of a container alone; Open edX 406 and Sakai nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_12_columns_are_asked_for_and_made_in_their_own_types() {
    each(Likeness::ALL, |like| async move {
        let campus = Campus::flagging(like).await;
        is_delivered(&campus.deliver(&campus.sought("7", 8)).await, 1, like.word());
        let (listed, made) = (&campus.tap.all(Sort::Columns)[0], &campus.tap.all(Sort::NewColumn)[0]);
        assert_eq!(listed.header("accept"), "application/vnd.ims.lis.v2.lineitemcontainer+json", "{like}");
        assert_eq!(made.header("content-type"), "application/vnd.ims.lis.v2.lineitem+json", "{like}");
        assert_eq!(
            made.json()["scoreMaximum"],
            json!(10),
            "{like}: a whole number, as Open edX and Blackboard want it"
        );
    })
    .await;
}

/// Canvas says 404, Moodle 403, Open edX and Sakai 400; each is told, and nothing is made.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_19_a_resource_link_of_another_course_is_refused_and_told() {
    let cases = [
        (Likeness::Canvas, FailureReason::NotFound, "resourceLinkId", "replay or discard"),
        (Likeness::Moodle, FailureReason::Unauthorized, "resourceLinkId", "of another course"),
        (Likeness::OpenEdx, FailureReason::Rejected, "resourceLinkId", "read its words"),
        (Likeness::Sakai, FailureReason::Rejected, "resourceLinkId", "read its words"),
    ];
    each(cases, |(like, reason, words, advice)| async move {
        let campus = Campus::flagging(like).await;
        campus.lms.disown_resource_link("foreign");
        let mut event = campus.sought("7", 8);
        event["lis_data"]["resource_link_id"] = json!("foreign");
        is_refused(&campus.deliver(&event).await, reason, words, advice);
        assert_eq!((quizzes(&campus), campus.writes()), (0, 0), "{like}");
    })
    .await;
}

async fn search(conducts: &[Conduct]) -> (Job, Script) {
    let script = Script::for_scores(conducts);
    let server = script.server().await;
    let base = format!("http://{}", server.address);
    let setting = Setting::with_tokens_from(&format!("{base}/token"), AMPLE).flagging();
    let scene = Scene::set(open_transport(), Setting { retry: no_retry(setting.retry), ..setting });
    let event = json!({ "session_id": "s", "score": 8, "max_score": 10, "lis_data": {
        "lti_version": "1.3", "client_id": "tool-1", "user_id": "7",
        "lineitems": format!("{base}/lineitems"), "resource_id": "quiz",
    }});
    (scene.ended(scene.submit(&event).await).await, script)
}

fn no_retry(retry: RetryPolicy) -> RetryPolicy {
    RetryPolicy { max_retries: 0, ..retry }
}

const ELSEWHERE: &[u8] =
    b"HTTP/1.1 200 OK\r\nLink: <http://127.0.0.2:1/lineitems?page=2>; rel=\"next\"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";

const ENDLESS: &[u8] =
    b"HTTP/1.1 200 OK\r\nLink: </lineitems?page=2>; rel=\"next\"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]";

/// A page of a list that goes on by such a link.
fn page(link: &str) -> Conduct {
    let head = format!("HTTP/1.1 200 OK\r\nLink: {link}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]");
    Conduct::Bytes(head.leak().as_bytes())
}

/// Moodle's links have curly quotes and `&amp;` in them, Canvas's are plain: both lead to the last page.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_22_next_links_are_followed_however_they_are_written() {
    let writings = [
        "</lineitems?from=1&amp;limit=1>; rel=\u{201c}next\u{201d}",
        "</lineitems?from=1&limit=1>; rel=\"next\", </lineitems>; rel=\"first\"",
    ];
    for link in writings {
        let found = Conduct::Says(200, r#"[{"id":"/lineitems/7","resourceId":"quiz"}]"#);
        let (job, script) = search(&[page(link), found, Conduct::Says(200, "")]).await;
        is_delivered(&job, 1, link);
        let asked = script.seen();
        let wanted = ["/token", "/lineitems?resource_id=quiz", "/lineitems?from=1&limit=1", "/lineitems/7/scores"];
        assert_eq!(asked, wanted, "{link}");
    }
}

/// A token is for one platform; a list that never ends is left; an address may be relative.
#[tokio::test(flavor = "multi_thread")]
async fn quirk_22_next_links_stay_at_home_and_come_to_an_end() {
    let (job, script) = search(&[Conduct::Bytes(ELSEWHERE)]).await;
    is_refused(&job, FailureReason::BadResponse, "goes on at another address", "check");
    assert_eq!(script.seen().len(), 2, "the token and one page");

    let (job, script) = search(&vec![Conduct::Bytes(ENDLESS); 50]).await;
    is_refused(&job, FailureReason::BadResponse, "more than 20 pages", "check");
    assert_eq!(script.seen().iter().filter(|path| path.as_str() == "/lineitems?page=2").count(), 19);
}
