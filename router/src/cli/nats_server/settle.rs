//! From what nats-server would be asked for to the router's own configuration.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::io;
use std::net::{TcpListener, ToSocketAddrs as _};

use crate::config::{File, file};
use crate::nats_conf::{Options, TlsOptions};

const PORT_DEFAULT: i64 = 4222;

/// What a client may have waiting before nats-server cuts it.
const PENDING_BYTES_DEFAULT: u64 = 64 << 20;

/// nats-server's time between telling clients that it is a lame duck and the first goodbye.
const LAME_DUCK_GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// Why options mean nothing here.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("{host:?} is no address of this machine")]
    Host { host: String, source: io::Error },
    #[error("port {port} is none; -1 lets the kernel choose")]
    Port { port: i64 },
    #[error("monitoring on {address}: it is served on loopback addresses only")]
    MonitoringRemote { address: SocketAddr },
    #[error("websocket has neither tls nor no_tls")]
    WebsocketBare,
    #[error("tls and websocket.tls differ: all listeners show one certificate and ask for one")]
    TlsDiffers,
    #[error("client_advertise {address:?} has no port, and the kernel chooses ours")]
    AdvertisedPort { address: String },
}

/// The router's configuration, unchecked.
pub(super) fn file(options: &Options) -> Result<File, SettleError> {
    let mut file = File::default();
    file.listen.tcp = String::new();
    // Whoever names an address means it.
    file.listen.allow_remote = true;
    let host = host(options);
    listen(options, host, &mut file.listen)?;
    file.tls = tls(options)?;
    file.admin.listen = monitoring(options, host)?;
    file.nats = nats(options)?;
    limits(options, &mut file.limits);
    file.log.filter = filter(options).to_owned();
    file.auth = options.access.auth.clone();
    Ok(file)
}

/// What whoever starts the router should know.
pub(super) fn warnings(options: &Options) -> Vec<String> {
    let mut warnings = Vec::new();
    if options.access.is_open() {
        warnings.push(match options.host {
            None => "no users, so only this machine is listened to; say -a to change it".to_owned(),
            Some(_) => "no users: whoever reaches the port may publish and subscribe".to_owned(),
        });
    }
    if options.websocket.as_ref().is_some_and(|websocket| websocket.tls.is_none()) {
        warnings.push("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!".to_owned());
    }
    warnings
}

/// nats-server listens on all addresses unless told otherwise. Here that takes users.
fn host(options: &Options) -> &str {
    let default = if options.access.is_open() { "127.0.0.1" } else { "0.0.0.0" };
    options.host.as_deref().unwrap_or(default)
}

fn listen(options: &Options, host: &str, listen: &mut file::Listen) -> Result<(), SettleError> {
    let port = options.port.filter(|port| *port != 0).unwrap_or(PORT_DEFAULT);
    let address = of_both_kinds(address(host, port)?);
    match options.tls {
        Some(_) => listen.nats_tls = address.to_string(),
        None => listen.nats = address.to_string(),
    }
    // Port 0 is no listener, as for nats-server.
    let Some(websocket) = &options.websocket else { return Ok(()) };
    let Some(port) = websocket.port.filter(|port| *port != 0) else { return Ok(()) };
    listen.websocket_origins.clone_from(&websocket.allowed_origins);
    listen.websocket_same_origin = websocket.same_origin;
    let address = self::address(websocket.host.as_deref().unwrap_or(host), port)?;
    let address = of_both_kinds(address).to_string();
    match (&websocket.tls, websocket.no_tls) {
        (Some(_), _) => listen.websocket_tls = address,
        (None, true) => listen.websocket = address,
        (None, false) => return Err(SettleError::WebsocketBare),
    }
    Ok(())
}

fn tls(options: &Options) -> Result<file::Tls, SettleError> {
    let of_websocket = options.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
    let shown = |tls: &TlsOptions| TlsOptions {
        handshake_first: false,
        handshake_wait: None,
        ..tls.clone()
    };
    let tls = match (&options.tls, of_websocket) {
        (None, None) => return Ok(file::Tls::default()),
        (Some(tls), Some(other)) if shown(tls) != shown(other) => {
            return Err(SettleError::TlsDiffers);
        }
        (Some(tls), _) | (None, Some(tls)) => tls,
    };
    Ok(file::Tls {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        client_ca: tls.ca.clone(),
        client_certificates: if tls.verify { "required" } else { "none" }.to_owned(),
        handshake_first: tls.handshake_first,
        handshake_wait_ms: tls.handshake_wait.map_or(0, |wait| wait.as_millis().max(1) as u64),
        optional: options.tls.is_some() && options.allow_non_tls,
    })
}

