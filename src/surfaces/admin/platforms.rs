//! `GET /api/v1/platforms` and `POST /api/v1/platforms/{name}/pause` and `…/resume`.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    slice,
};

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use crate::{
    domain::{
        audit::{Action, Entry, Word},
        destination::Origin,
        drawer::Note,
        ledger::PlatformRecord,
        notice::PlatformState,
        time::Timestamp,
    },
    engine::{PlatformPicture, manage::NotStored},
    ports::PlatformCount,
    problem::Problem,
    surfaces::token_health::Tokens,
};

use super::{
    Surface, not_stored,
    params::origins_of,
    segment::Segment,
    signed::{Signed, note_of},
};

/// Every platform.
#[derive(Debug, Serialize)]
pub(super) struct Platforms {
    platforms: Vec<PlatformView>,
}

/// A platform's health.
#[derive(Debug, Serialize)]
pub(super) struct PlatformView {
    name: String,
    state: &'static str,
    since: Option<Timestamp>,
    queued: u64,
    flagged: u64,
    last_error: Option<String>,
    next_probe_at: Option<Timestamp>,
    /// Until when nothing is sent there, because it asked for fewer requests.
    rests_until: Option<Timestamp>,
    /// Where it stands, as far as that is known.
    origins: Vec<String>,
    limits: Limits,
    /// None where no token was asked for since the start.
    tokens: Option<Tokens>,
}

/// How many attempts there may be at a time: the worker's pacing. Of several origins of one name, all of them together.
#[derive(Clone, Copy, Debug, Serialize)]
struct Limits {
    /// Under way.
    under_way: usize,
    /// That may be under way now: none where it is paused or rests, fewer than `concurrency` after a hold or a rest.
    concurrency_now: usize,
    /// That may be under way where nothing is known against it: `[delivery] per_platform`.
    concurrency: usize,
}

pub(super) async fn list(State(surface): State<Surface>) -> Result<Json<Platforms>, Problem> {
    Ok(Json(Platforms { platforms: views(&surface).await? }))
}

pub(super) async fn pause(
    State(surface): State<Surface>,
    Segment(name): Segment,
    Signed(word): Signed,
) -> Result<Json<PlatformView>, Problem> {
    let (mut note, mut origins) = note_and_origins(&surface, &name, &word, Action::Pause)?;
    if origins.is_empty() {
        surface.engine.pause_name(&name, note.take()).await.map_err(|error| not_stored(&error))?;
        // It may have been met in this very moment.
        origins = origins_of(&surface, &name)?;
    }
    for origin in origins {
        done(&surface.engine.pause(&origin, note.take()).await)?;
    }
    view_of(&surface, &name).await
}

pub(super) async fn resume(
    State(surface): State<Surface>,
    Segment(name): Segment,
    Signed(word): Signed,
) -> Result<Json<PlatformView>, Problem> {
    let (mut note, origins) = note_and_origins(&surface, &name, &word, Action::Resume)?;
    let paused = surface.engine.paused_names().map_err(|_| Problem::store_unavailable())?;
    if origins.is_empty() || paused.contains_key(&*name) {
        surface.engine.resume_name(&name, note.take()).await.map_err(|error| not_stored(&error))?;
    }
    for origin in origins {
        done(&surface.engine.resume(&origin, note.take()).await)?;
    }
    view_of(&surface, &name).await
}

/// What the audit log is to say, noted with the first thing that is done, and the origins of a name. A configured platform
/// that no grade has gone to may have none.
fn note_and_origins(
    surface: &Surface,
    name: &str,
    word: &Word,
    action: Action,
) -> Result<(Option<Note>, Vec<Origin>), Problem> {
    let origins = origins_of(surface, name)?;
    if origins.is_empty() && !surface.labels.names().configured().any(|configured| **configured == *name) {
        return Err(no_such_platform(name));
    }
    let entry = Entry::new(Timestamp::default(), word, action).about_platform(name);
    Ok((Some(note_of(surface, entry)?), origins))
}

/// A change that is not on disk is not done, and nobody should believe that it is.
fn done(changed: &Result<bool, NotStored>) -> Result<(), Problem> {
    match changed {
        Ok(true) => Ok(()),
        Ok(false) => Err(busy()),
        Err(error) => Err(not_stored(error)),
    }
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer: it is busy, or it is stopping")
}

