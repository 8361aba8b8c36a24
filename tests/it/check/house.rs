//! What is wrong on our own side: the configuration, the store, the broker, the hosts of keys.

use std::{fs, os::unix::fs::PermissionsExt as _};

use passback::domain::time::Timestamp;
use tokio::process::Command;

use super::scene::Scene;
use crate::{
    service::{
        broker::{Broker, unique},
        worker::{Worker, free_address},
    },
    store_common::{admit, carry_out, lti11_event, open, rules},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_named_with_its_line_and_ends_with_2() {
    let scene = Scene::new("[amqp]\nprefech = 7\n");
    let checked = scene.check(&[]).await;
    checked.names_only(
        "configuration file failed",
        "line 4: unknown key `prefech` in [amqp]; did you mean",
        "correct it",
    );
    assert!(checked.code == Some(2) && checked.stderr.contains("prefech"), "{}", checked.stderr);
    let missing = Scene::new("[[lti_keys]]\nkey = \"k\"\nsecret = { env = \"NO_SUCH_VARIABLE\" }\n").check(&[]).await;
    missing.names_only("configuration file failed", "NO_SUCH_VARIABLE, which is not set", "correct it");
    let short = Scene::new("[[signing_keys]]\nkid = \"k\"\nprivate_key = \"hush-hush\"\n").check(&[]).await;
    short.names_only("configuration file failed", "must be an RSA private key of 2048 bits", "correct it");
    let no_file = Scene::new("");
    fs::remove_file(no_file.folder.path().join("passback.toml")).expect("it was there");
    assert_eq!(no_file.check(&[]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_nothing_or_too_little_is_warned_of() {
    let empty = Scene::new("").check(&[]).await;
    empty.names_only("configuration setting warning", "neither a platform nor a consumer key", "[[platforms]]");
    let no_key = "[[platforms]]\nname = \"campus\"\nclient_id = \"t\"\ntoken_url = \"https://lms.invalid/token\"\n";
    let no_key = Scene::new(no_key).check(&[]).await;
    no_key.names("keys signing keys failed", "there is none", "passback keys generate");
    let ca_file = Scene::new("");
    let path = ca_file.folder.path().join("passback.toml");
    let text = fs::read_to_string(&path).expect("the configuration");
    ca_file.write(&format!(
        "{text}[egress]\nca_file = \"{}\"\n[[lti_keys]]\nkey = \"k\"\nsecret = \" s \"\n",
        path.display()
    ));
    let ca_file = ca_file.check(&[]).await;
    ca_file.names("configuration egress failed", "holds no PEM certificates", "no platform can be called");
    ca_file.names("keys lti keys warning", "the secret of k begins or ends with white space", "take it away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_no_store_can_be_in_is_named() {
    let key = "[[lti_keys]]\nkey = \"k\"\nsecret = \"of-sixteen-and-more\"\n";
    let scene = Scene::new(key);
    let store = scene.folder.path().join("store");
    fs::create_dir(&store).expect("a folder");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o500)).expect("it is ours");
    let mut program = Command::new(env!("CARGO_BIN_EXE_passback"));
    if rustix::process::geteuid().is_root() {
        // Whoever is root may write everywhere, unless that right is taken away.
        program = Command::new("setpriv");
        program.args(["--bounding-set=-dac_override", "--inh-caps=-dac_override", env!("CARGO_BIN_EXE_passback")]);
    }
    let closed = scene.check_by(program, &[]).await;
    closed.names_only("store folder failed", "it cannot be written: Permission denied", "give the folder to the user");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let open = scene.check(&[]).await;
    open.names_only("store owner warning", "mode 0755", "takes that away");
    assert_eq!(fs::read_dir(&store).expect("the folder").count(), 0, "nothing stays behind");
    fs::remove_dir(&store).expect("it is empty");
    fs::write(&store, "no folder").expect("a file");
    scene.check(&[]).await.names_only("store folder failed", "not a directory", "[store] path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_let_us_in_is_named() {
    let broker = Broker::shared();
    let key = "[[lti_keys]]\nkey = \"k\"\nsecret = \"of-sixteen-and-more\"\n";
    let check = async |url: &str| Scene::new(&format!("{key}[amqp]\nurl = \"{url}\"\n")).check(&[]).await;
    let wrong_password = broker.url().replace("guest:guest", "guest:hush-hush");
    check(&wrong_password).await.names_only("broker login failed", "ACCESS_REFUSED", "this user or its password");
    check(&broker.url_of("no-such-vhost")).await.names_only("broker vhost failed", "no-such-vhost", "written %2f");
    let nobody = format!("amqp://guest:guest@{}/%2f", free_address());
    check(&nobody).await.names_only("broker connection failed", "refused", "that RabbitMQ runs");
    let nowhere = "amqp://guest:guest@no-such-host.invalid/%2f";
    check(nowhere).await.names_only("broker name failed", "cannot connect", "the host in [amqp] url");
    let plain = broker.url().replace("amqp://", "amqps://").replace("127.0.0.1", "localhost");
    check(&plain).await.names_only("broker tls failed", "", "a port that speaks TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_are_not_as_they_should_be_are_named_and_none_is_made() {
    let broker = Broker::shared();
    let (vhost, url) = broker.own_vhost();
    let queue = unique("check");
    let amqp = format!(
        "[[lti_keys]]\nkey = \"k\"\nsecret = \"of-sixteen-and-more\"\n[amqp]\nurl = \"{url}\"\nqueues = [\"{queue}\"]\n"
    );
    let new = Scene::new(&amqp).check(&[]).await;
    new.names("broker queue warning", &format!("{queue} is not there yet"), "the worker declares it");
    let own = Scene::new(&format!("{amqp}declare = false\n")).check(&[]).await;
    own.names("broker queue failed", &format!("{queue} is not there"), "declare it, or correct its name");
    let told = Scene::new(&format!("{amqp}outcomes_exchange = \"outcomes\"\n")).check(&[]).await;
    told.names("broker exchange warning", "outcomes is not there yet", "the worker declares it");
    assert_eq!(broker.ctl(&["list_queues", "-p", &vhost, "name"]).trim(), "", "nothing was declared");
    let declare = format!(
        "rabbit_amqqueue:declare(rabbit_misc:r(<<\"{vhost}\">>, queue, <<\"{queue}\">>), true, false, [], none, <<\"guest\">>)."
    );
    broker.ctl(&["eval", &declare]);
    let classic = Scene::new(&amqp).check(&[]).await;
    classic.names("broker queue failed", "not as the worker declares it", "declare = false");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_keys_that_cannot_be_reached_are_named() {
    let key = |hosts: &str| {
        format!(
            "[egress]\nallow_hosts = [\"lms.example.edu\", \"no-such-host.invalid\"]\n[[lti_keys]]\nkey = \"k\"\nsecret = \"of-sixteen-and-more\"\nhosts = [{hosts}]\n"
        )
    };
    let nowhere = Scene::new(&key("\"no-such-host.invalid\"")).check(&[]).await;
    nowhere.names_only("lti key name failed", "no-such-host.invalid could not be resolved", "hosts of [[lti_keys]]");
    let closed = Scene::new(&key("\"elsewhere.invalid\"")).check(&[]).await;
    closed.names("configuration egress warning", "elsewhere.invalid (hosts of [[lti_keys]] k)", "allow_hosts");
    closed.names("lti key egress failed", "not among the [egress] allow_hosts", "hosts of [[lti_keys]]");
    let pattern =
        Scene::new("[[lti_keys]]\nkey = \"k\"\nsecret = \"of-sixteen-and-more\"\nhosts = [\"*.example.edu\"]\n")
            .check(&[])
            .await;
    assert!(pattern.troubles().is_empty(), "{:#}", pattern.document);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named_and_a_worker_there_is_well() {
    let key = "[[lti_keys]]\nkey = \"k\"\nsecret = \"of-sixteen-and-more\"\n";
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = other.accept() {
            drop(std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
        }
    });
    let listen = |address: &str| Scene::new(&format!("{key}[http]\nlisten = \"{address}\"\n"));
    let checked = listen(&taken.to_string()).check(&[]).await;
    checked.names("http listen failed", "another program listens there", "another port");
    let checked = listen("192.0.2.1:8080").check(&[]).await;
    checked.names("http listen failed", "annot assign requested address", "an address of this machine");
    let worker = Worker::started("").await;
    let scene = listen(worker.url("").trim_start_matches("http://"));
    let elsewhere = "its store is another one than this configuration names";
    let checked = scene.check(&[]).await;
    checked.names_only("http listen failed", elsewhere, "name its own with --config");
    assert!(!format!("{:#}", checked.document).contains("stop it"), "{:#}", checked.document);
    let scene = scene.with_store(&worker.store().display().to_string(), &listen_at(&worker, key));
    scene.check(&[]).await.is_well("http", "listen", "a worker listens there");
    listen("127.0.0.1:0").check(&[]).await.is_well("http", "listen", "the worker can");
}

fn listen_at(worker: &Worker, more: &str) -> String {
    format!("{more}[http]\nlisten = \"{}\"\n", worker.url("").trim_start_matches("http://"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_where_no_folder_can_be_is_named() {
    let checked = Scene::new("").with_store("/proc/passback", "").check(&[]).await;
    checked.names("store folder failed", "/proc cannot be written", "make the folder");
}

/// A stopped store is opened as a start would, but on a copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_start_could_not_open_is_named_and_left_as_it_is() {
    let scene = Scene::new("");
    let store = scene.folder.path().join("store");
    let folder = store.clone();
    let filling = tokio::task::spawn_blocking(move || {
        let (store, _) = open(&folder, rules()).expect("a store");
        for student in 0..20 {
            carry_out(&store, admit(&lti11_event(student, 300), student.into()), NOW);
        }
    });
    filling.await.expect("no panic");
    scene.check(&[]).await.is_well("store", "open", "is sound; jobs in it: 20");
    let files = || ["db", "conf", "highwater"].map(|name| fs::read(store.join(name)).expect("a file"));
    let (whole, bytes) = (files(), fs::metadata(store.join("db")).expect("a file").len());
    fs::OpenOptions::new().write(true).open(store.join("db")).and_then(|file| file.set_len(bytes / 2)).expect("a cut");
    let damaged = files();
    let shown = store.display().to_string();
    scene.check(&[]).await.names("store open failed", &shown, "A damaged store");
    assert!(files() == damaged && files() != whole, "it is as it was");
    fs::write(store.join("db"), vec![0x5a; 1 << 20]).expect("a file");
    let checked = scene.check(&[]).await;
    checked.names("store open failed", &shown, "A damaged store");
    assert!(!checked.document.to_string().contains(".rs:"), "{:#}", checked.document);
}

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

#[tokio::test(flavor = "multi_thread")]
async fn one_platform_alone_is_tried_where_it_is_named() {
    let config = "[[platforms]]\nname = \"one\"\norigin = \"http://127.0.0.1:9\"\n\
                  [[platforms]]\nname = \"two\"\norigin = \"http://127.0.0.2:9\"\n";
    let scene = Scene::new(config);
    let checked = scene.check(&["--platform", "two"]).await;
    assert!(
        !checked.all().is_empty() && checked.all().iter().all(|step| step["name"] == "two"),
        "{:#}",
        checked.document
    );
    let unknown = scene.check(&["--platform", "three"]).await;
    assert_eq!(unknown.all().len(), 1, "{:#}", unknown.document);
    assert!(unknown.document.to_string().contains("there is one, two"), "{:#}", unknown.document);
}

/// What could not start leaves no store that a later look would take for one.
#[test]
fn a_start_at_an_address_that_is_taken_leaves_no_store_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_passback"));
    run.arg("run").current_dir(folder.path()).env("PASSBACK_HTTP__LISTEN", &address);
    let ended = run.output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && said.contains("cannot listen on"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "{said}");
}
