//! The broker: whether it lets us in, and whether the queues are there as the worker wants them.

use std::time::Duration;

use super::{Remark, Section};
use crate::adapters::amqp::{BrokerLook, NotLetIn, Options, Presence, QueueLook, Trouble, look};

/// A connection and a handful of questions take less than a second.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// Looks at the broker and judges what was seen.
pub(super) async fn section(options: Option<&Options>, outcomes: Option<&str>) -> Vec<Remark> {
    let mut section = Section::new("broker");
    let Some(options) = options else {
        section.ok("connection", "[amqp] url is not set: events come in over HTTP alone");
        return section.done();
    };
    match look(options, outcomes, LOOK_LIMIT).await {
        Ok(seen) => judge(&mut section, &seen, options.declare),
        Err(not) => refused(&mut section, &not),
    }
    section.done()
}

fn refused(section: &mut Section, not: &NotLetIn) {
    let (step, advice) = match not.trouble {
        Trouble::Setting => ("url", "correct [amqp]"),
        Trouble::Name => ("name", "check the host in [amqp] url, and that this machine's resolver knows it"),
        Trouble::Connection => {
            ("connection", "check host and port in [amqp] url, that RabbitMQ runs, and the firewalls between")
        }
        Trouble::Silence => (
            "connection",
            "a firewall may drop what is sent there, something else listens on the port, or RabbitMQ is out of memory or disk",
        ),
        Trouble::Tls => (
            "tls",
            "amqps:// needs a port that speaks TLS with a certificate that this machine trusts; amqp:// needs one that does not",
        ),
        Trouble::Login => ("login", "RabbitMQ does not know this user or its password: correct them in [amqp] url"),
        Trouble::Vhost => (
            "vhost",
            "the virtual host is not there, or closed to this user: correct it in [amqp] url (/ is written %2f)",
        ),
        Trouble::Other => ("connection", "the log of RabbitMQ says more"),
    };
    section.fail(step, not.words.clone(), advice);
}

fn judge(section: &mut Section, seen: &BrokerLook, declares: bool) {
    section.ok("connection", format!("{} lets {} into the vhost {}", seen.place, seen.user, seen.vhost));
    for (name, presence) in &seen.exchanges {
        exchange(section, name, presence, declares);
    }
    for looked in &seen.queues {
        queue(section, looked, declares);
    }
}

fn exchange(section: &mut Section, name: &str, presence: &Presence, declares: bool) {
    match presence {
        Presence::There { .. } => section.ok("exchange", format!("{name} is there")),
        Presence::Missing => missing(section, "exchange", name, declares),
        Presence::Different(words) | Presence::Closed(words) => closed(section, "exchange", name, words),
    }
}

fn queue(section: &mut Section, looked: &QueueLook, declares: bool) {
    let QueueLook { name, is_for_dead_letters, presence } = looked;
    match presence {
        Presence::There { messages, .. } if *is_for_dead_letters && *messages > 0 => {
            let advice = "their headers x-passback-error say why; mend them and publish them again, or remove them";
            let lie = if *messages == 1 { "1 refused event lies" } else { &format!("{messages} refused events lie") };
            section.warn("dead letters", format!("{lie} in {name}"), advice);
        }
        Presence::There { .. } if *is_for_dead_letters => section.ok("dead letters", format!("{name} is empty")),
        Presence::There { messages, consumers } => {
            let wait = if *messages == 1 { "1 event waits" } else { &format!("{messages} events wait") };
            let consumers = if *consumers == 1 { "1 consumer" } else { &format!("{consumers} consumers") };
            section.ok("queue", format!("{name} is there: {wait}, {consumers}"));
        }
        Presence::Missing => missing(section, "queue", name, declares),
        Presence::Different(words) => {
            let advice = "delete the queue and let the worker declare it, or set [amqp] declare = false and give it a \
                          dead-letter exchange of your own";
            section.fail("queue", format!("{name} is there, but not as the worker declares it: {words}"), advice);
        }
        Presence::Closed(words) => closed(section, "queue", name, words),
    }
}

fn missing(section: &mut Section, what: &'static str, name: &str, declares: bool) {
    if declares {
        section.warn(what, format!("{name} is not there yet"), "the worker declares it when it starts");
    } else {
        let advice =
            "[amqp] declare = false, so the worker will not make it: declare it, or correct its name in [amqp]";
        section.fail(what, format!("{name} is not there"), advice);
    }
}

fn closed(section: &mut Section, what: &'static str, name: &str, words: &str) {
    let advice = "give this user the rights to configure, write and read it in this virtual host";
    section.fail(what, format!("{name} cannot be looked at: {words}"), advice);
}

#[cfg(test)]
mod tests {
    use super::{super::Mark, *};

    #[test]
    fn a_missing_queue_is_a_failure_only_where_nobody_makes_it() {
        let check = |presence: Presence, is_for_dead_letters: bool, declares: bool, status: Mark, words: &str| {
            let mut section = Section::new("broker");
            queue(&mut section, &QueueLook { name: "q".to_owned(), is_for_dead_letters, presence }, declares);
            let remark = &section.remarks[0];
            assert!(remark.status == status && remark.seen.contains(words), "{remark:?}");
        };
        let there = |messages| Presence::There { messages, consumers: 1 };
        check(there(3), false, true, Mark::Ok, "3 events wait, 1 consumer");
        check(there(1), false, true, Mark::Ok, "1 event waits");
        check(there(1), true, true, Mark::Warning, "1 refused event lies");
        check(there(0), true, true, Mark::Ok, "is empty");
        check(there(3), true, true, Mark::Warning, "3 refused events");
        check(Presence::Missing, false, true, Mark::Warning, "not there yet");
        check(Presence::Missing, false, false, Mark::Failed, "is not there");
        check(Presence::Different("classic".to_owned()), false, true, Mark::Failed, "not as the worker");
        check(Presence::Closed("ACCESS_REFUSED".to_owned()), false, true, Mark::Failed, "ACCESS_REFUSED");
    }
}
