//! Every key, its default, its bounds and what is said when they are overstepped.

use std::path::Path;

use expect_test::expect;
use mpreg_fabric::link_state::{Areas, Unmapped};
use mpreg_fabric::way::LinkStateMode;
use mpreg_proto::catalog::Kind;
use mpreg_proto::link_state::AreaId;
use mpreg_proto::route::Relation;

use super::auth::Auth;
use super::*;
use crate::transport::upgrade::Origin;

/// Reads `text` as a file called `mpreg.toml` and says what comes of it: `ok`, or the refusal.
fn outcome(text: &str) -> String {
    match File::parse(Path::new("mpreg.toml"), text).and_then(|file| Ok(Config::try_from(file)?)) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn checked(text: &str) -> Config {
    Config::try_from(File::parse(Path::new("mpreg.toml"), text).unwrap()).unwrap()
}

/// Nobody has to prove anything.
fn everybody() -> Arc<Accounts> {
    Arc::new(Auth::default().try_into().unwrap())
}

#[test]
fn defaults_are_within_their_own_bounds() {
    let want = Config {
        node: Node { shards: None, cpus: Vec::new(), spin: Duration::ZERO, data_dir: None },
        listen: Listen {
            tcp: Some(([127, 0, 0, 1], 4280).into()),
            unix: None,
            nats: None,
            nats_tls: None,
            websocket: None,
            websocket_tls: None,
            websocket_from: WebSocketSettings::default(),
            allow_remote: false,
            congestion: Some("cubic".to_owned()),
        },
        tls: None,
        auth: everybody(),
        peer: None,
        routes: route::Policy { timing: route::Timing::NODE, ..route::Policy::open() },
        pins: routes::Pins::new(),
        catalog: catalog::Filter::default(),
        link_state: link_state::Checked { mode: LinkStateMode::Disabled, areas: Areas::single() },
        nats: Nats {
            server_name: None,
            payload_bytes_max: 1 << 20,
            control_line_bytes_max: 4096,
            ping_interval: Duration::from_secs(120),
            pings_out_max: 2,
            auth_timeout: Duration::from_secs(2),
            subscriptions_max: 1_000_000,
            advertise: Vec::new(),
            lame_duck: Duration::ZERO,
            headers: true,
        },
        admin: Admin { listen: Some(([127, 0, 0, 1], 4281).into()), ready_file: None },
        limits: Limits {
            connections_max: 50_000,
            handshake: Duration::from_secs(5),
            ping_interval: Duration::from_secs(10),
            queue_bytes: 2 << 20,
            queue_bytes_max: 64 << 20,
            memory_bytes: 512 << 20,
            subscriptions_max: 1_000_000,
            subscriptions_total_max: 10_000_000,
            drain: Duration::from_secs(5),
        },
        log: Log { filter: "info".to_owned(), json: false },
    };
    assert_eq!(checked(""), want);
}

/// A value other than the default for every key there is.
const EVERY_KEY: &str = r#"
[node]
shards = 3
cpus = [2, 0]
spin_us = 50
data_dir = "data"
[listen]
tcp = "0.0.0.0:0"
unix = "/run/mpreg.sock"
nats = "0.0.0.0:1"
nats_tls = "0.0.0.0:2"
websocket = "0.0.0.0:3"
websocket_tls = "0.0.0.0:4"
websocket_origins = ["https://a.b"]
websocket_same_origin = true
allow_remote = true
tcp_congestion = "kernel"
[tls]
certificate = "cert.pem"
key = "key.pem"
client_ca = "ca.pem"
client_certificates = "required"
handshake_first = true
handshake_wait_ms = 21
optional = false
[nats]
server_name = "a"
payload_bytes_max = 16
control_line_bytes_max = 64
ping_interval_ms = 17
pings_out_max = 18
auth_timeout_ms = 19
subscriptions_max = 12
advertise = ["router-1.example.net:4222", "[::1]:4222"]
lame_duck_ms = 20
headers = false
[peer]
cluster = "eu-1"
listen = "0.0.0.0:5"
advertise = "node.example:6"
identity = "node"
fabric = "test"
laboratory = "/var/lib/laboratory"
allow_clusters = ["us-1"]
join = ["a.example:1", "[::1]:2", "srv:_mpreg._tcp.example.org"]
join_file = "seeds"
record = "recording"
dns_server = "127.0.0.1:53"
ping_interval_ms = 50
lease_ms = 1000
hop_budget = 4
[routes]
signatures = "unsigned_allowed"
tags = ["gold"]
import = { hops_max = 1 }
export = { hops_max = 2 }
neighbours = [{ cluster = "us-1", relation = "customer" }]
others = { exchange = false }
weights = { hop = 3 }
damping = { flap_penalty = 4 }
timing = { pace_ms = 5 }
quota = { routes = 6 }
pins = [{ cluster = "us-1", serial = 7, key = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29" }]
[catalog]
clusters = ["us-1"]
functions = ["sum"]
blocked = ["queue jobs"]
[link_state]
mode = "prefer"
areas = [1]
neighbours = [{ cluster = "us-1", area = 1 }]
unmapped = "none"
summaries = []
[admin]
listen = "[::1]:0"
ready_file = "ready.json"
[limits]
connections_max = 7
handshake_ms = 11
ping_interval_ms = 12
queue_bytes = 65536
queue_bytes_max = 65537
memory_bytes = 65538
subscriptions_max = 13
subscriptions_total_max = 14
drain_ms = 15
[log]
filter = "warn"
json = true
"#;

fn every_key_of_peers() -> Peer {
    Peer {
        cluster: "eu-1".parse().unwrap(),
        listen: ([0, 0, 0, 0], 5).into(),
        advertise: Some("node.example:6".parse().unwrap()),
        identity: "node".into(),
        fabric: "test".parse::<ClusterName>().unwrap().fabric(),
        laboratory: None,
        allow_clusters: Clusters::Named(vec!["us-1".parse().unwrap()]),
        join: vec!["a.example:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
        join_services: vec!["_mpreg._tcp.example.org".parse().unwrap()],
        join_file: Some("seeds".into()),
        record: Some("recording".into()),
        dns_server: Some(([127, 0, 0, 1], 53).into()),
        ping_interval: Duration::from_millis(50),
        lease: Duration::from_secs(1),
        hop_budget: 4,
    }
}

fn every_key_of_policies() -> (route::Policy, catalog::Filter) {
    let us = "us-1".parse::<ClusterName>().unwrap().id();
    let hops = |hops_max| route::Filter { hops_max, ..route::Filter::default() };
    let terms = route::Terms { relation: Relation::Customer, ..route::Terms::default() };
    let policy = route::Policy {
        import: hops(1),
        export: hops(2),
        neighbours: [(us, terms)].into(),
        others: None,
        signatures: route::Signatures::UnsignedAllowed,
        tags: vec!["gold".parse().unwrap()],
        weights: route::Weights { hop: 3, ..route::Weights::default() },
        damping: route::Damping { flap_penalty: 4, ..route::Damping::default() },
        timing: route::Timing { pace: Duration::from_millis(5), ..route::Timing::NODE },
        quota: route::Quota { routes: 6, ..route::Quota::default() },
    };
    let filter = catalog::Filter {
        clusters: Some([us].into()),
        functions: Some(["sum".into()].into()),
        blocked: [catalog::Key::new(Kind::QUEUE, b"jobs")].into(),
    };
    (policy, filter)
}

/// RFC 8032, the key of 32 zeros.
fn every_key_of_pins() -> routes::Pins {
    let cluster = "us-1".parse::<ClusterName>().unwrap().id();
    let key = ed25519_dalek::SigningKey::from_bytes(&[0; 32]).verifying_key().to_bytes();
    [(cluster, vec![route::Pin { cluster, key_serial: 7, key }])].into()
}

fn every_key_of_link_state() -> link_state::Checked {
    let us = "us-1".parse::<ClusterName>().unwrap().id();
    let areas = Areas {
        local: vec![AreaId(1)],
        neighbours: [(us, AreaId(1))].into(),
        unmapped: Unmapped::Refused,
        summaries: Vec::new(),
    };
    link_state::Checked { mode: LinkStateMode::Prefer, areas }
}

#[test]
fn every_key_of_the_file_reaches_the_node() {
    let config = checked(EVERY_KEY);
    let (routes, catalog) = every_key_of_policies();
    let want = Config {
        node: Node {
            shards: Some(3),
            cpus: vec![2, 0],
            spin: Duration::from_micros(50),
            data_dir: Some("data".into()),
        },
        listen: Listen {
            tcp: Some(([0, 0, 0, 0], 0).into()),
            unix: Some("/run/mpreg.sock".into()),
            nats: Some(([0, 0, 0, 0], 1).into()),
            nats_tls: Some(([0, 0, 0, 0], 2).into()),
            websocket: Some(([0, 0, 0, 0], 3).into()),
            websocket_tls: Some(([0, 0, 0, 0], 4).into()),
            websocket_from: WebSocketSettings {
                is_same_origin: true,
                allowed_origins: vec![Origin::parse("https://a.b").unwrap()],
            },
            allow_remote: true,
            congestion: None,
        },
        tls: Some(Tls {
            certificate: "cert.pem".into(),
            key: "key.pem".into(),
            client_ca: Some("ca.pem".into()),
            client_certificates: ClientCertificates::Required,
            handshake_first: true,
            handshake_wait: Some(Duration::from_millis(21)),
            is_optional: false,
        }),
        auth: everybody(),
        peer: Some(every_key_of_peers()),
        routes,
        pins: every_key_of_pins(),
        catalog,
        link_state: every_key_of_link_state(),
        nats: Nats {
            server_name: Some("a".to_owned()),
            payload_bytes_max: 16,
            control_line_bytes_max: 64,
            ping_interval: Duration::from_millis(17),
            pings_out_max: 18,
            auth_timeout: Duration::from_millis(19),
            subscriptions_max: 12,
            advertise: vec!["router-1.example.net:4222".to_owned(), "[::1]:4222".to_owned()],
            lame_duck: Duration::from_millis(20),
            headers: false,
        },
        admin: Admin {
            listen: Some("[::1]:0".parse().unwrap()),
            ready_file: Some("ready.json".into()),
        },
        limits: Limits {
            connections_max: 7,
            handshake: Duration::from_millis(11),
            ping_interval: Duration::from_millis(12),
            queue_bytes: 65_536,
            queue_bytes_max: 65_537,
            memory_bytes: 65_538,
            subscriptions_max: 13,
            subscriptions_total_max: 14,
            drain: Duration::from_millis(15),
        },
        log: Log { filter: "warn".to_owned(), json: true },
    };
    assert_eq!(config, want);
}

#[test]
fn each_refusal_names_its_key() {
    let table = [
        ("node.shards = 65", "node.shards is 65, must be within 0..=64"),
        ("node.cpus = [1024]", "node.cpus is 1024, must be within 0..=1023"),
        ("node.cpus = [1, 0, 1]", "node.cpus names CPU 1 twice"),
        ("node.spin_us = 1001", "node.spin_us is 1001, must be within 0..=1000"),
        (
            "listen.tcp = 'localhost'",
            "listen.tcp is \"localhost\", \
             must be an IP address and a port such as 127.0.0.1:4280, or empty",
        ),
        (
            "listen.tcp = '0.0.0.0:1'",
            "listen.tcp is 0.0.0.0:1, which other machines can reach; \
             say --allow-remote (listen.allow_remote = true) if that is meant",
        ),
        (
            "listen.tcp = '[::]:1'",
            "listen.tcp is [::]:1, which other machines can reach; \
             say --allow-remote (listen.allow_remote = true) if that is meant",
        ),
        ("listen.tcp = ''", "every address of [listen] is empty, nobody could connect"),
        (
            "listen.tcp_congestion = 'b b r'",
            "listen.tcp_congestion is \"b b r\", \
             must be a name the kernel knows, such as cubic, or kernel",
        ),
        (
            "listen.allow_remote = true\nadmin.listen = '192.0.2.1:1'",
            "admin.listen is 192.0.2.1:1, must be a loopback address",
        ),
        ("limits.connections_max = 0", "limits.connections_max is 0, must be within 1..=1000000"),
        ("limits.handshake_ms = 9", "limits.handshake_ms is 9, must be within 10..=60000"),
        ("limits.ping_interval_ms = 9", "limits.ping_interval_ms is 9, must be within 10..=600000"),
        (
            "limits.queue_bytes = 65535",
            "limits.queue_bytes is 65535, must be within 65536..=67108864",
        ),
        (
            "limits.queue_bytes_max = 65535",
            "limits.queue_bytes_max is 65535, must be within 65536..=1073741824",
        ),
        (
            "limits.memory_bytes = 67108863",
            "limits.memory_bytes is 67108863, must be within 67108864..=1099511627776",
        ),
        (
            "limits.subscriptions_max = 10000001",
            "limits.subscriptions_max is 10000001, must be within 1..=10000000",
        ),
        (
            "limits.subscriptions_total_max = 0",
            "limits.subscriptions_total_max is 0, must be within 1..=100000000",
        ),
        ("limits.drain_ms = 600001", "limits.drain_ms is 600001, must be within 0..=600000"),
        (
            "log.filter = 'debgu'",
            "log.filter: \"debgu\" is neither a level (off error warn info debug trace) \
             nor TARGET=LEVEL",
        ),
    ];
    for (text, refusal) in table {
        assert_eq!(outcome(text), refusal, "{text}");
    }
}

#[test]
fn each_refusal_about_other_nodes_names_its_key() {
    let table = [
        ("peer.listen = '127.0.0.1:1'", "peer.listen is set, so peer.cluster must be"),
        ("peer.join = ['a:1']", "peer.join is set, so peer.cluster must be"),
        ("peer.join_file = 'a'", "peer.join_file is set, so peer.cluster must be"),
        ("peer.record = 'a'", "peer.record is set, so peer.cluster must be"),
        ("peer.cluster = 'a'", "peer.cluster is set, so peer.listen must be"),
        (
            "peer.cluster = 'a'\npeer.listen = '127.0.0.1:1'",
            "peer.cluster is set, so peer.identity must be",
        ),
        (
            "peer.cluster = 'a'\npeer.listen = '0.0.0.0:1'",
            "peer.listen is set to every address, so peer.advertise must be",
        ),
        (
            "peer.join = ['a:1', 'b']",
            "peer.join is \"b\", must be HOST:PORT, with a port of 1 to 65535",
        ),
        (
            "peer.join = ['srv:_mpreg._udp.a']",
            "peer.join is \"_mpreg._udp.a\", must be a service such as srv:_mpreg._tcp.example.org",
        ),
        ("peer.join = ['srv:_mpreg._tcp.a']", "peer.join is set, so peer.cluster must be"),
        (
            "peer.dns_server = 'a'",
            "peer.dns_server is \"a\", \
             must be an IP address and a port such as 127.0.0.1:4280, or empty",
        ),
        ("link_state.areas = []", "link_state.areas is empty, a cluster is in one at least"),
        (
            "peer.advertise = 'a:0'",
            "peer.advertise is \"a:0\", must be HOST:PORT, with a port of 1 to 65535",
        ),
        ("peer.fabric = 'A'", "peer.fabric is \"A\", must be 1 to 63 characters of a-z, 0-9 and -"),
        (
            "peer.allow_clusters = ['a', '']",
            "peer.allow_clusters is \"\", must be 1 to 63 characters of a-z, 0-9 and -",
        ),
        ("routes.quota = { routes = 0 }", "routes.quota.routes is 0, must be within 1..=1024"),
        ("peer.ping_interval_ms = 49", "peer.ping_interval_ms is 49, must be within 50..=60000"),
        ("peer.lease_ms = 999", "peer.lease_ms is 999, must be within 1000..=600000"),
        ("peer.hop_budget = 64", "peer.hop_budget is 64, must be within 1..=63"),
    ];
    for (text, refusal) in table {
        assert_eq!(outcome(text), refusal, "{text}");
    }
    let file = "node.data_dir = 'd'\n[peer]\ncluster = 'a'\nlisten = '127.0.0.1:1'\njoin = ";
    let joins = |count: usize| format!("{file}{:?}", vec!["a:1"; count]);
    assert_eq!(outcome(&joins(64)), "ok");
    assert_eq!(outcome(&joins(65)), "peer.join has 65 addresses, must be at most 64");
}

#[test]
fn each_refusal_of_the_nats_side_names_its_key() {
    let table = [
        (
            "listen.nats = '0.0.0.0:1'",
            "listen.nats is 0.0.0.0:1, which other machines can reach; \
             say --allow-remote (listen.allow_remote = true) if that is meant",
        ),
        (
            "listen.websocket_tls = '192.0.2.1:1'",
            "listen.websocket_tls is 192.0.2.1:1, which other machines can reach; \
             say --allow-remote (listen.allow_remote = true) if that is meant",
        ),
        ("listen.nats_tls = '[::1]:1'", "listen.nats_tls is set, so tls.certificate must be"),
        (
            "listen.websocket_tls = '[::1]:1'",
            "listen.websocket_tls is set, so tls.certificate must be",
        ),
        ("tls.certificate = 'c'", "tls.certificate is set, so tls.key must be"),
        ("tls.key = 'k'", "tls.key is set, so tls.certificate must be"),
        (
            "tls = { optional = true, handshake_first = true }",
            "tls.optional and tls.handshake_first exclude each other",
        ),
        (
            "tls = { optional = true, client_certificates = 'required', client_ca = 'a' }",
            "tls.optional and tls.client_certificates exclude each other",
        ),
        (
            "listen.websocket_origins = ['a']",
            "listen.websocket_origins is \"a\", must be http://HOST[:PORT] or https://HOST[:PORT]",
        ),
        (
            "tls.client_certificates = 'required'",
            "tls.client_certificates is set, so tls.client_ca must be",
        ),
        (
            "tls.client_certificates = 'asked'",
            "tls.client_certificates is \"asked\", must be none or required",
        ),
        (
            "nats.server_name = 'a b'",
            "nats.server_name is \"a b\", \
             must be printable ASCII without spaces, at most 256 bytes",
        ),
        (
            "nats.payload_bytes_max = 1048577",
            "nats.payload_bytes_max is 1048577, must be within 1..=1048576",
        ),
        (
            "limits.subscriptions_max = 5\nnats.subscriptions_max = 6",
            "nats.subscriptions_max is 6, must be within 0..=5",
        ),
        (
            "nats.advertise = ['router:4222', 'router:0']",
            "nats.advertise is \"router:0\", must be a list of HOST:PORT",
        ),
        ("nats.advertise = [':4222']", "nats.advertise is \":4222\", must be a list of HOST:PORT"),
    ];
    for (text, refusal) in table {
        assert_eq!(outcome(text), refusal, "{text}");
    }
}

#[test]
fn a_unix_path_must_fit_the_kernels_address() {
    let fits = format!("listen.unix = '/{}'", "a".repeat(106));
    assert_eq!(outcome(&fits), "ok");
    let long = format!("/{}", "a".repeat(107));
    let refusal =
        format!("listen.unix is {long:?}, must be a path of at most 107 bytes, made absolute");
    assert_eq!(outcome(&format!("listen.unix = '{long}'")), refusal);
    assert!(checked("listen.unix = 'mpreg.sock'").listen.unix.unwrap().is_absolute());
}

#[test]
fn an_unknown_key_is_refused_with_file_and_line() {
    expect!["mpreg.toml, line 3: unknown field `tpc`, expected one of `tcp`, `unix`, `nats`, `nats_tls`, `websocket`, `websocket_tls`, `websocket_origins`, `websocket_same_origin`, `allow_remote`, `tcp_congestion`"].assert_eq(&outcome("[listen]\n\ntpc = '127.0.0.1:1'\n"));
    expect!["mpreg.toml, line 1: unknown field `lisen`, expected one of `node`, `listen`, `tls`, `nats`, `auth`, `peer`, `routes`, `catalog`, `link_state`, `admin`, `limits`, `log`"].assert_eq(&outcome("[lisen]\n"));
    expect![[r#"mpreg.toml, line 2: invalid type: string "two", expected u64"#]]
        .assert_eq(&outcome("[node]\nshards = 'two'\n"));
    expect!["mpreg.toml, line 2: invalid value: integer `-1`, expected u64"]
        .assert_eq(&outcome("[node]\nshards = -1\n"));
    expect!["mpreg.toml, line 1: unclosed table, expected `]`"].assert_eq(&outcome("[node\n"));
}

#[test]
fn a_file_that_is_not_there_or_too_long_is_refused_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mpreg.toml");
    let said = |error: LoadConfigError| {
        let source = std::error::Error::source(&error).unwrap().to_string();
        (error.to_string(), source)
    };
    let (what, why) = said(File::read(&path).unwrap_err());
    assert_eq!(what, format!("reading {}", path.display()));
    assert_eq!(why, "No such file or directory (os error 2)");
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(said(File::read(&path).unwrap_err()).1, "larger than 1 MiB");
    std::fs::write(&path, "node.shards = 2").unwrap();
    assert_eq!(File::read(&path).unwrap().node.shards, 2);
}

#[test]
fn the_nats_listener_alone_is_enough_to_be_reached() {
    for key in ["nats", "websocket"] {
        assert_eq!(outcome(&format!("listen.tcp = ''\nlisten.{key} = '127.0.0.1:0'")), "ok");
    }
}

#[test]
fn advertised_addresses_are_counted() {
    let list = |count| format!("nats.advertise = [{}]", "'a:1', ".repeat(count));
    assert_eq!(outcome(&list(64)), "ok");
    assert_eq!(outcome(&list(65)), "nats.advertise has 65 addresses, must be at most 64");
}

/// Rows of the configuration table: key, default, bounds.
fn documented() -> Vec<[&'static str; 3]> {
    let lines = include_str!("../../../docs/OPERATING.md").lines();
    let rows = lines.skip_while(|line| *line != "## Configuration").skip(1);
    rows.take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
            core::array::from_fn(|_| cells.next().unwrap())
        })
        .collect()
}

#[test]
fn the_manual_lists_every_key_with_its_default() {
    let mut keys = Vec::new();
    let mut section = "";
    for line in EVERY_KEY.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('[') {
            Some(rest) => section = rest.trim_end_matches(']'),
            None => keys.push(format!("{section}.{}", line.split(' ').next().unwrap())),
        }
    }
    let documented = documented();
    assert_eq!(documented.iter().map(|[key, ..]| *key).collect::<Vec<_>>(), keys);
    let defaults: String =
        documented.iter().map(|[key, value, _]| format!("{key} = {value}\n")).collect();
    assert_eq!(checked(&defaults), checked(""));
}

#[test]
fn the_manual_gives_the_bounds_that_hold() {
    for [key, _, bounds] in documented() {
        let Some((min, max)) = bounds.split_once("..=") else { continue };
        // Bounds that are other keys are in the refusals above.
        for (bound, beyond) in [(min, -1), (max, 1)] {
            let Ok(bound) = bound.parse::<i64>() else { continue };
            let refused = outcome(&format!("{key} = {}", bound + beyond));
            assert!(refused.contains(key) || bound == 0, "{key} = {bound} {beyond}: {refused}");
            let taken = outcome(&format!("{key} = {bound}"));
            assert!(!taken.starts_with(&format!("{key} is")), "{taken}");
        }
    }
}
