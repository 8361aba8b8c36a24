//! The simulated LMS behind `passback lms`, `passback demo` and the tests: an LTI 1.1 and 1.3 platform with a
//! gradebook, a strict judge of what is sent to it.
//!
//! It shares no code with the sender (nothing of `lti` or `domain`, no JWT library): it is written from the
//! standards and from what the real platforms do, so that a mistake on one side is not made again on the other.
//! It keeps everything in memory. Handlers are plain functions of a request and a moment; only `server` waits.
//!
//! ```text
//! server ── faults ── platform ─┬─ lti11 ── oauth_check, pox ────────┐
//!                               ├─ token ── assertion_check, jwks    ├── gradebook
//!                               ├─ ags, score ── lineitems ──────────┤
//!                               ├─ delegated ────────────────────────┘
//!                               └─ control
//! ```
//!
//! What a particular platform does differently is data, in `manners`; refusals in AGS get its form in `refusal_form`.

mod ags;
mod assertion_check;
mod clock;
mod control;
mod delegated;
mod faults;
mod gradebook;
mod jwks;
mod ledger;
mod lineitems;
mod lti11;
mod manners;
mod message;
mod oauth_check;
mod options;
mod platform;
mod pox;
mod rate;
mod refusal_form;
mod score;
mod seen;
mod server;
#[cfg(test)]
mod testing;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use faults::{Fault, FaultError, FaultKind, Trouble};
pub use gradebook::{Accepted, Cell, CellState, Grade, Protocol};
pub use ledger::{Refusal, Route, RouteCounts};
pub use lineitems::Column;
pub use manners::{Known, Likeness, Line};
pub use options::{
    Client, Consumer, DescribedConsumer, DescribedContext, Description, Jwks, Options, SCOPE_LINEITEM,
    SCOPE_LINEITEM_READONLY, SCOPE_RESULT_READONLY, SCOPE_SCORE,
};

use manners::Audience;
use platform::Platform;
use server::Stop;

/// How long `stop` lets requests under way go on.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// A running simulated LMS. Dropping it ends it at once, [`stop`](Self::stop) does so gently.
pub struct SimulatedLms {
    address: SocketAddr,
    like: Option<Likeness>,
    platform: Arc<Platform>,
    tasks: TaskTracker,
    stop: Stop,
}

