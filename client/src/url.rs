//! Where a router is: `mpreg://HOST:PORT` or `mpreg+unix:///path/to/socket`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Address of a router.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Url {
    /// `host` is a name or an address, an IPv6 one without its brackets.
    Tcp { host: String, port: u16 },
    /// An absolute path on this machine.
    Unix { path: PathBuf },
}

/// Why a text is not a router's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUrlError {
    #[error("scheme is neither mpreg:// nor mpreg+unix://")]
    Scheme,
    #[error("no host")]
    Host,
    #[error("no port between 1 and 65535")]
    Port,
    #[error("path of the socket is not absolute")]
    Path,
}

impl FromStr for Url {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        if let Some(path) = text.strip_prefix("mpreg+unix://") {
            let is_absolute = path.starts_with('/') && !path.ends_with('/');
            return if is_absolute {
                Ok(Self::Unix { path: path.into() })
            } else {
                Err(ParseUrlError::Path)
            };
        }
        let place = text.strip_prefix("mpreg://").ok_or(ParseUrlError::Scheme)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = place.rsplit_once(':').ok_or(ParseUrlError::Port)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or(ParseUrlError::Port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':')),
            None => Some(host).filter(|name| !name.contains([':', '/', '@', ']'])),
        };
        let host = host.filter(|host| !host.is_empty()).ok_or(ParseUrlError::Host)?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "mpreg://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "mpreg://{host}:{port}"),
            Self::Unix { path } => write!(f, "mpreg+unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address_prints_as_it_was_written() {
        for text in [
            "mpreg://127.0.0.1:7400",
            "mpreg://router.example:1",
            "mpreg://[::1]:65535",
            "mpreg+unix:///run/mpreg/native.sock",
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        assert_eq!(
            "mpreg://[::1]:80/".parse(),
            Ok(Url::Tcp { host: "::1".to_owned(), port: 80 }),
            "brackets belong to the text, and one slash may end it"
        );
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, want) in [
            ("nats://127.0.0.1:4222", ParseUrlError::Scheme),
            ("127.0.0.1:7400", ParseUrlError::Scheme),
            ("mpreg://127.0.0.1", ParseUrlError::Port),
            ("mpreg://127.0.0.1:0", ParseUrlError::Port),
            ("mpreg://127.0.0.1:65536", ParseUrlError::Port),
            ("mpreg://:7400", ParseUrlError::Host),
            ("mpreg://::1:7400", ParseUrlError::Host),
            ("mpreg://[localhost]:7400", ParseUrlError::Host),
            ("mpreg://user@host:7400", ParseUrlError::Host),
            ("mpreg+unix://relative.sock", ParseUrlError::Path),
            ("mpreg+unix:///directory/", ParseUrlError::Path),
        ] {
            assert_eq!(text.parse::<Url>(), Err(want), "{text}");
        }
    }
}
