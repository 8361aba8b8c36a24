//! The rules of the house, as a test: which layer may know which, a head on every file, and prose that agrees with the
//! code. It reads the sources as text, so it also sees what only a test or a comment would break.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use passback::{domain::outcome::FailureReason, surfaces::metrics::NAMES};

/// A part of the house: the folder or file, the parts of ours it may name, and the outside crates it must not.
struct Room {
    path: &'static str,
    may_name: &'static [&'static str],
    must_not_use: &'static [&'static str],
}

const IO_CRATES: &[&str] = &[
    "tokio",
    "tokio_util",
    "reqwest",
    "sled",
    "axum",
    "hyper",
    "hyper_util",
    "lapin",
    "tracing",
    "tracing_subscriber",
    "prometheus",
    "clap",
    "rand",
    "tempfile",
    "indicatif",
    "comfy_table",
    "anyhow",
];

/// The first room whose path fits holds a file, so the special ones come first.
const ROOMS: &[Room] = &[
    Room { path: "src/domain/", may_name: &["domain"], must_not_use: IO_CRATES },
    Room { path: "src/lti/", may_name: &["domain", "lti"], must_not_use: IO_CRATES },
    Room { path: "src/ports.rs", may_name: &["domain", "lti"], must_not_use: IO_CRATES },
    Room {
        path: "src/problem.rs",
        may_name: &[],
        must_not_use: &["tokio", "reqwest", "sled", "lapin", "prometheus", "clap", "anyhow"],
    },
    Room {
        path: "src/adapters/store",
        may_name: &["domain", "ports", "config"],
        must_not_use: &["lapin", "reqwest", "axum", "hyper", "prometheus", "clap", "anyhow", "tracing"],
    },
    Room {
        path: "src/adapters/transport",
        may_name: &["domain", "lti", "ports", "config"],
        must_not_use: &["lapin", "sled", "axum", "prometheus", "clap", "anyhow", "tracing"],
    },
    Room {
        path: "src/adapters/amqp",
        may_name: &["domain", "ports", "config"],
        must_not_use: &["reqwest", "sled", "axum", "prometheus", "clap", "anyhow", "tracing"],
    },
    Room {
        path: "src/adapters/intake",
        may_name: &["domain", "ports", "config", "problem"],
        must_not_use: &["reqwest", "sled", "lapin", "prometheus", "clap", "anyhow", "tracing"],
    },
    Room {
        path: "src/adapters/",
        may_name: &["domain", "lti", "ports", "config"],
        must_not_use: &["lapin", "sled", "reqwest", "axum", "prometheus", "clap", "anyhow", "tracing"],
    },
    Room {
        path: "src/engine/",
        may_name: &["domain", "lti", "ports", "engine"],
        must_not_use: &["lapin", "sled", "reqwest", "axum", "prometheus", "clap", "anyhow", "tracing", "rand"],
    },
    Room {
        path: "src/check/",
        may_name: &["check", "domain", "lti", "ports", "config", "adapters"],
        must_not_use: &["lapin", "sled", "reqwest", "axum", "prometheus", "clap", "anyhow", "tracing", "rand"],
    },
    Room {
        path: "src/surfaces/cli/",
        may_name: &["surfaces", "config", "simulator", "domain", "check"],
        must_not_use: &["lapin", "sled", "prometheus"],
    },
    Room {
        path: "src/surfaces/admin/",
        may_name: &["domain", "engine", "config", "ports", "problem", "surfaces", "check"],
        must_not_use: &["lapin", "sled", "reqwest", "anyhow"],
    },
    Room {
        path: "src/surfaces/",
        may_name: &["domain", "engine", "config", "ports", "problem", "surfaces"],
        must_not_use: &["lapin", "sled", "reqwest", "anyhow"],
    },
    Room { path: "src/config/", may_name: &["domain", "config"], must_not_use: IO_CRATES },
    Room {
        path: "src/simulator/",
        may_name: &["simulator"],
        must_not_use: &["lapin", "sled", "prometheus", "clap", "anyhow", "jsonwebtoken"],
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<(String, String)> {
    let files = rust_files(&root().join("src")).into_iter();
    files
        .map(|path| {
            let name = path.strip_prefix(root()).expect("inside the project").display().to_string();
            let text = fs::read_to_string(&path).expect("readable");
            (name, text)
        })
        .collect()
}

/// The code of a file: no comments, and nothing from the test module on.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    body.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The names that follow `crate::`, in paths and in braces.
fn named_of_ours(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => named.extend(top_level_names(group)),
            None => named.push(identifier(after)),
        }
    }
    named
}

/// The first identifiers of a braced group, at its own depth.
fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 1;
    let mut at_start = true;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => at_start = true,
            character if at_start && !character.is_whitespace() => {
                names.push(identifier(&group[index..]));
                at_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Whether an outside crate is named: `name::` with nothing before it that makes it part of something else.
fn uses(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
    })
}