/// Empty: none.
fn monitoring(options: &Options, host: &str) -> Result<String, SettleError> {
    let Some((own_host, port)) = &options.http else { return Ok(String::new()) };
    if *port == 0 {
        return Ok(String::new());
    }
    let address = address(own_host.as_deref().unwrap_or(host), *port)?;
    match (own_host, address.ip().to_canonical().is_loopback()) {
        (_, true) => Ok(address.to_string()),
        (None, false) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())).to_string()),
        (Some(_), false) => Err(SettleError::MonitoringRemote { address }),
    }
}

fn nats(options: &Options) -> Result<file::Nats, SettleError> {
    let default = file::Nats::default();
    let millis = |set: Option<Duration>, default_ms: u64| {
        set.map_or(default_ms, |set| u64::try_from(set.as_millis()).unwrap_or(u64::MAX))
    };
    let grace = options.lame_duck_grace.unwrap_or(LAME_DUCK_GRACE_DEFAULT);
    Ok(file::Nats {
        server_name: options.server_name.clone().unwrap_or_default(),
        payload_bytes_max: options.max_payload.unwrap_or(default.payload_bytes_max),
        control_line_bytes_max: options.max_control_line.unwrap_or(default.control_line_bytes_max),
        ping_interval_ms: millis(options.ping_interval, default.ping_interval_ms),
        pings_out_max: options.ping_max.unwrap_or(default.pings_out_max),
        auth_timeout_ms: millis(options.access.timeout, default.auth_timeout_ms),
        subscriptions_max: options.max_subscriptions.unwrap_or(default.subscriptions_max),
        advertise: advertised(options)?,
        lame_duck_ms: millis(Some(grace), 0),
        headers: !options.no_headers,
    })
}

fn advertised(options: &Options) -> Result<Vec<String>, SettleError> {
    let Some(address) = &options.client_advertise else { return Ok(Vec::new()) };
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match options.port.unwrap_or(PORT_DEFAULT) {
        _ if has_port => Ok(vec![address.clone()]),
        port if 0 < port => Ok(vec![format!("{address}:{port}")]),
        _ => Err(SettleError::AdvertisedPort { address: address.clone() }),
    }
}

fn limits(options: &Options, limits: &mut file::Limits) {
    if let Some(connections) = options.max_connections.filter(|connections| *connections != 0) {
        limits.connections_max = connections;
    }
    limits.queue_bytes = options.max_pending.unwrap_or(PENDING_BYTES_DEFAULT);
    limits.queue_bytes_max = limits.queue_bytes;
    limits.memory_bytes = limits.memory_bytes.max(limits.queue_bytes);
}

fn filter(options: &Options) -> &'static str {
    match (options.debug, options.trace) {
        (false, false) => "info",
        (true, false) => "info,mpreg_router=debug",
        (false, true) => "info,nats=trace",
        (true, true) => "info,mpreg_router=debug,nats=trace",
    }
}

