//! Which keys a server may show: the lines of a `known_hosts` file, as ssh reads them. Pure.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// What a file says of hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownHosts {
    lines: Vec<Line>,
}

/// One line. The keys are compared as bytes, so that kinds that nobody here can use still count.
#[derive(Debug, Clone)]
struct Line {
    number: usize,
    marker: Marker,
    hosts: String,
    algorithm: String,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    /// `@cert-authority`: the key is not the host's, but makes its certificates.
    Authority,
    /// One that says nothing to us.
    Other,
}

/// What the file says of a key that a host shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the host's.
    Known,
    /// The host is not in the file.
    Unknown,
    /// The file has other keys for the host: the first on this line.
    Changed(usize),
    /// This line says that nobody may use it any more.
    Revoked(usize),
}

impl KnownHosts {
    /// Lines that cannot be read say nothing, as in ssh.
    pub(super) fn parse(text: &str) -> KnownHosts {
        let lines = text.lines().enumerate();
        KnownHosts { lines: lines.filter_map(|(index, text)| line(index + 1, text)).collect() }
    }

    /// Judges a key, given by its name and its bytes.
    pub(super) fn judge(&self, host: &str, port: u16, key: &[u8]) -> Verdict {
        let name = name_of(host, port);
        let of_host = || self.lines.iter().filter(|line| matches(&line.hosts, &name));
        if let Some(line) = of_host().find(|line| line.marker == Marker::Revoked && line.key == key) {
            return Verdict::Revoked(line.number);
        }
        let mut plain = of_host().filter(|line| line.marker == Marker::None).peekable();
        match plain.peek().map(|line| line.number) {
            None => Verdict::Unknown,
            Some(_) if plain.any(|line| line.key == key) => Verdict::Known,
            Some(number) => Verdict::Changed(number),
        }
    }

    /// The keys that make certificates of a host.
    pub(super) fn authorities(&self, host: &str, port: u16) -> Vec<&[u8]> {
        let name = name_of(host, port);
        let of_host = self.lines.iter().filter(|line| line.marker == Marker::Authority && matches(&line.hosts, &name));
        of_host.map(|line| line.key.as_slice()).collect()
    }

    /// The kinds of keys that the file has for a host: a server that has several shows one of them when it is asked for.
    pub(super) fn algorithms(&self, host: &str, port: u16) -> Vec<&str> {
        let name = name_of(host, port);
        let of_host = self.lines.iter().filter(|line| line.marker == Marker::None && matches(&line.hosts, &name));
        of_host.map(|line| line.algorithm.as_str()).collect()
    }
}

/// How a host is written in the file: with its port when that is not the usual one.
pub(super) fn name_of(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

fn line(number: usize, text: &str) -> Option<Line> {
    let mut fields = text.split_whitespace();
    let first = fields.next().filter(|first| !first.starts_with('#'))?;
    let (marker, hosts) = match first {
        "@revoked" => (Marker::Revoked, fields.next()?),
        "@cert-authority" => (Marker::Authority, fields.next()?),
        _ if first.starts_with('@') => (Marker::Other, fields.next()?),
        _ => (Marker::None, first),
    };
    let algorithm = fields.next()?.to_owned();
    let key = BASE64.decode(fields.next()?.as_bytes()).ok()?;
    Some(Line { number, marker, hosts: hosts.to_owned(), algorithm, key })
}

/// Whether a list of patterns has a name: one that is hashed, or some with `*` and `?`, of which `!` takes names away.
fn matches(patterns: &str, name: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return is_hash_of(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(&pattern.to_lowercase(), name) => return false,
            Some(_) => {}
            None => found |= glob(&pattern.to_lowercase(), name),
        }
    }
    found
}

/// `salt|hash`: the HMAC-SHA1 of the name. It hides names and protects nothing, so its age is no harm.
fn is_hash_of(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (BASE64.decode(salt.as_bytes()).ok()?, BASE64.decode(hash.as_bytes()).ok()?);
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    Some(mac.chain_update(name).verify_slice(&hash).is_ok())
}

