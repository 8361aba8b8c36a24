//! What the worker may call: schemes, hosts and addresses, as rules without any I/O.
//!
//! An event names the URL that its grade goes to, so whoever can send events could otherwise make the worker knock at
//! the machines around it. The rules hold for every spelling: the `url` crate has turned `0x7f.1` and `2130706433` into
//! addresses before they come here, and an IPv4 address inside an IPv6 one is judged as what it is. Names are judged by
//! the addresses that they resolve to, in `guard`, at the moment of connecting.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use url::{Host, Url};

use crate::config::host::HostPattern;

/// The section `[egress]`: what the worker may call, and how it gets there.
#[derive(Clone, Default)]
pub struct EgressRules {
    /// Whether `http://` is allowed; else `https://` alone.
    pub allow_http: bool,
    /// Whether loopback, private and link-local addresses are allowed. Multicast, metadata services and the like
    /// stay forbidden.
    pub allow_private: bool,
    /// The only hosts that may be called; with none, every host.
    pub allow_hosts: Vec<HostPattern>,
    /// A PEM file of roots to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The proxy that every request goes through. It may stand at a private address itself.
    pub proxy: Option<Url>,
}

impl fmt::Debug for EgressRules {
    /// The proxy's URL may carry a password, so only its host is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressRules")
            .field("allow_http", &self.allow_http)
            .field("allow_private", &self.allow_private)
            .field("allow_hosts", &self.allow_hosts)
            .field("ca_file", &self.ca_file)
            .field("proxy", &self.proxy.as_ref().and_then(Url::host_str))
            .finish()
    }
}

/// The rules forbid a destination. The sentence names the rule, and what would lift it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

impl EgressRules {
    /// Judges all that can be known of a URL without resolving its name.
    pub fn admit_url(&self, url: &Url) -> Result<(), Forbidden> {
        if url.scheme() != "https" && !(self.allow_http && url.scheme() == "http") {
            return Err(Forbidden(format!(
                "{}:// is not allowed, only https:// ([egress] allow_http = true allows http://)",
                url.scheme()
            )));
        }
        let Some(host) = url.host() else {
            return Err(Forbidden("the URL names no host".to_owned()));
        };
        if !self.allow_hosts.is_empty() && !self.allow_hosts.iter().any(|pattern| pattern.matches(&host.to_string())) {
            return Err(Forbidden(format!("{host} is not among the [egress] allow_hosts")));
        }
        match host {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.admit_address(address.into()),
            Host::Ipv6(address) => self.admit_address(address.into()),
        }
    }

    /// Judges an address.
    pub fn admit_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        match standing(address) {
            Standing::Public => Ok(()),
            Standing::Private(_) if self.allow_private => Ok(()),
            Standing::Private(kind) => {
                Err(Forbidden(format!("{address} is {kind} ([egress] allow_private = true allows it)")))
            }
            Standing::Never(kind) => Err(Forbidden(format!("{address} is {kind}, which is never called"))),
        }
    }
}