/// 0.0.0.0 stands for all addresses of this machine, as for nats-server: of both kinds where there
/// are both.
fn of_both_kinds(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) if has_ipv6() => {
            (Ipv6Addr::UNSPECIFIED, address.port()).into()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// Whether a socket can listen on addresses of both kinds.
pub(super) fn has_ipv6() -> bool {
    let is_dual = || std::fs::read("/proc/sys/net/ipv6/bindv6only").is_ok_and(|on| on == b"0\n");
    is_dual() && TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// Resolves a name, to IPv4 if it has such an address.
fn address(host: &str, port: i64) -> Result<SocketAddr, SettleError> {
    let port = match port {
        ..0 => 0,
        port => u16::try_from(port).map_err(|_| SettleError::Port { port })?,
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((ip, port).into());
    }
    let unknown = |source| SettleError::Host { host: host.to_owned(), source };
    let mut found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(unknown)?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().copied();
    first.ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::Config;
    use crate::config::auth::Entry;
    use crate::nats_conf::WebsocketOptions;

    fn settled(options: &Options) -> String {
        match file(options) {
            Err(error) => error.to_string(),
            Ok(file) => {
                let said = format!("{:?} {:?} {}", file.listen, file.tls, file.admin.listen);
                Config::try_from(file).map_or_else(|error| error.to_string(), |_| said)
            }
        }
    }

    fn tls(certificate: &str) -> TlsOptions {
        TlsOptions {
            certificate: certificate.to_owned(),
            key: "k".to_owned(),
            ..TlsOptions::default()
        }
    }

    #[test]
    fn without_users_only_this_machine_is_listened_to() {
        let listen = |options: &Options| file(options).unwrap().listen.nats;
        assert_eq!(listen(&Options::default()), "127.0.0.1:4222");
        let named = Options { host: Some("0.0.0.0".to_owned()), ..Options::default() };
        let all = if has_ipv6() { "[::]:4222" } else { "0.0.0.0:4222" };
        assert_eq!(listen(&named), all);
        let mut with_users = Options::default();
        with_users.access.auth.users.push(Entry::default());
        assert_eq!(host(&with_users), "0.0.0.0");
    }

    #[test]
    fn listeners_are_those_that_were_asked_for() {
        let websocket = |tls: Option<TlsOptions>, no_tls| {
            Some(WebsocketOptions { port: Some(-1), tls, no_tls, ..WebsocketOptions::default() })
        };
        let check = |options: Options, want: [&str; 5]| {
            let file = file(&options).unwrap();
            let file::Listen { nats, nats_tls, websocket, websocket_tls, tcp, .. } = file.listen;
            assert_eq!([nats, nats_tls, websocket, websocket_tls, file.admin.listen], want);
            assert_eq!(tcp, "", "the native protocol has no listener");
        };
        let all = if has_ipv6() { "[::]:4222" } else { "0.0.0.0:4222" };
        let port = Some(-1);
        check(
            Options { port, websocket: websocket(None, true), ..Options::default() },
            ["127.0.0.1:0", "", "127.0.0.1:0", "", ""],
        );
        check(
            Options {
                host: Some("localhost".to_owned()),
                port: Some(1),
                tls: Some(tls("c")),
                websocket: websocket(Some(tls("c")), false),
                http: Some((None, -1)),
                ..Options::default()
            },
            ["", "127.0.0.1:1", "", "127.0.0.1:0", "127.0.0.1:0"],
        );
        check(
            Options {
                host: Some("0.0.0.0".to_owned()),
                http: Some((None, 8222)),
                ..Options::default()
            },
            [all, "", "", "", "127.0.0.1:8222"],
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bare = WebsocketOptions { port: Some(-1), ..WebsocketOptions::default() };
        let other =
            WebsocketOptions { port: Some(-1), tls: Some(tls("d")), ..WebsocketOptions::default() };
        let table = [
            (
                Options { port: Some(65_536), ..Options::default() },
                "port 65536 is none; -1 lets the kernel choose",
            ),
            (
                Options { websocket: Some(bare), ..Options::default() },
                "websocket has neither tls nor no_tls",
            ),
            (
                Options { tls: Some(tls("c")), websocket: Some(other), ..Options::default() },
                "tls and websocket.tls differ: all listeners show one certificate and ask for one",
            ),
            (
                Options { http: Some((Some("0.0.0.0".to_owned()), 1)), ..Options::default() },
                "monitoring on 0.0.0.0:1: it is served on loopback addresses only",
            ),
            (
                Options {
                    port: Some(-1),
                    client_advertise: Some("h".to_owned()),
                    ..Options::default()
                },
                "client_advertise \"h\" has no port, and the kernel chooses ours",
            ),
            (
                Options { max_payload: Some(8 << 20), ..Options::default() },
                "nats.payload_bytes_max is 8388608, must be within 1..=1048576",
            ),
        ];
        for (options, want) in table {
            assert_eq!(settled(&options), want);
        }
    }

    #[test]
    fn limits_are_those_of_nats_server_unless_said() {
        let default = Config::try_from(file(&Options::default()).unwrap()).unwrap();
        expect![[r#"
            Nats {
                server_name: None,
                payload_bytes_max: 1048576,
                control_line_bytes_max: 4096,
                ping_interval: 120s,
                pings_out_max: 2,
                auth_timeout: 2s,
                subscriptions_max: 1000000,
                advertise: [],
                lame_duck: 10s,
                headers: true,
            }
        "#]]
        .assert_debug_eq(&default.nats);
        assert_eq!(default.limits.queue_bytes, 64 << 20);
        let set = Options {
            max_pending: Some(1 << 30),
            max_connections: Some(3),
            max_subscriptions: Some(4),
            client_advertise: Some("h".to_owned()),
            ping_interval: Some(Duration::from_secs(5)),
            ..Options::default()
        };
        let set = Config::try_from(file(&set).unwrap()).unwrap();
        assert_eq!((set.limits.queue_bytes, set.limits.memory_bytes), (1 << 30, 1 << 30));
        assert_eq!((set.limits.connections_max, set.nats.subscriptions_max), (3, 4));
        assert_eq!(set.nats.advertise, ["h:4222"]);
        assert_eq!(set.nats.ping_interval, Duration::from_secs(5));
    }
}
