//! `passback failures list|show|replay|discard`: the jobs that were given up, and what an admin does about them.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    answers::{BulkNumbers, Job, Task},
    client::{Client, ClientError, Payload},
    connect::{ConnectArgs, FindLocal, NoteArgs},
    fault::CliError,
    filter::FilterArgs,
    groups, job_page,
    jobs::{self, ListKind, ListingArgs, ShowArgs},
    names,
    output::{Look, Screen, counted, note, printable},
    replays::{self, Until},
};
use crate::domain::job::JobId;

/// `passback failures …`
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List flagged jobs, newest first
    #[command(after_long_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show one job: who, what, where, its reason with advice, and every attempt
    Show(ShowArgs),
    /// Give flagged jobs a fresh set of attempts
    #[command(after_long_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Give jobs up for good; a discarded job is not sent and cannot be replayed
    #[command(after_long_help = DISCARD_EXAMPLES)]
    Discard(DiscardArgs),
}

/// `passback failures list`
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Count all flagged jobs by platform and reason, with what to do about each, instead of listing them
    #[arg(long, conflicts_with_all = ["FilterArgs", "limit", "cursor"])]
    pub group: bool,
    /// What is listed, and how.
    #[command(flatten)]
    pub listing: ListingArgs,
}

const LIST_EXAMPLES: &str = "Examples:
  passback failures list
  passback failures list --group
  passback failures list --platform moodle --reason unauthorized
  passback failures list --since 3d --limit 200
  passback failures list --json | jq -r '.jobs[].id'";

const REPLAY_USAGE: &str = "passback failures replay [OPTIONS] <ID>...
       passback failures replay [OPTIONS] <FILTER>...
       passback failures replay [OPTIONS] --all";

const REPLAY_EXAMPLES: &str = "Examples:
  passback failures replay 01JD8Y3K5V7Q2W9XZB4N6M8P0R
  passback failures replay --platform moodle --dry-run
  passback failures replay --reason server_error --since 2h
  passback failures replay --all

A job whose gradebook cell has got a newer grade meanwhile is not sent: it becomes superseded.
A job that waits for its next retry can be replayed by its id: it is then tried at once.";

const DISCARD_USAGE: &str = "passback failures discard [OPTIONS] <ID>...
       passback failures discard [OPTIONS] <FILTER>...
       passback failures discard [OPTIONS] --all";

const DISCARD_EXAMPLES: &str = "Examples:
  passback failures discard 01JD8Y3K5V7Q2W9XZB4N6M8P0R --note 'the course is over'
  passback failures discard --activity quiz-7 --dry-run";

