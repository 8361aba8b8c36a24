//! Platforms and keys that are set up wrongly, in one way each, and one set-up that is well.

use passback::simulator::{Client, Fault, FaultKind, Jwks, Options, Route, SCOPE_RESULT_READONLY, SCOPE_SCORE};
use serde_json::Value;

use super::scene::{SECRET, Scene, key_set, lms, registered, settings};
use crate::{
    service::{
        broker::{Broker, unique},
        worker::{LOCAL, Worker, free_address, wait_for},
    },
    transport::{Server, read_request},
};

/// A worker that runs, with a broker, and a platform that fetches its keys: all is well, and stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_well_is_well_and_is_not_changed() {
    let lms = lms(Options::default()).await;
    let (queue, url) = (unique("check"), Broker::shared().url());
    let amqp = format!("[amqp]\nurl = \"{url}\"\nqueues = [\"{queue}\"]\n");
    let worker = Worker::started(&format!("{amqp}{}", settings(&lms))).await;
    wait_for("the worker to consume", async || (worker.get_open("/readyz").await.0 == 200).then_some(())).await;
    let jwks = worker.url("/.well-known/jwks.json");
    lms.add_client(Client::new("tool-1", Jwks::Url(jwks.clone()))).expect("a client");
    let before = (lms.line_items("c"), worker.counts().await);
    let scene = Scene::new("");
    scene.write(&std::fs::read_to_string(worker.config_path()).expect("the worker's own configuration"));
    let lineitems = lms.lineitems_url("c");
    let outcomes = lms.outcomes_url();
    let lti11 = ["--outcome-url", &outcomes, "--key", "key-1", "--sourcedid", "ann"];
    let checked = scene.check(&[&["--jwks-url", &jwks, "--lineitems", &lineitems], &lti11[..]].concat()).await;
    assert!(checked.troubles().is_empty() && checked.code == Some(0), "{:#}", checked.document);
    checked.is_well("configuration", "file", "passback.toml: sections store");
    checked.is_well("store", "use", "a worker runs here");
    checked.is_well("http", "listen", "a worker listens there");
    checked.is_well("broker", "queue", &format!("{queue} is there: 0 events wait, 1 consumer"));
    checked.is_well("broker", "dead letters", &format!("{queue}.dlq is empty"));
    checked.is_well("keys", "signing keys", "k1 (RSA, 2048 bits) signs");
    checked.is_well("platform", "name", "127.0.0.1");
    checked.is_well("platform", "clock", "agree");
    checked.is_well("platform", "token", "score");
    checked.is_well("platform", "scope", "lineitem");
    checked.is_well("jwks", "keys", "all configured keys");
    checked.is_well("line items", "read", "2 columns");
    checked.is_well("lti 1.1", "key", "key-1");
    assert_eq!((lms.line_items("c"), worker.counts().await), before);
    assert_eq!((lms.gradebook().len(), lms.requests(Route::Scores).total()), (0, 0));
    let (code, text) = scene.text().await;
    assert_eq!((code, text.contains("All is well.")), (Some(0), true), "{text}");
    assert!(text.lines().all(|line| line.is_empty() || line == "All is well." || line.starts_with("ok ")), "{text}");
}

/// Checks one change of the configuration of a platform that is well.
async fn changed(from: &str, to: &str) -> super::scene::Checked {
    let lms = lms(Options::default()).await;
    let settings = settings(&lms);
    assert!(settings.contains(from), "{settings}");
    Scene::new(&settings.replace(from, to)).check(&[]).await
}

/// Checks a platform that is set up otherwise.
async fn platform(options: Options) -> super::scene::Checked {
    let lms = lms(options).await;
    Scene::new(&settings(&lms)).check(&[]).await
}

