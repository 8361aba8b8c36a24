//! A trace of the worker's system calls, read: what it wrote, synced and named, and what it said to whom.
//!
//! Where a call was split because another thread called in between, it is put together again. A call that nobody here
//! knows is kept with its words, so that whoever meets it on a file that matters can fail.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::oracle;

/// What strace is asked for, but for its file and the program. The worker is its parent, so that it can be killed like
/// any other; every string is written whole, each byte of it in hexadecimal.
pub(crate) const ARGUMENTS: [&str; 8] = ["-D", "-f", "-q", "-y", "-xx", "-s", "16777216", CALLS];

const CALLS: &str = "--trace=openat,creat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,\
    ftruncate,truncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mmap";

/// A system call at its beginning or its end; every call that has ended stands here twice.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) thread: u32,
    pub(super) end: End,
    pub(super) what: What,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The worker has called.
    Begun,
    /// The call has come back with success.
    Done,
}

/// What a call does.
#[derive(Clone)]
pub(super) enum What {
    Open { path: PathBuf, truncates: bool },
    Write { path: PathBuf, at: u64, bytes: Arc<[u8]> },
    Append { path: PathBuf, bytes: Arc<[u8]> },
    Resize { path: PathBuf, to: u64 },
    Sync { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
    Sent { acknowledged: Vec<u32>, scores: Vec<u32> },
    Unknown { line: String },
    Nothing,
}

/// Reads what strace has written.
pub(super) fn parse(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: BTreeMap<u32, String> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else { continue };
        let mut push = |end, what| calls.push(Call { thread, end, what });
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            push(End::Begun, what(begun));
            unfinished.insert(thread, begun.to_owned());
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let begun = unfinished.remove(&thread).expect("what is resumed was begun");
            let (_, ended) = resumed.split_once(" resumed>").expect("it says so");
            let whole = format!("{begun}{ended}");
            if has_succeeded(&whole) {
                push(End::Done, what(&whole));
            }
        } else if rest.contains('(') {
            push(End::Begun, what(rest));
            if has_succeeded(rest) {
                push(End::Done, what(rest));
            }
        }
    }
    calls
}

fn has_succeeded(call: &str) -> bool {
    call.rsplit_once(" = ").is_some_and(|(_, result)| !result.starts_with('-') && !result.starts_with('?'))
}

/// What a call does. At its beginning, and for a call that opens, it may not be known yet.
fn what(call: &str) -> What {
    let Some((name, rest)) = call.split_once('(') else { return What::Nothing };
    let strings: Vec<Vec<u8>> = quoted(rest, '"', '"');
    let first_path = || quoted(rest, '<', '>').into_iter().next().map(path).unwrap_or_default();
    let number = |index_from_end: usize| -> u64 {
        let inner = rest.rsplit_once(')').map_or(rest, |(inner, _)| inner);
        let field = inner.rsplit(", ").nth(index_from_end).unwrap_or_default();
        field.parse().unwrap_or_else(|_| panic!("no number in {call:.80}"))
    };
    match name {
        "openat" if call.contains("O_CREAT") || call.contains("O_TRUNC") => match call.rsplit_once(" = ") {
            Some((_, result)) => {
                let path = quoted(result, '<', '>').into_iter().next().map(path).unwrap_or_default();
                What::Open { path, truncates: call.contains("O_TRUNC") }
            }
            None => What::Nothing,
        },
        "openat" => What::Nothing,
        "pwrite64" => What::Write { path: first_path(), at: number(0), bytes: strings[0].clone().into() },
        // Room is set aside: the file is so long from now on, and what is new in it is zero.
        "fallocate" if !rest.contains("FALLOC_FL") => {
            What::Write { path: first_path(), at: number(1) + number(0), bytes: Arc::new([]) }
        }
        "ftruncate" => What::Resize { path: first_path(), to: number(0) },
        "fsync" | "fdatasync" => What::Sync { path: first_path() },
        "rename" => What::Rename { from: path(strings[0].clone()), to: path(strings[1].clone()) },
        "unlink" => What::Unlink { path: path(strings[0].clone()) },
        "write" | "writev" | "sendto" | "sendmsg" if is_socket(&first_path()) => sent(&strings.concat()),
        // Nobody here writes so but to a file that is new or was emptied.
        "write" => What::Append { path: first_path(), bytes: strings[0].clone().into() },
        "mmap" if !call.contains("MAP_SHARED") => What::Nothing,
        _ => What::Unknown { line: String::from_utf8_lossy(&unescaped(call)).into_owned() },
    }
}

fn is_socket(path: &Path) -> bool {
    path.to_string_lossy().starts_with("socket:")
}

/// What the worker says to its clients and to the platform.
fn sent(bytes: &[u8]) -> What {
    let text = String::from_utf8_lossy(bytes);
    if text.starts_with("HTTP/1.1 202") {
        return What::Sent { acknowledged: numbers_after(&text, "\"event_id\":\"event-"), scores: Vec::new() };
    }
    if text.starts_with("HTTP/1.1") {
        return What::Nothing;
    }
    let mut scores = numbers_after(&text, "\"scoreGiven\":");
    scores.extend(numbers_after(&text, "\"data\":{\"score\":"));
    let shares = text.split("<textString>").skip(1).filter_map(|rest| rest.split('<').next()?.parse::<f64>().ok());
    scores.extend(shares.map(oracle::number));
    What::Sent { acknowledged: Vec::new(), scores }
}

fn numbers_after(text: &str, mark: &str) -> Vec<u32> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    text.split(mark).skip(1).filter_map(|rest| digits(rest).parse().ok()).collect()
}

/// The strings between these marks. strace was asked to write every byte of a string in hexadecimal, so neither mark
/// stands inside of one.
fn quoted(text: &str, open: char, close: char) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(open) {
        let Some((inner, after)) = after.split_once(close) else { break };
        found.push(unescaped(inner));
        rest = after;
    }
    found
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if let Some([high, low]) = rest.strip_prefix(b"\\x").and_then(|hex| hex.get(..2)) {
            let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(high).expect("hexadecimal") << 4 | digit(low).expect("hexadecimal"));
            rest = &rest[4..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}
