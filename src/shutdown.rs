//! Starting and stopping: signals, the drain token, and the tasks that must all have ended before the program does.
//!
//! The first SIGTERM or SIGINT asks everybody to finish what they hold; a second one, or a task that ends by itself,
//! does not wait any longer than it must. A task that fails turns the exit code into a failure.

use std::{future::Future, io};

use anyhow::{Context as _, anyhow};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// The tasks of a service, and the token that asks them to end.
#[derive(Default)]
pub struct Tasks {
    drain: CancellationToken,
    close: CancellationToken,
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    last: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Tasks {
    /// The token that is cancelled when the service is to stop.
    pub fn drain(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// The token that is cancelled when all else has stopped.
    pub fn close(&self) -> CancellationToken {
        self.close.clone()
    }

    /// Starts a task that goes on while the others stop; it must end soon after the close token is cancelled.
    pub fn start_last(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.last.spawn(async move { (name, task.await) });
    }

    /// Starts a task; it must end soon after the drain token is cancelled.
    pub fn start(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.running.spawn(async move { (name, task.await) });
    }

    /// Waits until a task ends, which none should do by itself.
    pub async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.running.join_next() => Some(ended),
            Some(ended) = self.last.join_next() => Some(ended),
            else => None,
        };
        match ended {
            Some(Ok((name, Ok(())))) => anyhow!("{name} ended by itself"),
            Some(Ok((name, Err(error)))) => error.context(format!("{name} failed")),
            Some(Err(panic)) => anyhow!(panic).context("a task panicked"),
            None => anyhow!("nothing is running"),
        }
    }

    /// Asks every task to end and waits for all of them; the first failure is returned.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.drain.cancel();
        let stopped = join_all(&mut self.running).await;
        self.close.cancel();
        stopped.and(join_all(&mut self.last).await)
    }
}

async fn join_all(tasks: &mut JoinSet<(&'static str, anyhow::Result<()>)>) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = match ended {
            Ok((name, ended)) => ended.with_context(|| format!("{name} failed")),
            Err(panic) => Err(anyhow!(panic).context("a task panicked")),
        };
        result = result.and(ended);
    }
    result
}

/// The signals that a worker listens to.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Finish and end.
    Stop,
    /// Read keys, platforms and tokens anew.
    Reload,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next thing that is asked for.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}