#[test]
fn no_arrow_points_up() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some(room) = ROOMS.iter().find(|room| name.starts_with(room.path)) else { continue };
        let code = code(&text);
        for named in named_of_ours(&code) {
            if !room.may_name.contains(&named.as_str()) {
                wrong.push(format!("{name} names crate::{named}, which {} must not know", room.path));
            }
        }
        for outside in room.must_not_use.iter().filter(|outside| uses(&code, outside)) {
            wrong.push(format!("{name} uses {outside}, which has no place in {}", room.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_known_files_stand_outside_the_rooms() {
    let outside: Vec<_> = sources()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !ROOMS.iter().any(|room| name.starts_with(room.path)))
        .collect();
    let known = [
        "app/commands",
        "app/imports",
        "app/privacy",
        "app/reload",
        "app/seams",
        "app/store_commands",
        "app",
        "lib",
        "main",
        "shutdown",
    ];
    assert_eq!(outside, known.map(|name| format!("src/{name}.rs")));
}

#[test]
fn every_file_begins_with_its_reason() {
    let tests = rust_files(&root().join("tests"));
    let all = rust_files(&root().join("src")).into_iter().chain(tests);
    let bare: Vec<_> = all.filter(|path| !fs::read_to_string(path).expect("readable").starts_with("//!")).collect();
    assert!(bare.is_empty(), "files without a head: {bare:?}");
}

#[test]
fn nothing_is_left_to_do_in_a_comment() {
    let marks = ["TODO", "FIXME", "XXX", "HACK", "unimplemented!", "todo!"];
    for (name, text) in sources() {
        for mark in marks {
            assert!(!text.contains(mark), "{name} contains {mark}");
        }
    }
}

#[test]
fn the_readme_shows_the_whole_map() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|line| line.trim_end_matches(';'));
    for module in modules {
        assert!(readme.contains(&format!("src/{module}")), "README.md does not mention src/{module}");
    }
}

#[test]
fn every_metric_in_the_prose_exists() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let named: Vec<String> =
        readme.split("`passback_").skip(1).map(|after| format!("passback_{}", identifier(after))).collect();
    for name in &named {
        assert!(NAMES.contains(&name.as_str()), "README.md names {name}, which is no metric");
    }
    for name in NAMES {
        assert!(named.iter().any(|known| known == name), "README.md does not name {name}");
    }
}

/// The table of promises: the last cell of each row names tests, or modules of tests.
#[test]
fn every_failure_reason_is_explained() {
    let page = fs::read_to_string(root().join("docs/failures.md")).expect("the page of failures");
    for reason in FailureReason::ALL {
        let name = reason.name();
        assert!(page.contains(&format!("\n## `{name}`\n")), "{name} has a section");
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).expect("each has a row");
        let is_retried = row.split('|').nth(4).is_some_and(|cell| cell.trim() == "yes");
        assert_eq!(is_retried, !reason.is_known_before_sending(), "{row}");
    }
}

#[test]
fn every_promise_names_its_test() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, promises) = readme.split_once("| promise | test |").expect("the table of promises");
    let rows: Vec<&str> = promises.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 20, "{} promises", rows.len());
    let is_there = all_tests();
    for row in rows {
        let (_, named) = row.trim_end_matches(" |").rsplit_once(" | ").expect("two cells");
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        if !named.starts_with("the module") {
            let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
            assert!(missing.is_empty(), "{missing:?} is no test: {row}");
        }
    }
}

/// Whether there is a test of a name, anywhere: a function that the test harness runs, and no other one.
fn all_tests() -> impl Fn(&str) -> bool {
    let files = rust_files(&root().join("tests")).into_iter().chain(rust_files(&root().join("src")));
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).expect("readable")).collect();
    let names: BTreeSet<String> = texts.iter().flat_map(|text| tests_in(text)).collect();
    move |name| names.contains(name)
}

/// The functions right below a `#[test]` or `#[tokio::test…]`, with nothing but attributes and comments between.
pub(crate) fn tests_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_marked = false;
    for line in text.lines().map(str::trim) {
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        is_marked = match function {
            Some(name) => {
                names.extend(is_marked.then(|| identifier(name)));
                false
            }
            None if line == "#[test]" || line == "#[tokio::test]" || line.starts_with("#[tokio::test(") => true,
            None => is_marked && (line.starts_with("#[") || line.starts_with("//")),
        };
    }
    names
}

#[test]
fn only_what_the_harness_runs_is_a_test() {
    let text = "
        #[test]
        #[cfg(unix)]
        // A word between.
        fn plain() {}
        #[tokio::test(start_paused = true)]
        async fn waiting() {}
        fn helper() {}
        // #[test]
        fn switched_off() {}
        #[test]
        struct Torn;
        fn after_it() {}
        proptest! {
            #[test]
            fn of_many_cases(case in 0..9) {}
        }
    ";
    assert_eq!(tests_in(text), ["plain", "waiting", "of_many_cases"]);
}

/// `docs/security.md`: every line of protection is numbered and names a test that is there; so is everything that is left.
#[test]
fn every_line_of_the_threat_model_has_its_test() {
    let model = fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    let is_there = all_tests();
    let mut number = 0;
    for line in model.lines().filter(|line| line.starts_with("| S")) {
        number += 1;
        assert!(line.starts_with(&format!("| S{number} | ")), "S{number} is missing before: {line}");
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let [_, threat, protection, named] = cells[..] else { panic!("S{number} has {} cells", cells.len()) };
        assert!(!threat.is_empty() && !protection.is_empty(), "S{number}");
        let names: Vec<&str> = named.split(", ").map(|name| name.trim_matches('`')).collect();
        let missing: Vec<_> = names.iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "S{number} names {missing:?}, which is no test");
    }
    assert!(number >= 50, "{number}");
    let left = model.lines().filter_map(|line| line.strip_prefix("* **R")?.split(' ').next());
    for (index, given) in left.enumerate() {
        assert_eq!(given, (index + 1).to_string(), "the risks that are left are numbered");
    }
}
