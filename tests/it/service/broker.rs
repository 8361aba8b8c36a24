//! A RabbitMQ of the tests' own: on free loopback ports, in a temporary folder, with an Erlang port mapper of its own.
//!
//! A shell stands between the test and the node and waits for the end of its standard input. However the test ends,
//! by return, by panic or by a signal, that pipe closes, and the shell ends the node and the port mapper and removes
//! the folder. So a broker that lives in a static, which nobody drops, is cleaned up as well.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A running node.
pub(crate) struct Broker {
    folder: tempfile::TempDir,
    ports: Ports,
    /// Holds the pipe that keeps the node alive.
    keeper: Child,
}

struct Ports {
    amqp: u16,
    distribution: u16,
    epmd: u16,
}

impl Broker {
    /// The broker that all tests of this binary share. Each uses queues of its own, see [`unique`].
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Broker> = LazyLock::new(Broker::start);
        &SHARED
    }

    /// Starts one for a test that stops it, or does other things that its neighbours would feel.
    pub(crate) fn start() -> Self {
        let scripts = scripts();
        let folder = tempfile::Builder::new().prefix("passback-rabbitmq-").tempdir().expect("a temporary folder");
        let ports = Ports { amqp: free_port(), distribution: free_port(), epmd: free_port() };
        write_settings(folder.path(), &ports);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "keeper"]).arg(scripts.join("rabbitmq-server")).arg(folder.path());
        command.envs(environment(folder.path(), &ports)).stdin(Stdio::piped());
        let output = |name| fs::File::create(folder.path().join(name)).expect("a file in the temporary folder");
        command.stdout(output("stdout")).stderr(output("stderr"));
        // A signal to the group of the tests must not reach the keeper before it has cleaned up.
        let keeper = command.process_group(0).spawn().expect("a shell");
        let mut broker = Self { folder, ports, keeper };
        broker.wait_until_up();
        broker
    }

    /// The URL of its default virtual host.
    pub(crate) fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// The URL of a virtual host, percent-encoded.
    pub(crate) fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.ports.amqp)
    }

    /// Makes a virtual host for one test, and gives back its URL.
    pub(crate) fn own_vhost(&self) -> (String, String) {
        let vhost = unique("vhost");
        self.ctl(&["add_vhost", &vhost]);
        self.ctl(&["set_permissions", "-p", &vhost, "guest", ".*", ".*", ".*"]);
        let url = self.url_of(&vhost);
        (vhost, url)
    }

    /// Runs `rabbitmqctl`, and gives back what it printed. Blocks for a second or two.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(scripts().join("rabbitmqctl"));
        command.envs(environment(self.folder.path(), &self.ports)).stdin(Stdio::null());
        let output = command.arg("--quiet").args(arguments).output().expect("rabbitmqctl");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Stops the broker inside the node; connections are cut, ports closed. Queues and messages are kept.
    pub(crate) fn stop_app(&self) {
        self.ctl(&["stop_app"]);
    }

    /// Starts it again.
    pub(crate) fn start_app(&self) {
        self.ctl(&["start_app"]);
    }

    /// Ends the whole node at once, as a power cut or the kernel would.
    pub(crate) fn halt(&self) {
        fs::write(self.folder.path().join(HALTED), "").expect("the keeper is told");
        self.signal("KILL");
        let down = self.folder.path().join("down");
        while !down.exists() {
            thread::sleep(POLL);
        }
    }

    /// Starts it again, with what it has on disk.
    pub(crate) fn resume(&self) {
        fs::remove_file(self.folder.path().join(HALTED)).expect("it was halted");
        for _ in 0..START_LIMIT.as_millis() / POLL.as_millis() {
            if greets(self.address()) {
                return;
            }
            thread::sleep(POLL);
        }
        panic!("the broker was not up again within {START_LIMIT:?}:\n{}", self.output());
    }

    /// Tells every consumer of a queue that it is one no longer, as the broker does by itself where a queue moves or
    /// goes away. No command does it, so the channel's own writer is asked to.
    pub(crate) fn cancel_consumers(&self, queue: &str) {
        let consumers = self.ctl(&["list_consumers", "queue_name", "channel_pid", "consumer_tag"]);
        let mut cancelled = 0;
        for consumer in consumers.lines() {
            let [name, channel, tag] = consumer.split_whitespace().collect::<Vec<_>>()[..] else { continue };
            if name == queue {
                // #gs2_state.state, #ch.cfg, #conf.writer_pid.
                self.ctl(&[
                    "eval",
                    &format!(
                        "State = sys:get_state(rabbit_misc:string_to_pid(\"{channel}\")), \
                         Writer = element(6, element(2, element(4, State))), \
                         rabbit_writer:send_command(Writer, {{'basic.cancel', <<\"{tag}\">>, true}})."
                    ),
                ]);
                cancelled += 1;
            }
        }
        assert!(cancelled > 0, "{queue} has no consumer to cancel: {consumers}");
    }

    /// Sets how long a delivery may stay unacknowledged on channels that are opened from now on.
    pub(crate) fn set_consumer_timeout(&self, millis: u64) {
        let set = format!(
            "application:set_env(rabbit, channel_tick_interval, 1000), \
             application:set_env(rabbit, consumer_timeout, {millis})."
        );
        self.ctl(&["eval", &set]);
    }

    /// Waits until it has closed a channel for an error, and waits itself for the other side to say that it knows.
    pub(crate) fn wait_until_a_channel_is_closed(&self) {
        // #gs2_state.state, #ch.cfg, #conf.state.
        let any = "lists:any(fun(Channel) -> closing =:= element(2, element(2, element(4, sys:get_state(Channel)))) end, \
                   rabbit_channel:list()).";
        for _ in 0..CLOSE_TRIES {
            if self.ctl(&["eval", any]).contains("true") {
                return;
            }
        }
        panic!("the broker closes no channel");
    }

    /// Closes every connection to a virtual host, as an operator would.
    pub(crate) fn close_connections(&self, vhost: &str) {
        self.ctl(&["close_all_connections", "--vhost", vhost, "test"]);
    }

    /// Halts the node in the middle of what it does: connections stand, but nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let node = fs::read_to_string(self.folder.path().join("pid")).expect("the node has written its process id");
        let status = Command::new("kill").args(["-s", name, node.trim()]).status().expect("kill");
        assert!(status.success(), "kill -s {name} {node}");
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.amqp))
    }

    fn wait_until_up(&mut self) {
        for _ in 0..START_LIMIT.as_millis() / POLL.as_millis() {
            if greets(self.address()) {
                return;
            }
            if let Ok(Some(status)) = self.keeper.try_wait() {
                panic!("the broker ended at its start ({status}):\n{}", self.output());
            }
            thread::sleep(POLL);
        }
        panic!("the broker was not up within {START_LIMIT:?}:\n{}", self.output());
    }

    fn output(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}{}", read("stdout"), read("stderr"))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A name that no other test of this run uses.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Where the package keeps its scripts. The wrappers in sbin change the user, and are of no use here.