/// Whether a text is what a pattern with `*` and `?` says.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and where what it took ends.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(letter), _) if *letter == b'?' || *letter == text[from] => {
                at += 1;
                from += 1;
            }
            (_, Some((of_star, taken))) => {
                star = Some((of_star, taken + 1));
                (at, from) = (of_star + 1, taken + 1);
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::{KnownHosts, Verdict, glob};

    const RIGHT: &[u8] = b"right";
    const OTHER: &[u8] = b"other";

    /// `cmlnaHQ=` is `right` and `b3RoZXI=` is `other`. The hashed name is `example.com`, made by `ssh-keygen -H`.
    const FILE: &str = "# a comment\n\
        one.example.com,10.0.0.1 ssh-ed25519 cmlnaHQ= a comment\n\
        \n\
        [two.example.com]:2222 ssh-rsa b3RoZXI=\n\
        [two.example.com]:2222 ssh-ed25519 cmlnaHQ=\n\
        *.wild.example.com,!not.wild.example.com ssh-ed25519 cmlnaHQ=\n\
        @revoked * ssh-ed25519 cmV2b2tlZA==\n\
        |1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak= ssh-ed25519 cmlnaHQ=\n\
        @cert-authority ca.example.com ssh-ed25519 cmlnaHQ=\n\
        @unheard-of ca.example.com ssh-ed25519 b3RoZXI=\n\
        broken.example.com ssh-ed25519 !!!\n";

    #[test]
    fn a_key_is_known_only_for_its_host_and_port() {
        let hosts = KnownHosts::parse(FILE);
        for (host, port, key, verdict) in [
            ("one.example.com", 22, RIGHT, Verdict::Known),
            ("ONE.Example.com", 22, RIGHT, Verdict::Known),
            ("10.0.0.1", 22, RIGHT, Verdict::Known),
            ("one.example.com", 22, OTHER, Verdict::Changed(2)),
            ("one.example.com", 2222, RIGHT, Verdict::Unknown),
            ("two.example.com", 2222, RIGHT, Verdict::Known),
            ("two.example.com", 2222, OTHER, Verdict::Known),
            ("two.example.com", 2222, b"third".as_slice(), Verdict::Changed(4)),
            ("two.example.com", 22, RIGHT, Verdict::Unknown),
            ("a.wild.example.com", 22, RIGHT, Verdict::Known),
            ("not.wild.example.com", 22, RIGHT, Verdict::Unknown),
            ("wild.example.com", 22, RIGHT, Verdict::Unknown),
            ("example.com", 22, RIGHT, Verdict::Known),
            ("example.com", 22, OTHER, Verdict::Changed(8)),
            ("example.org", 22, RIGHT, Verdict::Unknown),
            ("ca.example.com", 22, RIGHT, Verdict::Unknown),
            ("broken.example.com", 22, RIGHT, Verdict::Unknown),
            ("one.example.com", 22, b"revoked", Verdict::Revoked(7)),
            ("elsewhere", 22, b"revoked", Verdict::Revoked(7)),
        ] {
            assert_eq!(hosts.judge(host, port, key), verdict, "{host}:{port}");
        }
    }

    #[test]
    fn an_authority_is_one_for_its_hosts_only() {
        let hosts = KnownHosts::parse(FILE);
        assert_eq!(hosts.authorities("ca.example.com", 22), [RIGHT]);
        for (host, port) in [("ca.example.com", 2222), ("one.example.com", 22), ("elsewhere", 22)] {
            assert!(hosts.authorities(host, port).is_empty(), "{host}:{port}");
        }
    }

    #[test]
    fn the_kinds_of_keys_of_a_host_are_told() {
        let hosts = KnownHosts::parse(FILE);
        assert_eq!(hosts.algorithms("two.example.com", 2222), ["ssh-rsa", "ssh-ed25519"]);
        assert!(hosts.algorithms("elsewhere", 22).is_empty());
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*.b.*", "a.b.c", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("abc", "ab", false),
            ("*ab", "aab", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