/// What kind of address this is; the text goes on from "is".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A host on the internet.
    Public,
    /// A host of one's own: allowed where the operator says so.
    Private(&'static str),
    /// Nothing that could be a platform.
    Never(&'static str),
}

fn standing(address: IpAddr) -> Standing {
    match address {
        IpAddr::V4(address) => standing_v4(address),
        IpAddr::V6(address) => standing_v6(address),
    }
}

/// The special blocks of IPv4 (RFC 6890 and its registry), and the metadata services of the clouds.
fn standing_v4(address: Ipv4Addr) -> Standing {
    use Standing::{Never, Private, Public};
    match address.octets() {
        // EC2 and most others (with its time and name services), ECS tasks, EKS pods, Tencent, Alibaba, Azure's host,
        // Oracle.
        [169, 254, 169, 123 | 249..=254]
        | [169, 254, 170, 2 | 23]
        | [169, 254, 0, 23]
        | [100, 100, 100, 200]
        | [168, 63, 129, 16]
        | [192, 0, 0, 192] => Never("a cloud's metadata service"),
        [0, ..] => Never("an unspecified address"),
        [127, ..] => Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private("a private address"),
        [100, 64..=127, ..] => Private("an address of shared carrier space"),
        [169, 254, ..] => Private("a link-local address"),
        [198, 18..=19, ..] => Private("an address for benchmarks"),
        [192, 0, 0, _] => Never("a protocol assignment"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Never("an address for documentation"),
        [192, 88, 99, _] => Never("a 6to4 relay"),
        [224..=239, ..] => Never("a multicast address"),
        [240..=255, ..] => Never("a reserved address"),
        _ => Public,
    }
}

/// The special blocks of IPv6 (RFC 6890 and its registry). Only `2000::/3` is given out as public.
fn standing_v6(address: Ipv6Addr) -> Standing {
    use Standing::{Never, Private, Public};
    if let Some(inner) = embedded_v4(address) {
        return standing_v4(inner);
    }
    match address.segments() {
        // EC2, Google, Oracle, OpenStack.
        [0xfd00, 0x0ec2 | 0x00c1, ..] | [0xfd20, 0x00ce, ..] | [0xfe80, .., 0xa9fe, 0xa9fe] => {
            Never("a cloud's metadata service")
        }
        [0, 0, 0, 0, 0, 0, 0, 0] => Never("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Private("a loopback address"),
        [0x0064, 0xff9b, 1, ..] => Never("a local NAT64 address"),
        [0xfc00..=0xfdff, ..] => Private("a unique local address"),
        [0xfe80..=0xfebf, ..] => Private("a link-local address"),
        [0xfec0..=0xfeff, ..] => Private("a site-local address"),
        [0xff00..=0xffff, ..] => Never("a multicast address"),
        [0x2001, 0, ..] => Never("a Teredo tunnel"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Never("an address for documentation"),
        [0x2001, 1..=0x01ff, ..] => Never("a protocol assignment"),
        [0x2002, ..] => Never("a 6to4 tunnel"),
        // RFC 5214: whatever prefix stands before it, the packets go to an IPv4 address of the site's own.
        [_, _, _, _, 0 | 0x0200, 0x5efe, ..] => Never("an ISATAP tunnel"),
        [0x2000..=0x3fff, ..] => Public,
        _ => Never("a reserved address"),
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped (`::ffff:0:0/96`), translated (`::ffff:0:0:0/96`), compatible
/// (`::/96`), and the well-known prefix of NAT64 (`64:ff9b::/96`), through which an IPv6-only network reaches the rest.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., high, low] = address.segments();
    let inner = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x0064, 0xff9b, 0, 0, 0, 0, ..] => Some(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rules say of a URL: nothing, or words of the sentence.
    fn check(rules: &EgressRules, url: &str, refused: Option<&str>) {
        let parsed = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        match (rules.admit_url(&parsed), refused) {
            (Ok(()), None) => {}
            (Err(Forbidden(sentence)), Some(words)) if sentence.contains(words) => {}
            (verdict, _) => panic!("{url}: {verdict:?}, wanted {refused:?}"),
        }
    }

    #[test]
    fn addresses_are_judged_in_every_spelling() {
        let strict = EgressRules { allow_http: true, ..EgressRules::default() };
        let lax = EgressRules { allow_http: true, allow_private: true, ..EgressRules::default() };
        for (url, words) in OWN {
            check(&strict, url, Some(words));
            check(&lax, url, None);
        }
        for (url, words) in NEVER {
            check(&strict, url, Some(words));
            check(&lax, url, Some(words));
        }
        for url in PUBLIC {
            check(&strict, url, None);
        }
    }

    #[test]
    fn only_https_is_spoken_unless_http_is_allowed() {
        let strict = EgressRules::default();
        check(&strict, "https://lms.example.edu/", None);
        check(&strict, "http://lms.example.edu/", Some("allow_http"));
        let lax = EgressRules { allow_http: true, ..EgressRules::default() };
        check(&lax, "http://lms.example.edu/", None);
        check(&lax, "ftp://lms.example.edu/", Some("ftp://"));
    }

    #[test]
    fn only_the_hosts_of_the_list_are_called() {
        let patterns = ["*.Example.edu", "lms.example.org", "1.1.1.1", "BÜCHER.example"];
        let allow_hosts = patterns.map(|text| HostPattern::parse(text).expect(text)).to_vec();
        let rules = EgressRules { allow_hosts, ..EgressRules::default() };
        for host in
            ["a.example.edu", "a.b.EXAMPLE.edu", "a.example.edu.", "lms.example.org", "1.1.1.1", "bücher.example"]
        {
            check(&rules, &format!("https://{host}/"), None);
        }
        let others =
            ["example.edu", "badexample.edu", "a.example.edu.evil.example", "x.lms.example.org", "1.1.1.2", "[::1]"];
        for host in others {
            check(&rules, &format!("https://{host}/"), Some("allow_hosts"));
        }
    }

    #[test]
    fn a_listed_host_does_not_lift_the_rules_of_its_address() {
        let allow_hosts = vec![HostPattern::parse("127.0.0.1").expect("a host")];
        check(&EgressRules { allow_hosts, ..EgressRules::default() }, "https://127.0.0.1/", Some("loopback"));
    }

    #[test]
    fn the_proxy_password_is_not_shown() {
        let proxy = Url::parse("http://user:hunter2@proxy.example:3128").ok();
        let shown = format!("{:?}", EgressRules { proxy, ..EgressRules::default() });
        assert!(shown.contains("proxy.example") && !shown.contains("hunter2"), "{shown}");
    }

    /// One's own machines: allowed where the operator says so.
    const OWN: &[(&str, &str)] = &[
        ("http://127.0.0.1/", "loopback"),
        ("http://127.255.255.254:8080/", "loopback"),
        ("http://127.1/", "loopback"),
        ("http://2130706433/", "loopback"),
        ("http://0x7f000001/", "loopback"),
        ("http://0x7f.1/", "loopback"),
        ("http://017700000001/", "loopback"),
        ("http://127.0.0.1./", "loopback"),
        ("http://１２７.０.０.１/", "loopback"),
        ("http://127%2e0.0.1/", "loopback"),
        ("http://[::1]/", "loopback"),
        ("http://[0:0:0:0:0:0:0:1]/", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "loopback"),
        ("http://[::ffff:7f00:1]/", "loopback"),
        ("http://[::127.0.0.1]/", "loopback"),
        ("http://[64:ff9b::127.0.0.1]/", "loopback"),
        ("http://[64:ff9b::a00:1]/", "private"),
        ("http://10.0.0.1/", "private"),
        ("http://10.255.255.255/", "private"),
        ("http://172.16.0.1/", "private"),
        ("http://172.31.255.255/", "private"),
        ("http://192.168.0.1/", "private"),
        ("http://[::ffff:192.168.1.1]/", "private"),
        ("http://[::ffff:0:10.0.0.1]/", "private"),
        ("http://100.64.0.1/", "carrier"),
        ("http://100.127.255.255/", "carrier"),
        ("http://169.254.1.1/", "link-local"),
        ("http://198.18.0.1/", "benchmarks"),
        ("http://198.19.255.255/", "benchmarks"),
        ("http://[fc00::1]/", "unique local"),
        ("http://[fdff:ffff::1]/", "unique local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[febf::1]/", "link-local"),
        ("http://[fec0::1]/", "site-local"),
    ];

    /// Forbidden whatever the operator says.
    const NEVER: &[(&str, &str)] = &[
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        ("http://[::ffff:169.254.169.254]/", "metadata"),
        ("http://[64:ff9b::169.254.169.254]/", "metadata"),
        ("http://2852039166/", "metadata"),
        ("http://169.254.170.2/", "metadata"),
        ("http://169.254.170.23/", "metadata"),
        ("http://100.100.100.200/", "metadata"),
        ("http://168.63.129.16/", "metadata"),
        ("http://192.0.0.192/", "metadata"),
        ("http://[fd00:ec2::254]/", "metadata"),
        ("http://[fd20:ce::254]/", "metadata"),
        ("http://[fd00:c1::a9fe:a9fe]/", "metadata"),
        ("http://[fe80::a9fe:a9fe]/", "metadata"),
        ("http://169.254.169.253/", "metadata"),
        ("http://169.254.0.23/", "metadata"),
        ("http://[2606:4700::5efe:10.0.0.1]/", "ISATAP"),
        ("http://[2606:4700::200:5efe:8.8.8.8]/", "ISATAP"),
        ("http://0.0.0.0/", "unspecified"),
        ("http://0/", "unspecified"),
        ("http://0.1.2.3/", "unspecified"),
        ("http://[::]/", "unspecified"),
        ("http://[::ffff:0.0.0.0]/", "unspecified"),
        ("http://192.0.0.1/", "protocol"),
        ("http://192.0.2.1/", "documentation"),
        ("http://198.51.100.1/", "documentation"),
        ("http://203.0.113.255/", "documentation"),
        ("http://[2001:db8::1]/", "documentation"),
        ("http://[3fff:0fff::1]/", "documentation"),
        ("http://192.88.99.1/", "6to4"),
        ("http://[2002:7f00:1::]/", "6to4"),
        ("http://[2002:808:808::1]/", "6to4"),
        ("http://[2001::1]/", "Teredo"),
        ("http://[2001:0:53aa:64c::1]/", "Teredo"),
        ("http://[2001:2::1]/", "protocol"),
        ("http://[2001:10::1]/", "protocol"),
        ("http://[2001:20::1]/", "protocol"),
        ("http://224.0.0.1/", "multicast"),
        ("http://239.255.255.250/", "multicast"),
        ("http://[ff02::1]/", "multicast"),
        ("http://240.0.0.1/", "reserved"),
        ("http://255.255.255.255/", "reserved"),
        ("http://[100::1]/", "reserved"),
        ("http://[64:ff9b:1::1]/", "NAT64"),
        ("http://[4000::1]/", "reserved"),
        ("http://[5f00::1]/", "reserved"),
    ];

    /// Hosts of the internet, many of them next to a special block.
    const PUBLIC: &[&str] = &[
        "http://1.1.1.1/",
        "http://9.255.255.255/",
        "http://11.0.0.1/",
        "http://100.63.255.255/",
        "http://100.128.0.1/",
        "http://126.255.255.255/",
        "http://128.0.0.1/",
        "http://169.253.255.255/",
        "http://172.15.255.255/",
        "http://172.32.0.1/",
        "http://192.0.1.1/",
        "http://192.167.255.255/",
        "http://192.169.0.1/",
        "http://198.17.255.255/",
        "http://198.20.0.1/",
        "http://223.255.255.255/",
        "http://[2606:4700:4700::1111]/",
        "http://[2001:4860:4860::8888]/",
        "http://[2001:200::1]/",
        "http://[2003::1]/",
        "http://[3fff:1000::1]/",
        "http://[64:ff9b::8.8.8.8]/",
        "http://[::ffff:8.8.8.8]/",
    ];
}