/// `passback failures replay`
#[derive(Args, Clone, Debug)]
#[command(override_usage = REPLAY_USAGE)]
pub struct ReplayArgs {
    /// Which, and how.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `passback failures discard`
#[derive(Args, Clone, Debug)]
#[command(override_usage = DISCARD_USAGE)]
pub struct DiscardArgs {
    /// Which, and how.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Which jobs are changed, and how.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "all", "platform", "reason", "since", "until", "user", "activity", "session", "delivery"])))]
pub struct ChangeArgs {
    /// The ids of the jobs
    #[arg(value_name = "ID", conflicts_with_all = ["all", "FilterArgs"])]
    pub ids: Vec<JobId>,
    /// All flagged jobs
    #[arg(long, conflicts_with = "FilterArgs")]
    pub all: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Let the worker do it in the background, step by step, also over a restart. On a terminal its progress is shown
    /// until it ends, and Ctrl-C only stops the watching; elsewhere its id is printed
    #[arg(long, conflicts_with_all = ["ids", "dry_run"])]
    pub background: bool,
    /// Wait for the end of what goes on in the background, off a terminal too, and then until none of its jobs is queued any
    /// more: for three minutes at the most, and no longer than 15 s while none moves. It ends with 1 if some were flagged
    /// again by then
    #[arg(long, requires = "background", conflicts_with = "no_wait")]
    pub wait: bool,
    /// Do not wait for it, on a terminal either
    #[arg(long, requires = "background")]
    pub no_wait: bool,
    /// Why.
    #[command(flatten)]
    pub why: NoteArgs,
    /// Print JSON, as the API answers it; of several ids one answer a line
    #[arg(long)]
    pub json: bool,
    /// Which flagged jobs.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The worker.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Carries the command out.
pub async fn run(command: &Command, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    match command {
        Command::List(ListArgs { group: true, listing }) => groups::run(&listing.ask, local, screen).await,
        Command::List(ListArgs { listing, .. }) => {
            jobs::list(ListKind::Failures, Some("flagged"), listing, local, screen).await
        }
        Command::Show(args) => jobs::show(args, local, screen).await,
        Command::Replay(ReplayArgs { change }) => run_change(Action::Replay, change, local, screen).await,
        Command::Discard(DiscardArgs { change }) => run_change(Action::Discard, change, local, screen).await,
    }
}

async fn run_change(
    action: Action,
    args: &ChangeArgs,
    local: FindLocal<'_>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    if args.ids.is_empty() {
        return change_many(action, args, local, screen).await;
    }
    let action = match action {
        Action::Replay if args.dry_run => Action::TryReplay,
        Action::Discard if args.dry_run => Action::TryDiscard,
        action => action,
    };
    one_by_one(action, args, &args.connect.client(local)?, screen).await
}

async fn change_many(
    action: Action,
    args: &ChangeArgs,
    local: FindLocal<'_>,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let mut request = json!({ "filter": args.filter.object(screen.look.now)?, "dry_run": args.dry_run });
    if args.background {
        request["background"] = true.into();
    }
    if let Some(note) = &args.why.note {
        request["note"] = note.as_str().into();
    }
    let client = args.connect.client(local)?;
    // What goes on in the background would tell only later that there is nothing.
    if args.background {
        must_be_known(args, &client).await?;
    }
    let call = if action == Action::Discard { "discard" } else { "replay" };
    let body = client.post(&["api", "v1", call], Payload::Json(request.to_string())).await?;
    if args.background {
        return begun(args, &body, &client, screen).await;
    }
    let numbers: BulkNumbers = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
    if args.json {
        screen.json(&body)?;
    }
    if numbers.matched == 0 {
        must_be_known(args, &client).await?;
    }
    if args.json { Ok(()) } else { screen.line(&in_words(action, &numbers, args.dry_run)) }
}

/// A platform's name that no platform has is wrong usage: nothing is what it would find for ever.
async fn must_be_known(args: &ChangeArgs, client: &Client) -> Result<(), CliError> {
    let Some(name) = &args.filter.platform else { return Ok(()) };
    names::unknown(name, client).await.map_or(Ok(()), |words| Err(CliError::Usage(words)))
}

/// A change in the background was begun.
async fn begun(args: &ChangeArgs, body: &str, client: &Client, screen: &mut Screen) -> Result<(), CliError> {
    let task: Task = serde_json::from_str(body).map_err(|_| client.strange(body))?;
    let id = printable(&task.id);
    let is_watched = screen.look.width.is_some() && !args.json && !args.no_wait;
    if args.wait || is_watched {
        note(&format!("begun as {id}; it goes on if you stop waiting: passback replays {id} tells how far it is"));
        let until = if args.wait { Until::Settled } else { Until::Ended };
        return replays::until_it_ends(&task.id, args.json, until, client, screen).await;
    }
    if args.json {
        return screen.json(body);
    }
    screen.line(&format!("begun as {id}: passback replays {id} tells how far it is"))
}

fn in_words(action: Action, replayed: &BulkNumbers, dry_run: bool) -> String {
    let matched = counted(replayed.matched, "flagged job matches", "flagged jobs match");
    let discards = action == Action::Discard;
    if replayed.matched == 0 {
        return format!("{matched}: nothing to {}", if discards { "discard" } else { "replay" });
    }
    if discards {
        let end = if dry_run { "would be discarded; nothing was changed" } else { "discarded" };
        return format!("{matched}: {} {end}", counted(replayed.discarded, "job", "jobs"));
    }
    let (queued, becomes) =
        if dry_run { ("would be queued again", "would become superseded") } else { ("queued again", "superseded") };
    let replayed_jobs = counted(replayed.replayed, "job", "jobs");
    let superseded = match replayed.superseded {
        0 => String::new(),
        count => format!(", {} {becomes} (the gradebook cell has a newer grade)", counted(count, "job", "jobs")),
    };
    let end = match replayed.replayed {
        _ if dry_run => "; nothing was changed",
        0 => "",
        _ => "; see `passback stats`",
    };
    format!("{matched}: {replayed_jobs} {queued}{superseded}{end}")
}

/// What is done to a single job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replay,
    TryReplay,
    Discard,
    TryDiscard,
}

/// One job after the other. A job that is refused does not hinder the next; a worker that is away does.
async fn one_by_one(action: Action, args: &ChangeArgs, client: &Client, screen: &mut Screen) -> Result<(), CliError> {
    let ids = &args.ids;
    let mut refused = 0_u64;
    for id in ids {
        match act(action, *id, &args.why, client).await {
            Ok(body) if args.json => screen.json(&body)?,
            Ok(body) => {
                let job: Job = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
                screen.line(&format!("{id}: {}", outcome(action, *id, &job, screen.look)))?;
            }
            Err(error) if error.is_about_this_one_alone() && ids.len() > 1 => {
                note(&format!("{id}: {error}"));
                refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    match refused {
        0 => Ok(()),
        refused => Err(CliError::Failed(format!(
            "{} of {} refused, as said above",
            refused,
            counted(ids.len() as u64, "job was", "jobs were"),
        ))),
    }
}

async fn act(action: Action, id: JobId, why: &NoteArgs, client: &Client) -> Result<String, ClientError> {
    let id = id.to_string();
    match action {
        Action::TryReplay | Action::TryDiscard => client.get(&["api", "v1", "jobs", &id], &[]).await,
        Action::Replay => client.post(&["api", "v1", "jobs", &id, "replay"], why.payload()).await,
        Action::Discard => client.post(&["api", "v1", "jobs", &id, "discard"], why.payload()).await,
    }
}

fn outcome(action: Action, id: JobId, job: &Job, look: Look) -> String {
    let waits = job_page::waiting(job, look).map(|waits| format!("; it waits: {waits}")).unwrap_or_default();
    match (action, job.state.as_str()) {
        (Action::TryReplay, "flagged") => {
            "flagged: would be queued again, unless its gradebook cell has a newer grade".to_owned()
        }
        (Action::TryReplay, "queued") => {
            format!("queued: would be tried at once, unless an attempt is under way{waits}")
        }
        (Action::TryReplay, state) => format!("{}: cannot be replayed", printable(state)),
        (Action::TryDiscard, "flagged") => "flagged: would be discarded".to_owned(),
        (Action::TryDiscard, "queued") => "queued: would be discarded, unless an attempt is under way".to_owned(),
        (Action::TryDiscard, state) => format!("{}: cannot be discarded", printable(state)),
        (Action::Replay, "queued") => format!("queued again{waits}; see `passback jobs show {id}`"),
        (Action::Replay, "superseded") => "superseded: its gradebook cell has a newer grade".to_owned(),
        (_, state) => printable(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_of_many_is_told_in_words() {
        let check = |matched, replayed, superseded, dry_run, text: &str| {
            let numbers = BulkNumbers { matched, replayed, superseded, discarded: 0 };
            assert_eq!(in_words(Action::Replay, &numbers, dry_run), text);
        };
        check(0, 0, 0, false, "0 flagged jobs match: nothing to replay");
        check(1, 1, 0, false, "1 flagged job matches: 1 job queued again; see `passback stats`");
        check(
            1200,
            1198,
            2,
            false,
            "1,200 flagged jobs match: 1,198 jobs queued again, 2 jobs superseded (the gradebook cell has a newer grade); see \
             `passback stats`",
        );
        check(3, 3, 0, true, "3 flagged jobs match: 3 jobs would be queued again; nothing was changed");
        let discarded = BulkNumbers { matched: 2, discarded: 2, ..BulkNumbers::default() };
        let words = |dry_run| in_words(Action::Discard, &discarded, dry_run);
        assert_eq!(words(false), "2 flagged jobs match: 2 jobs discarded");
        assert_eq!(words(true), "2 flagged jobs match: 2 jobs would be discarded; nothing was changed");
    }
}