fn scripts() -> &'static Path {
    static SCRIPTS: LazyLock<PathBuf> = LazyLock::new(|| {
        let versions = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("sbin")).collect();
        folders.retain(|folder| folder.join("rabbitmq-server").exists());
        folders.sort();
        folders.pop().expect(
            "these tests start a RabbitMQ of their own, and it is not installed: \
             run `apt-get install rabbitmq-server` (its service need not run)",
        )
    });
    &SCRIPTS
}

/// Whether a broker answers the protocol header (AMQP 0-9-1, 4.2.2). It opens its port last of all.
fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, POLL) else {
        return false;
    };
    let mut first = [0];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && stream.read(&mut first).is_ok_and(|read| read == 1 && first[0] == 1)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("an address").port()
}

fn write_settings(folder: &Path, ports: &Ports) {
    let settings = format!(
        "listeners.tcp.1 = 127.0.0.1:{}\nlog.console = false\nlog.file.level = info\ndisk_free_limit.absolute = 50MB\n",
        ports.amqp
    );
    fs::write(folder.join("rabbitmq.conf"), settings).expect("the settings are written");
    fs::write(folder.join("plugins"), "[].\n").expect("the plugins are written");
    fs::write(folder.join("rabbitmq-env.conf"), "").expect("the environment is written");
}

fn environment(folder: &Path, ports: &Ports) -> Vec<(&'static str, String)> {
    let inside = |name: &str| folder.join(name).display().to_string();
    vec![
        ("HOME", folder.display().to_string()),
        ("RABBITMQ_NODENAME", "passback@localhost".to_owned()),
        ("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", inside("rabbitmq-env.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("plugins")),
        ("RABBITMQ_MNESIA_BASE", inside("mnesia")),
        ("RABBITMQ_LOG_BASE", inside("log")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", inside("generated")),
        ("RABBITMQ_PID_FILE", inside("pid")),
        ("RABBITMQ_DIST_PORT", ports.distribution.to_string()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERL_ARGUMENTS.to_owned()),
        // Makes the script replace itself by the node, so that the keeper knows the node's process id.
        ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ("ERL_EPMD_PORT", ports.epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_CRASH_DUMP_BYTES", "0".to_owned()),
    ]
}

/// Runs the node until its own input ends. The data is thrown away, so the node need not end gently. If the node ends
/// by itself, the folder stays for whoever wants to know why; unless it was halted, then it waits to be started again.
const KEEPER: &str = r#"
exec 3<&0
( cat <&3 > /dev/null; : > "$2/stopped"; kill -9 "$(cat "$2/node")" 2> /dev/null ) &
while [ ! -e "$2/stopped" ]; do
    "$1" 3<&- & node=$!
    echo "$node" > "$2/node"
    wait "$node"
    [ -e "$2/halted" ] || break
    : > "$2/down"
    while [ -e "$2/halted" ] && [ ! -e "$2/stopped" ]; do sleep 0.1; done
    rm -f "$2/down"
done
for attempt in 1 2 3 4 5; do
    epmd -port "$ERL_EPMD_PORT" -kill > /dev/null 2>&1 && break
    sleep 0.2
done
[ -e "$2/stopped" ] && rm -rf "$2"
"#;
/// The file that says that the node is down on purpose.
const HALTED: &str = "halted";
/// Schedulers that do not spin, no more of them than needed, and distribution on the loopback address alone.
const ERL_ARGUMENTS: &str = "+sbwt none +S 2:2 -kernel inet_dist_use_interface {127,0,0,1}";
const START_LIMIT: Duration = Duration::from_secs(90);
/// Each takes a second or so.
const CLOSE_TRIES: u32 = 15;
const POLL: Duration = Duration::from_millis(50);