async fn view_of(surface: &Surface, name: &str) -> Result<Json<PlatformView>, Problem> {
    let found = views(surface).await?.into_iter().find(|view| view.name == name);
    found.map(Json).ok_or_else(|| no_such_platform(name))
}

pub(super) fn no_such_platform(name: &str) -> Problem {
    let name: String = name.chars().take(80).collect();
    let detail = format!("there is no platform named {name}: see GET /api/v1/platforms for the names");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// Every platform by name. Origins of one name are one platform; the worst state counts.
pub(super) async fn views(surface: &Surface) -> Result<Vec<PlatformView>, Problem> {
    let picture = surface.engine.look().await.ok_or_else(busy)?;
    let records = surface.engine.platforms().map_err(|_| Problem::store_unavailable())?;
    let counts: BTreeMap<Origin, PlatformCount> = surface.engine.census().by_platform.into_iter().collect();
    let pictures: BTreeMap<&Origin, &PlatformPicture> =
        picture.platforms.iter().map(|known| (&known.origin, known)).collect();
    let mut views: BTreeMap<String, PlatformView> = BTreeMap::new();
    let view = |name: &str, origins: &[Origin], known: Option<&PlatformPicture>, count: PlatformCount| {
        let origins = origins.iter().map(|origin| origin.as_str().to_owned()).collect();
        let view = view(name.to_owned(), known, count, picture.per_platform);
        PlatformView { origins, tokens: surface.tokens.of(name), ..view }
    };
    let known: BTreeSet<Origin> = records.into_iter().map(|PlatformRecord { origin, .. }| origin).collect();
    let paused = picture.platforms.iter().map(|known| known.origin.clone());
    for origin in known.into_iter().chain(paused).collect::<BTreeSet<Origin>>() {
        let name = surface.labels.label(&origin);
        let count = counts.get(&origin).copied().unwrap_or_default();
        let view = view(&name, slice::from_ref(&origin), pictures.get(&origin).copied(), count);
        match views.entry(view.name.clone()) {
            btree_map::Entry::Occupied(mut same) => same.get_mut().join(view),
            btree_map::Entry::Vacant(place) => drop(place.insert(view)),
        }
    }
    let paused_names = surface.engine.paused_names().map_err(|_| Problem::store_unavailable())?;
    for name in surface.labels.names().configured() {
        if !views.contains_key(&**name) {
            let origins = surface.labels.names().origins_of(name, &[]);
            let view = view(name, &origins, None, PlatformCount::default());
            let view = match paused_names.get(&**name) {
                Some(since) => view.paused(*since),
                None => view,
            };
            views.insert(name.to_string(), view);
        }
    }
    Ok(views.into_values().collect())
}

fn view(name: String, known: Option<&PlatformPicture>, count: PlatformCount, per_platform: usize) -> PlatformView {
    let (under_way, concurrency_now) = known.map_or((0, per_platform), |known| (known.under_way, known.concurrency));
    PlatformView {
        name,
        state: known.map_or("open", |known| known.state.name()),
        since: known.and_then(|known| known.since),
        queued: count.queued,
        flagged: count.flagged,
        last_error: known.and_then(|known| known.last_error.clone()),
        next_probe_at: known.and_then(|known| known.next_probe_at),
        rests_until: known.and_then(|known| known.rests_until),
        origins: Vec::new(),
        limits: Limits { under_way, concurrency_now, concurrency: per_platform },
        tokens: None,
    }
}

impl PlatformView {
    /// Paused before it is known where it stands.
    fn paused(self, since: Timestamp) -> Self {
        let limits = Limits { concurrency_now: 0, ..self.limits };
        Self { state: PlatformState::Paused.name(), since: Some(since), limits, ..self }
    }

    fn join(&mut self, other: Self) {
        self.queued += other.queued;
        self.flagged += other.flagged;
        if severity(other.state) > severity(self.state) {
            self.state = other.state;
            self.since = other.since;
        }
        self.last_error = self.last_error.take().or(other.last_error);
        self.next_probe_at = self.next_probe_at.or(other.next_probe_at);
        self.rests_until = self.rests_until.max(other.rests_until);
        self.origins.extend(other.origins);
        self.limits.under_way += other.limits.under_way;
        self.limits.concurrency_now += other.limits.concurrency_now;
        self.limits.concurrency += other.limits.concurrency;
    }
}

/// The worst state of several origins is that of their name: paused, then held, then open.
fn severity(state: &str) -> usize {
    PlatformState::ALL.into_iter().position(|known| known.name() == state).unwrap_or(0)
}
