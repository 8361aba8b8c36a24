//! Events drained: the worker, and beside it what the two halves of its work cost alone.

use tokio::time::Instant;

use super::{
    broker::Broker,
    events::publish,
    programs::{Bare, Cpu, Program, Worker, start_lms},
};

/// Lines of `[amqp]` with which the end of each job is published.
pub(super) const OUTCOMES: &str = "outcomes_exchange = \"drain.outcomes\"\n";

const QUEUE: &str = "drain";
const BARE_QUEUE: &str = "drain.bare";

/// One line of the table.
struct Line<'a> {
    who: &'a str,
    seconds: f64,
    cpu: Cpu,
    peak_mib: f64,
}

/// Drains so many events, and prints the table. `more` is added to `[amqp]`; with [`OUTCOMES`] the work ends when all ends
/// are published.
pub(super) async fn run(events: usize, platforms: usize, more: &str) {
    let platforms = platforms.clamp(1, 200);
    let broker = Broker::start();
    let (lms, outcomes) = start_lms();
    publish(&broker.url(), QUEUE, events, &outcomes, platforms).await;
    publish(&broker.url(), BARE_QUEUE, events, &outcomes, platforms).await;

    let of_platforms = if platforms == 1 { "1 platform".to_owned() } else { format!("{platforms} platforms") };
    let with = if more.is_empty() { "" } else { ", each end published" };
    println!("\n{events} events for {of_platforms}{with}");
    println!("  {:<28} {:>9} {:>11} {:>7} {:>7} {:>9}", "", "jobs/s", "us CPU/job", "user", "system", "MiB peak");
    let count = as_float(events);
    let lms_before = lms.cpu();
    let (worker, per_sync) = drain(&broker, events, more).await;
    let lms_cpu = lms.cpu().since(lms_before);
    worker.print(count);
    let consumer = consume(&broker, events);
    consumer.print(count);
    let client = post(&outcomes, events, platforms);
    client.print(count);
    Line { who: "the simulated LMS", seconds: worker.seconds, cpu: lms_cpu, peak_mib: lms.peak_mib() }.print(count);
    let bare = consumer.cpu.seconds() + client.cpu.seconds();
    println!(
        "  the worker takes {:.2} times the CPU of both bare programs; {per_sync:.1} events, {:.1} changes a sync",
        worker.cpu.seconds() / bare,
        3.0 * per_sync
    );
}

/// The worker's line, and events per sync.
async fn drain(broker: &Broker, events: usize, more: &str) -> (Line<'static>, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let amqp = format!("[amqp]\nurl = \"{}\"\nqueues = [\"{QUEUE}\"]\n{more}", broker.url());
    let begin = Instant::now();
    let worker = Worker::start(folder.path(), &amqp);
    worker.wait_until("delivered", events).await;
    if more == OUTCOMES {
        worker.wait_for("passback_outcomes_published_total", as_float(events)).await;
    }
    let line = Line {
        who: "passback",
        seconds: begin.elapsed().as_secs_f64(),
        cpu: worker.program.cpu(),
        peak_mib: worker.program.peak_mib(),
    };
    let syncs = worker.metric("passback_store_write_duration_seconds_count").await;
    (line, as_float(events) / syncs.max(1.0))
}

fn consume(broker: &Broker, events: usize) -> Line<'static> {
    let consumer = Bare::start(&["consume", &broker.url(), BARE_QUEUE, &events.to_string()]);
    measured("a consumer that only acks", consumer)
}

fn post(outcomes: &str, events: usize, platforms: usize) -> Line<'static> {
    let client = Bare::start(&["post", outcomes, &events.to_string(), &platforms.to_string()]);
    measured("a client that only posts", client)
}

fn measured(who: &'static str, mut bare: Bare) -> Line<'static> {
    let before = bare.program.cpu();
    let seconds = bare.work();
    let Bare { program, .. } = &bare;
    Line { who, seconds, cpu: Program::cpu(program).since(before), peak_mib: program.peak_mib() }
}

impl Line<'_> {
    fn print(&self, count: f64) {
        let micros = |seconds: f64| seconds * 1e6 / count;
        println!(
            "  {:<28} {:>9.0} {:>11.1} {:>7.1} {:>7.1} {:>9.1}",
            self.who,
            count / self.seconds,
            micros(self.cpu.seconds()),
            micros(self.cpu.user),
            micros(self.cpu.system),
            self.peak_mib
        );
    }
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
