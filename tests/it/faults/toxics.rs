//! A network that misbehaves between the program and a real store: toxiproxy in front of MinIO.

use super::{Picture, first_state, push_is_sound, restore_is_sound, second_state};
use crate::machine::{Machine, picture};
use crate::tools::tool;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The proxy, as long as this lives.
struct Toxiproxy {
    child: Child,
    address: String,
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Toxiproxy {
    fn start(program: &std::ffi::OsStr) -> Toxiproxy {
        for _ in 0..5 {
            // The kernel names a free port; should somebody take it before the proxy does, the next try gets another.
            let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a free port").port();
            let mut command = Command::new(program);
            command.args(["-host", "127.0.0.1", "-port", &port.to_string()]);
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("toxiproxy starts");
            let mut proxy = Toxiproxy { child, address: format!("127.0.0.1:{port}") };
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(10) && proxy.child.try_wait().expect("a child").is_none() {
                if proxy.ask("GET", "/version", &Value::Null).is_some() {
                    return proxy;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("{} did not start", program.display());
    }

    /// One request to its control port; `None` when it is not there or refuses.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Option<String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut socket = TcpStream::connect(&self.address).ok()?;
        let head = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.address, body.len());
        socket.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1)?.starts_with('2').then(|| body.to_string())
    }

    /// A new way to the store; its address.
    fn way(&self, name: &str, store: &str) -> String {
        let body = json!({"name": name, "listen": "127.0.0.1:0", "upstream": store.trim_start_matches("http://")});
        let answer = self.ask("POST", "/proxies", &body).expect("a proxy");
        let made: Value = serde_json::from_str(&answer).expect("JSON");
        format!("http://{}", made["listen"].as_str().expect("an address"))
    }

    fn poison(&self, way: &str, toxic: &Toxic) {
        for stream in toxic.streams {
            let attributes = (toxic.attributes)();
            let body = json!({"name": stream, "type": toxic.kind, "stream": stream, "attributes": attributes});
            self.ask("POST", &format!("/proxies/{way}/toxics"), &body).expect("a toxic");
        }
    }

    fn cure(&self, way: &str, toxic: &Toxic) {
        for stream in toxic.streams {
            self.ask("DELETE", &format!("/proxies/{way}/toxics/{stream}"), &Value::Null).expect("a toxic");
        }
    }
}

/// What the network does, and how a run may end.
struct Toxic {
    kind: &'static str,
    streams: &'static [&'static str],
    attributes: fn() -> Value,
    /// It passes after this time; otherwise it stays.
    passes: Option<Duration>,
    codes: &'static [i32],
}

const DOWN: &[&str] = &["downstream"];
const UP: &[&str] = &["upstream"];
const BOTH: &[&str] = &["downstream", "upstream"];
const SOON: Option<Duration> = Some(Duration::from_millis(1200));

const TOXICS: &[Toxic] = &[
    Toxic { kind: "latency", streams: BOTH, attributes: || json!({"latency": 60, "jitter": 40}), passes: None, codes: &[0] },
    Toxic { kind: "bandwidth", streams: BOTH, attributes: || json!({"rate": 2000}), passes: None, codes: &[0] },
    Toxic { kind: "slow_close", streams: BOTH, attributes: || json!({"delay": 300}), passes: None, codes: &[0] },
    Toxic { kind: "reset_peer", streams: DOWN, attributes: || json!({"timeout": 0}), passes: SOON, codes: &[0] },
    Toxic { kind: "reset_peer", streams: DOWN, attributes: || json!({"timeout": 30}), passes: None, codes: &[5] },
    // Without a time nothing goes through until the toxic is taken away.
    Toxic { kind: "timeout", streams: DOWN, attributes: || json!({"timeout": 0}), passes: SOON, codes: &[0] },
    Toxic { kind: "timeout", streams: DOWN, attributes: || json!({"timeout": 200}), passes: None, codes: &[5] },
    Toxic { kind: "limit_data", streams: DOWN, attributes: || json!({"bytes": 300}), passes: None, codes: &[5] },
    // Enough for the log, not for the data.
    Toxic { kind: "limit_data", streams: DOWN, attributes: || json!({"bytes": 300_000}), passes: None, codes: &[0, 5] },
    Toxic { kind: "limit_data", streams: UP, attributes: || json!({"bytes": 300_000}), passes: None, codes: &[0, 5] },
];

/// A machine on a poisoned way.
struct Poisoned<'a> {
    proxy: &'a Toxiproxy,
    way: String,
    toxic: &'a Toxic,
}

impl Poisoned<'_> {
    fn run(&self, what: &str, run: &dyn Fn() -> (i32, String)) -> i32 {
        let Poisoned { proxy, way, toxic } = self;
        proxy.poison(way, toxic);
        let began = Instant::now();
        let (code, text) = std::thread::scope(|scope| {
            if let Some(time) = toxic.passes {
                scope.spawn(move || {
                    std::thread::sleep(time);
                    proxy.cure(way, toxic);
                });
            }
            run()
        });
        let took = began.elapsed();
        if toxic.passes.is_none() {
            proxy.cure(way, toxic);
        }
        assert!(toxic.codes.contains(&code), "{way}, {what}: exit code {code}: {text}");
        assert!(code == 0 || text.contains("tried"), "{way}, {what}: {text}");
        assert!(took < Duration::from_secs(60), "{way}, {what}: it took {took:?}");
        code
    }
}

#[test]
fn a_push_or_a_restore_through_a_bad_network_succeeds_or_ends_in_time_with_a_reason() {
    let Some(machine) = Machine::real() else { return };
    let store = std::env::var("IT_S3_ENDPOINT").expect("there is a real store");
    let program = tool("IT_TOXIPROXY");
    let proxy = &Toxiproxy::start(&program);
    first_state(&machine);
    assert_eq!(machine.push(&[]).0, 0);
    let older: &Picture = &picture(&machine.at("volume"));
    second_state(&machine);
    assert_eq!(machine.push(&[]).0, 0);
    let newer: &Picture = &picture(&machine.at("volume"));
    std::thread::scope(|scope| {
        for (number, toxic) in TOXICS.iter().enumerate() {
            let way = |what: &str| {
                let way = format!("{}-{number}-{what}", toxic.kind);
                let address = proxy.way(&way, &store);
                (Poisoned { proxy, way, toxic }, address)
            };
            let (poisoned, address) = way("push");
            scope.spawn(move || {
                let mut machine = Machine::real().expect("as before");
                first_state(&machine);
                assert_eq!(machine.push(&[]).0, 0);
                let before = picture(&machine.at("volume"));
                second_state(&machine);
                machine.reach_at(&address);
                push_is_sound(&poisoned.way, &machine, &before, &|what, run| poisoned.run(what, run));
            });
            for target in ["empty", "volume"] {
                let mut machine = machine.twin();
                let (poisoned, address) = way(target);
                scope.spawn(move || {
                    assert_eq!(machine.restore("volume", &[]).0, 0);
                    machine.reach_at(&address);
                    restore_is_sound(&poisoned.way, &machine, target, (older, newer), &|what, run| poisoned.run(what, run));
                });
            }
        }
    });
}