impl SimulatedLms {
    /// Binds the address and begins to serve.
    ///
    /// Fails when the address cannot be bound, and with [`io::ErrorKind::InvalidInput`] when the options make no
    /// sense: an id that cannot stand in an address, or a key set that is none.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let like = options.like;
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let platform = Arc::new(Platform::new(options, format!("http://{address}")).map_err(invalid)?);
        let (tasks, stop) = (TaskTracker::new(), Stop::default());
        tasks.spawn(server::run(listener, Arc::clone(&platform), tasks.clone(), stop.clone()));
        Ok(Self { address, like, platform, tasks, stop })
    }

    /// Takes no more requests, lets those under way end for up to three seconds, then cuts them off.
    pub async fn stop(self) {
        self.stop.drain.cancel();
        self.tasks.close();
        if timeout(DRAIN_MAX, self.tasks.wait()).await.is_err() {
            self.stop.abort.cancel();
            self.tasks.wait().await;
        }
    }

    /// The address that it listens on; starting again with it as `listen` plays an LMS that comes back.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Scheme, host and port, without a slash at the end; also the LTI 1.3 issuer.
    pub fn base_url(&self) -> &str {
        &self.platform.base_url
    }

    /// The `lis_outcome_service_url`. A query may be added.
    pub fn outcomes_url(&self) -> String {
        format!("{}{}", self.base_url(), self.platform.outcomes_path())
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        self.platform.token_url()
    }

    /// The audience of a client assertion.
    pub fn token_audience(&self) -> String {
        match self.platform.manners.token.audience.is {
            Audience::Own(own) => own.to_owned(),
            Audience::TokenUrl | Audience::TokenUrlOrList | Audience::Unchecked => self.token_url(),
        }
    }

    /// The cell of an LTI 1.1 sourcedid at the plain [`outcomes_url`](Self::outcomes_url).
    pub fn lti11_cell(&self, sourced_id: &str) -> Cell {
        let column = self.platform.outcomes_path().to_owned();
        Cell { protocol: Protocol::Lti11, column, user: sourced_id.to_owned() }
    }

    /// The line item container of a context.
    pub fn lineitems_url(&self, context: &str) -> String {
        self.platform.lineitems_url(context)
    }

    /// A line item, whether it exists or not. Its scores are at `/scores`, put in before the query.
    pub fn lineitem_url(&self, context: &str, id: &str) -> String {
        self.platform.lineitem_url(context, id)
    }

    /// The `grade_passback_url`.
    pub fn delegated_url(&self) -> String {
        format!("{}/delegated/passback", self.base_url())
    }

    /// Puts one fault in the place of those that the route has.
    pub fn set_fault(&self, route: Route, fault: Fault) -> Result<(), FaultError> {
        self.set_faults(route, vec![fault])
    }

    /// Puts these faults in the place of those that the route has. Of those that are due the first strikes.
    pub fn set_faults(&self, route: Route, faults: Vec<Fault>) -> Result<(), FaultError> {
        self.platform.faults.set(route, faults)
    }

    /// Takes all faults off all routes. Refused users stay refused.
    pub fn clear_faults(&self) {
        for route in Route::ALL {
            // An empty list has nothing in it that could be refused.
            let _ = self.platform.faults.set(route, Vec::new());
        }
    }

    /// Refuses a user (AGS `userId`, delegated `user_id`) or a sourcedid for good.
    pub fn refuse_user(&self, user: &str) {
        self.refuse(user, Trouble::NotEnrolled);
    }

    /// Refuses a user or a sourcedid for good, for this reason.
    pub fn refuse(&self, user: &str, trouble: Trouble) {
        self.platform.faults.change_refused(|refused| {
            refused.insert(user.to_owned(), trouble);
        });
    }

    /// Takes a resource link for one of another context: no line item may be made for it.
    pub fn disown_resource_link(&self, resource_link: &str) {
        locked(&self.platform.foreign_links).insert(resource_link.to_owned());
    }

    /// Takes a refused user or sourcedid back in.
    pub fn welcome_user(&self, user: &str) {
        self.platform.faults.change_refused(|refused| {
            refused.remove(user);
        });
    }

    /// Forgets all access tokens before their time.
    pub fn revoke_tokens(&self) {
        self.platform.tokens.revoke_all();
    }

    /// Adds or replaces a client while running, for a tool whose address is known only later.
    pub fn add_client(&self, client: Client) -> io::Result<()> {
        let added = self.platform.clients.add(client);
        added.map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    /// Deletes a line item, as a teacher would; whether it was there. It does not come back by being used.
    pub fn delete_line_item(&self, context: &str, id: &str) -> bool {
        self.platform.line_items.remove(context, id)
    }

    /// The line item ids of a context, in order of their making.
    pub fn line_items(&self, context: &str) -> Vec<String> {
        self.platform.line_items.contexts().remove(context).unwrap_or_default()
    }

    /// The line items of a context with what they are for, in order of their making.
    pub fn columns(&self, context: &str) -> Vec<Column> {
        self.platform.line_items.columns(context)
    }

    /// All cells that were ever written, in order of their names.
    pub fn gradebook(&self) -> Vec<(Cell, CellState)> {
        self.platform.gradebook.snapshot(|_| true)
    }

    /// What one cell holds; `None` if it was never written.
    pub fn cell(&self, cell: &Cell) -> Option<CellState> {
        self.platform.gradebook.cell(cell)
    }

    /// The grade in a cell; `None` if it was never written, or cleared.
    pub fn grade(&self, cell: &Cell) -> Option<Grade> {
        self.cell(cell)?.grade
    }

    /// The bodies of delegated POSTs that were accepted, as they came, oldest first; the last hundred thousand.
    pub fn delegated_bodies(&self) -> Vec<String> {
        self.platform.delegated.all()
    }

    /// How the requests of a route ended.
    pub fn requests(&self, route: Route) -> RouteCounts {
        self.platform.ledger.counts(route)
    }

    /// The last refusals with their exact reasons, oldest first.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.platform.ledger.refusals()
    }

    /// All that a sender must be configured with, secrets included.
    pub fn describe(&self) -> Description {
        let consumer = |(key, secret): (&String, &secrecy::SecretString)| DescribedConsumer {
            key: key.clone(),
            secret: secret.expose_secret().to_owned(),
        };
        let mut consumers: Vec<_> = self.platform.consumers.iter().map(consumer).collect();
        consumers.sort_by(|left, right| left.key.cmp(&right.key));
        let context = |(id, items): (String, Vec<String>)| DescribedContext {
            lineitems_url: self.lineitems_url(&id),
            lineitem_urls: items.iter().map(|item| self.lineitem_url(&id, item)).collect(),
            id,
        };
        Description {
            like: self.like,
            base_url: self.base_url().to_owned(),
            outcomes_url: self.outcomes_url(),
            token_url: self.token_url(),
            token_aud: self.token_audience(),
            delegated_url: self.delegated_url(),
            control_url: format!("{}/_control", self.base_url()),
            consumers,
            client_ids: self.platform.clients.ids(),
            contexts: self.platform.line_items.contexts().into_iter().map(context).collect(),
        }
    }
}

impl Drop for SimulatedLms {
    fn drop(&mut self) {
        self.stop.drain.cancel();
        self.stop.abort.cancel();
    }
}

/// Locks for a moment. No code here leaves a value half changed, so a panic elsewhere under the lock is no reason
/// for another.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