fn client(jwks: Jwks) -> Options {
    Options { clients: vec![Client::new("tool-1", jwks)], ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_differs_from_the_platforms_is_named_by_what_differs() {
    let wrong_client = changed("\"tool-1\"", "\"tool-2\"").await;
    wrong_client.names_only("platform token failed", "HTTP 401", "does not know client_id \"tool-2\"");
    let audience = "client_id = \"tool-1\"\ntoken_aud = \"https://lms.example.edu/\"";
    let wrong_audience = changed("client_id = \"tool-1\"", audience).await;
    wrong_audience.names_only(
        "platform token failed",
        "aud",
        "the audience \"https://lms.example.edu/\": set token_aud",
    );
    let mut registered = Client::new("tool-1", Jwks::Inline(key_set("k1")));
    registered.deployment_ids = vec!["1".to_owned()];
    let lms = lms(Options { clients: vec![registered], ..Options::default() }).await;
    let wrong = settings(&lms).replace("client_id =", "deployment_id = \"2\"\nclient_id =");
    Scene::new(&wrong).check(&[]).await.names_only("platform token failed", "deployment", "compare deployment_id");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_measured() {
    let ahead = platform(Options { clock_skew_ms: -120_000, ..Options::default() }).await;
    ahead.names("platform clock failed", "s ahead of the platform's", "set this machine's clock");
    ahead.names("platform token warning", "signed by the platform's own clock", "LTI 1.1 does not");
    let seconds = |checked: &super::scene::Checked| {
        let clock = checked.all().iter().find(|finding| finding["step"] == "clock").expect("a finding");
        clock["seen"].as_str().and_then(|seen| seen.split(' ').find_map(|word| word.parse::<i64>().ok()))
    };
    assert!(matches!(seconds(&ahead), Some(118..=120)), "{:#}", ahead.document);
    let behind = platform(Options { clock_skew_ms: 120_000, ..Options::default() }).await;
    behind.names_only("platform clock failed", "s behind the platform's", "set this machine's clock");
    behind.is_well("platform", "token", "score");
    // Backdating saves the assertion, and not for long.
    let a_little = platform(Options { clock_skew_ms: 3_000, ..Options::default() }).await;
    assert!(a_little.troubles().is_empty(), "{:#}", a_little.document);
    let too_much = platform(Options { clock_skew_ms: -12_000, ..Options::default() }).await;
    too_much.names("platform clock warning", "s ahead of", "backdated by 5 s only");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_platform_cannot_fetch_or_does_not_know_are_named() {
    let nobody = format!("http://{}/.well-known/jwks.json", free_address());
    let unreachable = platform(client(Jwks::Url(nobody))).await;
    unreachable.names_only("platform jwks failed", "HTTP 404", "it cannot fetch our JWKS");
    // Before the first start nobody can.
    let listen = free_address();
    let ours = format!("http://{listen}/.well-known/jwks.json");
    let fresh = lms(client(Jwks::Url(ours.clone()))).await;
    let scene = Scene::new(&format!("{}[http]\nlisten = \"{listen}\"\n", settings(&fresh)));
    let checked = scene.check(&["--jwks-url", &ours]).await;
    assert_eq!(checked.troubles(), ["platform jwks warning", "jwks fetch warning"], "{:#}", checked.document);
    checked.names("jwks fetch warning", "refused", "served once the worker runs");
    assert_eq!(checked.code, Some(0));
    let astray = scene.check(&["--jwks-url", "https://no-such-host.invalid/jwks.json"]).await;
    astray.names("jwks connection failed", "", "the JWKS URL");
    let rotated_away = platform(client(Jwks::Inline(key_set("2025-11")))).await;
    rotated_away.names_only("platform token failed", "HTTP 401", "cannot check our signature by the key \"k1\"");
    // The same name, and another key behind it.
    let mut other = key_set("k1");
    let key = passback::domain::platform::SigningKey::new(
        "k1",
        passback::config::rsa::generate_signing_key().expect("a key"),
    );
    let others = passback::config::rsa::jwks([&key]).expect("a set");
    other["keys"][0]["n"] = others["keys"][0]["n"].clone();
    let replaced = platform(client(Jwks::Inline(other))).await;
    replaced.names_only("platform token failed", "Signature", "cannot check our signature by the key \"k1\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_are_missing_are_named() {
    let mut only_scores = Client::new("tool-1", Jwks::Inline(key_set("k1")));
    only_scores.scopes = vec![SCOPE_SCORE.to_owned()];
    let partly = platform(Options { clients: vec![only_scores.clone()], ..Options::default() }).await;
    partly.names_only("platform scope warning", "the scope lineitem is not granted", "columns cannot be found or made");
    let mut no_scores = only_scores;
    no_scores.scopes = vec![SCOPE_RESULT_READONLY.to_owned()];
    let none = platform(Options { clients: vec![no_scores], ..Options::default() }).await;
    none.names_only("platform scope failed", "invalid_scope", "does not allow the scopes of grades");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_no_token_endpoint_is_named() {
    let lms = lms(Options::default()).await;
    let elsewhere = settings(&lms).replace("/lti13/token", "/no/such/place");
    assert_ne!(elsewhere, settings(&lms));
    Scene::new(&elsewhere).check(&[]).await.names_only(
        "platform token failed",
        "HTTP 404",
        "/no/such/place: correct token_url",
    );
    lms.set_fault(Route::Token, Fault::always(FaultKind::Html)).expect("a fault");
    let page = Scene::new(&settings(&lms)).check(&[]).await;
    page.names_only("platform token failed", "maintenance", "a page came from");
    lms.set_fault(Route::Token, Fault::status(503)).expect("a fault");
    let down = Scene::new(&settings(&lms)).check(&[]).await;
    down.names_only("platform token failed", "HTTP 503", "failed on its own side");
    // Apache's page for what is not there.
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let page = "<html>404 Not Found</html>";
        let head = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{head}{page}").as_bytes()).await;
    })
    .await;
    let url = format!("http://{}/token", server.address);
    let page = Scene::new(&format!("{LOCAL}{}", registered(&url))).check(&[]).await;
    page.names_only("platform token failed", "HTTP 404", "there is no token endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_closed_is_named_before_anything_is_sent() {
    let lms = lms(Options::default()).await;
    let allowed = "allow_private = true\n";
    let private = Scene::new(&settings(&lms).replace(allowed, "")).check(&[]).await;
    private.names_only("platform egress failed", "is a loopback address", "[egress]");
    let by_name = settings(&lms).replace("127.0.0.1", "localhost").replace(allowed, "");
    let by_name = Scene::new(&by_name).check(&[]).await;
    by_name.names_only("platform egress failed", "localhost is ", "allow it in [egress]");
    let plain = Scene::new(&settings(&lms).replace("allow_http = true\n", "")).check(&[]).await;
    plain.names_only("platform egress failed", "http:// is not allowed", "[egress]");
    assert_eq!(lms.requests(Route::Token).total(), 0);
    let nowhere = settings(&lms).replace("127.0.0.1", "no-such-host.invalid");
    let nowhere = Scene::new(&nowhere).check(&[]).await;
    nowhere.names_only("platform name failed", "no-such-host.invalid could not be resolved", "spelling of token_url");
    let nobody = format!("http://{}/token", free_address());
    let nobody = Scene::new(&format!("{LOCAL}{}", registered(&nobody))).check(&[]).await;
    nobody.names_only("platform connection failed", "refused the connection", "host and port of token_url");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_says_nothing_is_given_up_in_time() {
    let server = Server::start(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let settings =
        format!("{LOCAL}[delivery]\ntimeout = \"1s\"\n{}", registered(&format!("http://{}/token", server.address)));
    let silent = Scene::new(&settings).check(&[]).await;
    silent.names_only("platform connection failed", "did not answer within 1 s", "a firewall");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_cannot_be_read_are_named() {
    let lms = lms(Options::default()).await;
    let scene = Scene::new(&settings(&lms));
    let gone = scene.check(&["--lineitems", &lms.lineitems_url("gone"), "--platform", "campus"]).await;
    gone.names_only("line items read failed", "HTTP 404", "the line item container is not there");
    let unknown = scene.check(&["--lineitems", &lms.lineitems_url("c"), "--platform", "elsewhere"]).await;
    unknown.names_only("line items platform failed", "elsewhere", "--platform NAME");
    let narrow = settings(&lms).replace("client_id =", "hosts = [\"lms.example.edu\"]\nclient_id =");
    let narrow = Scene::new(&narrow).check(&["--lineitems", &lms.lineitems_url("c")]).await;
    narrow.names_only("line items egress failed", "not among the hosts", "correct hosts of [[platforms]]");
    lms.set_fault(Route::Lineitems, Fault::status(403)).expect("a fault");
    let closed = scene.check(&["--lineitems", &lms.lineitems_url("c")]).await;
    closed.names_only("line items read failed", "HTTP 403", "does not let this tool read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_that_is_not_ours_is_named() {
    let lms = lms(Options::default()).await;
    let scene = Scene::new(&settings(&lms));
    let serve = async |set: Value| {
        let body = set.to_string();
        Server::start(move |mut stream| {
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            async move {
                read_request(&mut stream).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, reply.as_bytes()).await;
            }
        })
        .await
    };
    let old = serve(key_set("2025-11")).await;
    let missing = scene.check(&["--jwks-url", &format!("http://{}/jwks", old.address)]).await;
    missing.names_only("jwks keys failed", "k1 is configured and not published", "SIGHUP");
    let page = serve(Value::from("<html>")).await;
    let page = scene.check(&["--jwks-url", &format!("http://{}/jwks", page.address)]).await;
    page.names_only("jwks fetch failed", "without a key set", "/.well-known/jwks.json");
}

/// The grade itself is read, never written; a wrong secret shows at the signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_named_by_a_signed_read() {
    let lms = lms(Options::default()).await;
    let outcomes = lms.outcomes_url();
    let asked = ["--outcome-url", &outcomes, "--key", "key-1", "--sourcedid", "ann"];
    let right = Scene::new(&settings(&lms));
    let none_yet = right.check(&asked).await;
    assert!(none_yet.troubles().is_empty(), "{:#}", none_yet.document);
    none_yet.is_well("lti 1.1", "grade", "there is none yet");
    let file = right.folder.path().join("sourcedid.txt");
    std::fs::write(&file, "ann\n").expect("a file");
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_passback"));
    program.stdin(std::fs::File::open(&file).expect("the file"));
    let from_input = [&asked[..5], &["-"]].concat();
    let unseen = right.check_by(program, &from_input).await;
    assert!(unseen.troubles().is_empty(), "{:#}", unseen.document);
    unseen.is_well("lti 1.1", "grade", "there is none yet");
    let wrong = Scene::new(&settings(&lms).replace(SECRET, "hush-hush-and-hush")).check(&asked).await;
    wrong.names_only("lti 1.1 signature failed", "signature", "check the secret of the key \"key-1\"");
    let unsupported = FaultKind::Status { code: 200, body: Some(UNSUPPORTED.to_owned()), retry_after: None };
    lms.set_fault(Route::Lti11, Fault::always(unsupported)).expect("a fault");
    right.check(&asked).await.names_only("lti 1.1 grade warning", "readResult", "does not read grades back");
    let gone = FaultKind::Failure { description: "SourcedId hash not valid".to_owned() };
    lms.set_fault(Route::Lti11, Fault::always(gone)).expect("a fault");
    right.check(&asked).await.names_only("lti 1.1 grade failed", "SourcedId hash", "one and the same launch");
    lms.set_fault(Route::Lti11, Fault::always(FaultKind::Html)).expect("a fault");
    right.check(&asked).await.names_only("lti 1.1 grade failed", "maintenance", "correct the outcome URL");
    assert!(lms.gradebook().is_empty(), "nothing was written");
}

/// As Open edX answers what it does not do.
const UNSUPPORTED: &str = "<imsx_POXEnvelopeResponse><imsx_codeMajor>unsupported</imsx_codeMajor>\
    <imsx_description>Target does not support the requested operation: readResult is not supported.</imsx_description>\
    </imsx_POXEnvelopeResponse>";

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_service_without_its_key_is_named() {
    let lms = lms(Options::default()).await;
    let scene = Scene::new(&settings(&lms));
    let unsigned = scene.check(&["--outcome-url", &lms.outcomes_url(), "--key", "key-1"]).await;
    unsigned.names_only("lti 1.1 signature warning", "the secret may be wrong", "--sourcedid");
    let unknown = scene.check(&["--outcome-url", &lms.outcomes_url(), "--key", "key-2"]).await;
    unknown.names_only("lti 1.1 key failed", "no [[lti_keys]] entry for the consumer key key-2", "add it");
    let narrow = settings(&lms).replace("[[signing_keys]]", "hosts = [\"localhost\"]\n[[signing_keys]]");
    let narrow = Scene::new(&narrow).check(&["--outcome-url", &lms.outcomes_url(), "--key", "key-1"]).await;
    narrow.names("lti 1.1 key failed", "may not be used at 127.0.0.1", "add the host");
}
