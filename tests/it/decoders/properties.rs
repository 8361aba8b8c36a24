//! The checks in moments: on the kept inputs, on those that proptest makes of real ones, and on the largest there can be.

use std::{fs, path::Path, time::Duration};

use passback::domain::event::{Door, EVENT_BYTES_MAX};
use proptest::{prelude::*, sample::Index};

use super::checks;

/// The inputs that are kept for a fuzz target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() >= 4, "the corpus of {target} is kept");
    paths.iter().map(|path| fs::read(path).expect("readable")).collect()
}

fn event(bytes: &[u8]) {
    checks::event(bytes, Door::Event);
}

fn grade_passback(bytes: &[u8]) {
    checks::event(bytes, Door::GradePassback);
}

/// What must hold of a target's input.
type Check = fn(&[u8]);

/// Every target with its check.
const TARGETS: [(&str, Check); 4] = [
    ("event", event),
    ("grade_passback", grade_passback),
    ("lms_replies", checks::lms_replies),
    ("stored_records", checks::stored_records),
];

#[test]
fn every_kept_input_is_borne() {
    for (target, check) in TARGETS {
        for input in corpus(target) {
            check(&input);
        }
    }
}

/// One change to an input.
#[derive(Clone, Debug)]
enum Change {
    Put(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    // What means something to one of the decoders, and anything else.
    let telling = prop::sample::select(
        &[
            "\"",
            "{",
            "}",
            "[",
            "]",
            "<",
            ">",
            "</",
            "<!--",
            "]]>",
            "&",
            "&#x",
            ";",
            "\\u",
            "\n",
            "\n---\n",
            "null",
            "1e999",
            "-",
            "imsx_codeMajor",
            "<textString>",
            "processing",
            "resultScore",
            "link: <",
            "rel=next",
            "eyJ",
            "Bearer ",
            "\u{202e}",
            "\u{feff}",
            "ß",
        ][..],
    );
    let bytes =
        prop_oneof![telling.prop_map(|text| text.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 1..6),];
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        4 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
        1 => (any::<Index>(), 1..200_u8).prop_map(|(at, times)| Change::Repeat(at, times)),
    ]
}

fn apply(mut input: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: &Index| at.index(input.len() + 1);
        match change {
            Change::Put(at, byte) => {
                let at = place(at);
                input.splice(at..(at + 1).min(input.len()), [*byte]);
            }
            Change::Insert(at, bytes) => {
                let at = place(at);
                input.splice(at..at, bytes.iter().copied());
            }
            Change::Cut(from, to) => {
                let (from, to) = (place(from).min(place(to)), place(from).max(place(to)));
                input.drain(from..to);
            }
            Change::Repeat(at, times) => {
                let tail = input.split_off(place(at));
                let piece: Vec<u8> = tail.iter().take(16).copied().collect();
                input.extend(piece.repeat(usize::from(*times)));
                input.extend(tail);
            }
        }
    }
    input
}

/// Real inputs with some changes, and a few that are nothing but chance.
fn inputs(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let changed = (prop::sample::select(corpus(target)), prop::collection::vec(change(), 1..8))
        .prop_map(|(input, changes)| apply(input, &changes));
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn an_event_is_refused_by_name_or_can_be_sent(input in inputs("event")) {
        event(&input);
    }

    #[test]
    fn so_is_a_grade_passback(input in inputs("grade_passback")) {
        grade_passback(&input);
    }

    #[test]
    fn any_reply_of_a_platform_comes_to_a_verdict(input in inputs("lms_replies")) {
        checks::lms_replies(&input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_store_with_damaged_records_opens_or_says_why_not(input in prop_oneof![
        1 => inputs("stored_records"),
        3 => prop::collection::vec(any::<u8>(), 0..120),
    ]) {
        checks::stored_records(&input);
    }
}

/// Each record of a store, one after the other, cut short, gone, and with other bytes at its beginning.
#[test]
fn no_single_damaged_record_is_the_end() {
    for record in 0..checks::sample_size() {
        let [high, low] = u16::try_from(record).expect("some hundred").to_be_bytes();
        let largest = [&[0xff; 9][..], &[1]].concat();
        // Cut short, gone, other bytes, a good form and then the largest number.
        for (what, at, given) in
            [(1, 0, &b""[..]), (1, 200, b""), (2, 0, b""), (0, 0, &[0xff; 6]), (0, 3, &[0xff; 6]), (4, 0, &largest)]
        {
            let change = [high, low, what, at, u8::try_from(given.len()).expect("short")];
            checks::stored_records(&[&change, given].concat());
        }
    }
}

/// The transport hands over a body of 256 KiB at the most, and a door an event of 64 KiB. The worst that can be written in
/// that room takes no longer than its length says: what grew with its square would take minutes here.
#[test]
fn the_largest_inputs_are_read_in_a_moment() {
    const BODY: usize = 256 << 10;
    let pieces = [
        "<",
        ">",
        "</",
        "<a",
        "<!--",
        "<!-- -->",
        "<![CDATA[",
        "<script>",
        "<script></script>",
        "<style",
        "&",
        "&#x41;",
        "<imsx_codeMajor>",
        "</imsx_codeMajor",
        "<imsx_description>",
        "<textString>",
        "<readResultResponse>",
        "{",
        "[[",
        "{\"a\":",
        "\"",
        "\\",
        "eyJ",
        "eyJa.",
        "Bearer ",
        "a",
        "a ",
        "hush-sesame-471",
        "\u{202e}",
        "ß",
        "password=",
        "already exists ",
        "https://a/",
        "user ",
    ];
    let pox = "<imsx_codeMajor>failure</imsx_codeMajor><imsx_description>";
    let shown = "<imsx_codeMajor>success</imsx_codeMajor><textString>";
    let result = r#"[{"userId":"u","resultScore":"#;
    for piece in pieces {
        for (kind, head) in [
            (0_u8, format!("422\n\n{pox}")),
            (0, format!("200\n\n{shown}")),
            (2, format!("200\n\n{result}")),
            (1, "404\n\n".into()),
            (2, "400\n\n".into()),
            (3, "200\n\n".into()),
        ] {
            let body = piece.repeat((BODY - head.len()) / piece.len());
            in_a_moment(piece, || checks::lms_replies(&[&[kind], head.as_bytes(), body.as_bytes()].concat()));
        }
        let links = piece.repeat(30_000 / piece.len());
        in_a_moment(piece, || checks::lms_replies(format!("3200\nlink: {links}\n\n[]").as_bytes()));
        for door in [event, grade_passback] {
            let inside = piece.repeat((EVENT_BYTES_MAX - 40) / piece.len());
            in_a_moment(piece, || door(format!("{{\"session_id\":{inside}").as_bytes()));
        }
    }
    let members: Vec<String> = (0..8_000).map(|n| format!("\"{n}\":0")).collect();
    in_a_moment("many members", || event(format!("{{{}}}", members.join(",")).as_bytes()));
}

/// Far more than anything linear needs, also on a machine that is busy.
fn in_a_moment(what: &str, act: impl FnOnce()) {
    let begin = tokio::time::Instant::now();
    act();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "{what:?}, again and again, took {took:?}");
}
