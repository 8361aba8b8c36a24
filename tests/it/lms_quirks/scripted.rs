//! The real sender against hand-made replies, where no platform's manners show them.

use passback::{
    adapters::transport::{EgressRules, HttpTransport, Options},
    domain::job::Job,
};

pub(super) use crate::lms_faults::conduct::{Conduct, Script};
use crate::{
    lms_faults::{
        handshakes::{self, Handshake, NAME, to_loopback},
        scene::{AMPLE, Scene, Setting, event, open_transport},
    },
    transport::{Authority, Server},
};

/// All three.
pub(super) const DELIVERIES: [&str; 3] = ["lti11", "lti13-delegated", "lti13-ags"];

/// One delivery whose grade requests meet these, one after another, and then a platform that is well. What looks permanent
/// is flagged at once.
pub(super) async fn meet(delivery: &str, conducts: Vec<Conduct>) -> (Job, Script) {
    meet_as(delivery, conducts, Setting::flagging).await
}

/// The same, with a setting of the test's own.
pub(super) async fn meet_as(
    delivery: &str,
    conducts: Vec<Conduct>,
    set: impl FnOnce(Setting) -> Setting,
) -> (Job, Script) {
    go(delivery, Script::for_scores(&conducts), set).await
}

/// An AGS delivery whose token requests meet these.
pub(super) async fn meet_for_a_token(conducts: Vec<Conduct>, set: impl FnOnce(Setting) -> Setting) -> (Job, Script) {
    go("lti13-ags", Script::for_tokens(&conducts), set).await
}

async fn go(delivery: &str, script: Script, set: impl FnOnce(Setting) -> Setting) -> (Job, Script) {
    let server = script.server().await;
    let base = format!("http://{}", server.address);
    let setting = set(Setting::with_tokens_from(&format!("{base}/token"), AMPLE));
    let scene = Scene::set(open_transport(), setting);
    let job = scene.ended(scene.submit(&event(delivery, &base)).await).await;
    (job, script)
}

/// How often the token endpoint was asked.
pub(super) fn token_requests(script: &Script) -> usize {
    script.seen().iter().filter(|path| *path == "/token").count()
}

/// A first connection that fails so, and then a platform that is well.
pub(super) async fn shake(first: Handshake, ours: &Authority) -> Job {
    let script = Script::default();
    let server = handshakes::server(first, ours.acceptor(NAME, 2090), script).await;
    over_tls(&server, ours, "lti11").await
}

/// A delivery to a server of [`NAME`], by a sender that trusts one authority.
pub(super) async fn over_tls(server: &Server, ours: &Authority, delivery: &str) -> Job {
    let egress =
        EgressRules { ca_file: Some(ours.file.path().to_owned()), allow_private: true, ..EgressRules::default() };
    let options = Options { egress, ..Options::default() };
    let transport = HttpTransport::with_lookup(options, to_loopback()).expect("a transport");
    let base = format!("https://{NAME}:{}", server.address.port());
    let scene = Scene::set(transport, Setting::with_tokens_from(&format!("{base}/token"), AMPLE).flagging());
    scene.ended(scene.submit(&event(delivery, &base)).await).await
}
