//! `passback demo` ends well, over HTTP and through a real RabbitMQ.

use std::process::{Command, Output};

use super::broker::Broker;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_passback")).arg("demo").args(arguments).output().expect("the program starts")
}

fn assert_well(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    for words in ["300 events came in", "5 × rejected at choosy-school", "5 replayed", "All 240 cells"] {
        assert!(said.contains(words), "the demo does not say {words:?}: {said}");
    }
}

#[test]
fn the_demo_ends_well() {
    assert_well(&demo(&[]));
}

#[test]
fn the_demo_ends_well_through_rabbitmq_and_leaves_no_queue_behind() {
    let (vhost, url) = Broker::shared().own_vhost();
    assert_well(&demo(&["--amqp", &url]));
    let left = Broker::shared().ctl(&["list_queues", "-q", "-p", &vhost, "name"]);
    assert!(!left.contains("passback.demo"), "{left}");
}

#[test]
fn the_demo_says_what_is_wrong_with_a_broker_that_is_not_there() {
    let output = demo(&["--amqp", "amqp://guest:hush-hush@127.0.0.1:1/%2f"]);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(complained.contains("127.0.0.1:1") && !complained.contains("hush-hush"), "{complained}");
}
